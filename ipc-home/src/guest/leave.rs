//! Freezing a family at its guest, so that it can go on elsewhere.

use std::os::fd::AsFd;

use migration::freeze::{Frozen, FrozenThread};
use migration::sys::ptrace::SigInfo;
use migration::sys::seccomp::{self, Answer};
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::Guest;
use super::calls::before_call;
use super::state::{Kind, Standing};

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
                    Standing::Waiting(_, call) => !matches!(call.kind, Kind::Forwarded { split: None, .. }),
                    _ => false,
                }
        })
    }

    /// Begins to stop every thread; [`Guest::is_frozen`] says when all stand still. Nothing waits for them, since one
    /// may be in the kernel for a page that has yet to be fetched.
    ///
    /// Calls under way stay under way at home: their threads will issue them again, under the same number, unless home
    /// answers first.
    ///
    /// # Errors
    /// When a thread is gone in an unexpected way.
    pub fn freeze(&mut self) -> Result<(), TraceError> {
        self.freezing = true;
        for thread in self.threads.values_mut() {
            match std::mem::replace(&mut thread.standing, Standing::Lost) {
                Standing::Running(task) => {
                    task.interrupt()?;
                    thread.standing = Standing::Running(task);
                }
                Standing::Waiting(task, call) => {
                    task.interrupt()?;
                    if let Kind::Forwarded { scatter, .. } = call.kind {
                        thread.in_flight = Some(scatter);
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
                    Some((result, tail)) => self.complete_still(tid, task, result, &tail),
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
        Some(Frozen { pid: outer, threads })
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

    /// The id at home of a thread that the warden sees under `outer`, and the number of its last complete call: one
    /// that is under way will be issued again under the number it has.
    #[must_use]
    pub fn thread_at_home(&self, outer: u32) -> Option<(u32, u64)> {
        let tid = *self.by_outer.get(&outer)?;
        let thread = self.threads.get(&tid)?;
        Some((tid, thread.seq - u64::from(thread.in_flight.is_some())))
    }

    /// Lets a frozen family go on here after all. Calls in flight are issued again under their numbers.
    pub fn thaw(&mut self) {
        self.freezing = false;
        for thread in self.threads.values_mut() {
            thread.early_answer = None;
            if thread.in_flight.take().is_some() {
                thread.seq -= 1;
            }
        }
        self.start();
    }
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
            let original = if info.code() == libc::SI_QUEUE { signals.remove(&info.value()) } else { None };
            Ok((task, Some(original.unwrap_or(info))))
        }
        _ => Ok((task, None)),
    }
}

const RESTART_ALWAYS: i64 = -513;
