//! Freezing a family at its guest, so that it can go on elsewhere.

use std::os::fd::AsFd;

use migration::freeze::{Frozen, FrozenThread};
use migration::image::{Rest, ThreadImage};
use migration::sys::ptrace::{RESTART_ALWAYS, RESTART_BLOCK, RESTART_WITHOUT_HANDLER, Registers, SigInfo};
use migration::sys::seccomp::{self, Answer};
use migration::sys::wait::Event;
use migration::tracee::{Running, Stopped, TraceError};
use migration::waits::Waits;

use super::calls::before_call;
use super::signals::original;
use super::state::{Again, InFlight, Kind, Standing, Waiting};
use super::{Guest, running};
use crate::protocol::FileClass;

impl Guest {
    /// True while some thread is in the middle of something that must end first: a clone, an exec, a mapping.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.threads.values().any(|thread| {
            thread.birth.is_some()
                || thread.lends_memory_to.is_some()
                || match &thread.standing {
                    Standing::Trapped(..)
                    | Standing::Mapping(..)
                    | Standing::Entering(..)
                    | Standing::Arriving(_) => true,
                    Standing::Waiting(_, call) => !matches!(call.kind, Kind::Forwarded { .. }),
                    _ => false,
                }
        })
    }

    /// Threads in a call that is made in pieces. Such a call can be stopped between any two bytes; but a program that
    /// is on its way home is then told of the bytes that were moved so far, so it is better left to end.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        let calls = self.threads.values().filter_map(|thread| match &thread.standing {
            Standing::Waiting(_, call) if matches!(call.kind, Kind::Forwarded { split: Some(_), .. }) => {
                Some(call.file)
            }
            _ => None,
        });
        calls.fold(Transfers::None, |all, file| match file {
            Some(FileClass::Regular) => Transfers::Unblocked,
            _ if all == Transfers::None => Transfers::MayBlock,
            _ => all,
        })
    }

    /// Begins to stop every thread; [`Guest::is_frozen`] says when all stand still. Nothing waits for them, since one
    /// may be in the kernel for a page that has yet to be fetched.
    ///
    /// Calls under way stay under way at home: their threads will issue them again, under the same number, unless home
    /// answers first. A call in pieces goes on behind the last one, except at home, where its own thread issues calls:
    /// there it ends with what was moved so far.
    ///
    /// # Errors
    /// When a thread is gone in an unexpected way.
    pub fn freeze(&mut self, to_home: bool) -> Result<(), TraceError> {
        self.freezing = true;
        self.going_home = to_home;
        for thread in self.threads.values_mut() {
            match std::mem::replace(&mut thread.standing, Standing::Lost) {
                Standing::Running(task) => {
                    interrupt(&task)?;
                    thread.standing = Standing::Running(task);
                }
                Standing::Waiting(task, call) => {
                    interrupt(&task)?;
                    if let Kind::Forwarded { scatter, split } = call.kind {
                        thread.in_flight = Some(InFlight { scatter, split });
                        let Waiting { nr, args, moved, .. } = call;
                        thread.again = Some(Again { nr, args, rest: Rest::Whole, moved });
                    }
                    if let Some(process) = self.processes.get(&thread.pid) {
                        let restart = Answer::Return(RESTART_ALWAYS);
                        // ENOENT: killed meanwhile; its end will be reported.
                        let _ = seccomp::answer(process.listener.as_fd(), call.notification, restart);
                    }
                    thread.standing = Standing::Running(task);
                }
                other => thread.standing = other,
            }
        }
        Ok(())
    }

    /// True when every thread stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.threads.values().all(|thread| matches!(thread.standing, Standing::Still(_) | Standing::Lost))
    }

    /// A stop while the family is being frozen: the thread stays where it is.
    pub(super) fn hold(&mut self, tid: u32, task: Stopped, event: Event) -> Standing {
        match backed_up(task, event, &mut self.signals) {
            Ok((task, held)) => {
                let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
                if held.is_some() {
                    thread.held_signal = held;
                }
                match thread.early_answer.take() {
                    Some((result, file, tail)) => {
                        self.complete_still(tid, task, self.going_home, (result, file, &tail))
                    }
                    None => Standing::Still(task),
                }
            }
            Err(_) => Standing::Lost,
        }
    }

    /// True when home has answered every call that was under way at the freeze.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.threads.values().all(|thread| thread.in_flight.is_none())
    }

    /// The threads whose calls home has yet to answer, with their numbers, for logs.
    #[must_use]
    pub fn unsettled(&self) -> Vec<(u32, u64)> {
        let threads = self.threads.iter().filter(|(_, thread)| thread.in_flight.is_some());
        threads.map(|(tid, thread)| (*tid, thread.seq)).collect()
    }

    /// Where each thread stands, for logs.
    #[must_use]
    pub fn standings(&self) -> Vec<String> {
        let all = self.threads.iter();
        all.map(|(tid, thread)| format!("{tid} of {}: {:?}", thread.pid, thread.standing)).collect()
    }

    /// Lends the threads of a frozen process to whoever captures it.
    pub fn lend(&mut self, pid: u32) -> Option<Frozen> {
        let outer = self.processes.get(&pid)?.outer;
        let mut threads = Vec::new();
        let mut tids: Vec<u32> =
            self.threads.iter().filter(|(_, thread)| thread.pid == pid).map(|(tid, _)| *tid).collect();
        tids.sort_unstable_by_key(|tid| (*tid != pid, *tid));
        for tid in tids {
            let thread = self.threads.get_mut(&tid)?;
            if let Standing::Still(task) = std::mem::replace(&mut thread.standing, Standing::Lost) {
                threads.push(FrozenThread { task, signal: thread.held_signal.take() });
            }
        }
        Some(Frozen { pid: outer, threads, waits: Waits::default() })
    }

    /// Takes the threads back.
    pub fn take_back(&mut self, frozen: Frozen) {
        for FrozenThread { task, signal } in frozen.threads {
            let Some(tid) = self.by_outer.get(&task.tid()) else { continue };
            if let Some(thread) = self.threads.get_mut(tid) {
                thread.standing = Standing::Still(task);
                thread.held_signal = signal;
            }
        }
    }

    /// Adds to the image of a thread what only its guest knows: its id at home, and how far it is in its calls. One
    /// that is under way will be issued again under the number it has. From now on signals are for the next guest.
    pub fn complete_image(&mut self, seen: &mut ThreadImage) {
        self.captured = true;
        let Some(&tid) = self.by_outer.get(&seen.tid) else { return };
        let Some(thread) = self.threads.get(&tid) else { return };
        seen.tid = tid;
        seen.calls = thread.seq - u64::from(thread.in_flight.is_some());
        seen.signals = thread.signals;
        // What is still in its queue travels as home has told it. The move may yet be called off, so both are kept.
        for queued in &mut seen.pending {
            let info = <[u8; 128]>::try_from(queued.as_slice()).ok().map(SigInfo);
            if let Some(told) = info.and_then(|info| original(&self.signals, &info).copied()) {
                *queued = told.0.to_vec();
            }
        }
        if let Some(again) = thread.again {
            (seen.rest, seen.moved) = (again.rest, again.moved);
        }
    }

    /// Lets a frozen family go on here after all. Calls in flight are issued again under their numbers.
    pub fn thaw(&mut self) {
        self.freezing = false;
        self.captured = false;
        for thread in self.threads.values_mut() {
            thread.early_answer = None;
            if thread.in_flight.take().is_some() {
                thread.seq -= 1;
            }
            if let Standing::Still(task) = &thread.standing {
                // A thread that is gone is reported.
                let _ = stay_interrupted(task);
            }
        }
        // The kernel says anew which of them job control keeps.
        self.start_with(|task| running(task.resume_to_stop()));
    }
}

/// Asks a thread to stop; one that is gone will be reported.
fn interrupt(task: &Running) -> Result<(), TraceError> {
    match task.interrupt() {
        Err(TraceError::Died(_)) => Ok(()),
        other => other,
    }
}

/// A thread that was to go on with a restart block at home makes its call again here.
fn stay_interrupted(task: &Stopped) -> Result<(), TraceError> {
    let registers = task.registers()?;
    let at_home = [libc::SYS_poll, libc::SYS_nanosleep, libc::SYS_clock_nanosleep];
    if registers.rax.cast_signed() == RESTART_BLOCK && at_home.contains(&registers.orig_rax.cast_signed()) {
        task.set_registers(&Registers { rax: RESTART_WITHOUT_HANDLER.cast_unsigned(), ..registers })?;
    }
    Ok(())
}

/// Whether calls in pieces are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfers {
    /// None.
    None,
    /// Some, and one of them may wait for a peer without end.
    MayBlock,
    /// Some, and one of them of a file, which ends by itself.
    Unblocked,
}

/// A thread that stopped before a filtered call stands before its `syscall` instruction again; a signal that was about
/// to be delivered is kept, in its true form.
fn backed_up(
    task: Stopped,
    event: Event,
    signals: &mut std::collections::HashMap<i32, SigInfo>,
) -> Result<(Stopped, Option<SigInfo>), TraceError> {
    match event {
        Event::Seccomp => {
            let registers = task.registers()?;
            Ok((before_call(task, &registers)?, None))
        }
        Event::Signal(_) => {
            let info = task.signal_info()?;
            let told = original(signals, &info).copied();
            if told.is_some() {
                signals.remove(&info.value());
            }
            Ok((task, Some(told.unwrap_or(info))))
        }
        _ => Ok((task, None)),
    }
}
