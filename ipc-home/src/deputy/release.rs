//! Giving a family's shadow threads back, so that they become the program again.

use std::collections::HashSet;

use bytes::Bytes;
use migration::deputize::ShadowThread;
use migration::image::{FamilyImage, ProcessImage};
use migration::landing::leaks_interruption;
use migration::sys::ptrace::{RESTART_ALWAYS, RESTART_BLOCK, RESTART_WITHOUT_HANDLER, Registers};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::Deputy;
use super::lend::still_running;
use super::state::{Call, Shadow, Thread};
use crate::protocol::FileClass;

impl Deputy {
    /// Ends every call under way: with its result if it has one, else with the kernel's word that it must be issued
    /// again. From now on no call is executed and no signal is forwarded.
    ///
    /// The bodies stand still already.
    ///
    /// # Errors
    /// When a thread does not stop.
    pub fn recall(&mut self) -> Result<(), TraceError> {
        self.recalled = true;
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        let mut failure = None;
        for tid in tids {
            match self.stop(tid) {
                // Its end is reported, and nothing of it comes home.
                Ok(()) | Err(TraceError::Died(_)) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Takes a recall back: calls are executed again, and signals that came meanwhile are delivered.
    pub fn go_on(&mut self) {
        self.recalled = false;
        for (tid, held) in std::mem::take(&mut self.held) {
            let Some(mut thread) = self.threads.remove(&tid) else { continue };
            for info in held {
                let signal = signal_number(&info);
                let home = self.processes.get(&thread.pid);
                let action = home.and_then(|home| home.actions.get(&signal));
                if action.is_some_and(|action| action.handler > IGNORE) {
                    self.forward_signal(&mut thread, tid, info);
                } else {
                    // Its default action is home's kernel's. A thread that is gone needs none.
                    let _ = signal::tgkill(thread.pid, tid, signal);
                }
            }
            self.threads.insert(tid, thread);
        }
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        tids.into_iter().for_each(|tid| self.proceed(tid));
    }

    /// Shadow threads without a body thread in the image, and the other way round. The last words of a thread that has
    /// ended may still be on their way, and its shadow must end too before its process can go on.
    #[must_use]
    pub fn strangers(&self, family: &FamilyImage) -> Vec<String> {
        // A process that has just been killed here has no place in the image, which may not know it yet.
        let alive = family.processes.iter().filter(|process| self.is_alive(process.pid));
        let bodies: HashSet<u32> =
            alive.flat_map(|process| &process.threads).map(|thread| thread.tid).collect();
        let shadows = self.threads.iter().filter(|(tid, _)| !bodies.contains(tid));
        let shadows = shadows.map(|(tid, thread)| format!("{tid} of {}: {:?}", thread.pid, thread.state));
        let bodies = bodies.iter().filter(|tid| !self.threads.contains_key(tid));
        shadows.chain(bodies.map(|tid| format!("{tid}: unknown at home"))).collect()
    }

    /// Shadow threads that are not at hand after a recall: one that took too long with something, and cannot be given
    /// back yet.
    #[must_use]
    pub fn absent(&self) -> Vec<String> {
        let absent = self.threads.iter().filter(|(_, thread)| !matches!(thread.state, Shadow::Parked(_)));
        absent.map(|(tid, thread)| format!("{tid} of {}: {:?}", thread.pid, thread.state)).collect()
    }

    /// Lends out the threads of a process, the leader first; signals that came meanwhile go into its image.
    pub fn surrender(&mut self, pid: u32) -> Vec<ShadowThread> {
        let mut shadows = Vec::new();
        for (tid, thread) in self.threads.iter_mut().filter(|(_, thread)| thread.pid == pid) {
            if let Shadow::Parked(task) = std::mem::replace(&mut thread.state, Shadow::Lost) {
                shadows.push(ShadowThread { tid: *tid, task });
            }
        }
        shadows.sort_by_key(|shadow| (shadow.tid != pid, shadow.tid));
        shadows
    }

    /// The family was captured at its guest: what its threads have heard of until then, they have.
    pub fn heard(&mut self, family: &FamilyImage) {
        for seen in family.processes.iter().flat_map(|process| &process.threads) {
            if let Some(thread) = self.threads.get_mut(&seen.tid) {
                thread.unheard.retain(|(number, _)| *number > seen.signals);
            }
        }
    }

    /// Every body thread goes on where it was: it is told of the signals that it may not have heard of.
    pub fn tell_all_again(&mut self) {
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        tids.into_iter().for_each(|tid| self.tell_again(tid));
    }

    /// Adds the signals that no body has heard of, and those that were held since the recall, to the threads that they
    /// were for.
    pub fn hand_over_signals(&mut self, image: &mut ProcessImage) {
        for thread in &mut image.threads {
            if let Some(shadow) = self.threads.get_mut(&thread.tid) {
                thread.pending.extend(shadow.unheard.drain(..).map(|(_, info)| info));
            }
            if let Some(held) = self.held.remove(&thread.tid) {
                thread.pending.extend(held);
            }
        }
    }

    /// A call that came too late is issued again by its own thread at home. Should the family not come home after all,
    /// its body may issue it under the same number before it hears of this: then this is the answer, since it would
    /// take it for one, and issue the call once more.
    pub(super) fn send_back(&mut self, thread: &mut Thread, tid: u32, seq: u64) {
        self.answer(thread, tid, seq, RESTART_ALWAYS, FileClass::Other, Bytes::new());
    }

    pub(super) fn turn_away(&mut self, tid: u32, seq: u64) {
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        self.send_back(&mut thread, tid, seq);
        self.threads.insert(tid, thread);
    }

    fn stop(&mut self, tid: u32) -> Result<(), TraceError> {
        let Some(mut thread) = self.threads.remove(&tid) else { return Ok(()) };
        let queued: Vec<u64> = thread.outstanding().into_iter().collect();
        tracing::debug!(tid, ?queued, state = ?thread.state, "recalled");
        let mut failure = None;
        let state = match std::mem::replace(&mut thread.state, Shadow::Lost) {
            Shadow::Parked(task) => {
                queued.into_iter().for_each(|seq| self.send_back(&mut thread, tid, seq));
                Shadow::Parked(task)
            }
            Shadow::Dozing(task) => match self.stop_of(&task) {
                Ok(Event::Exec) => self.renewed(&thread, tid),
                Ok(event) => {
                    let task = task.stopped();
                    self.job_control(&mut thread, tid, event);
                    self.hold_if_signal(&task, event);
                    queued.into_iter().for_each(|seq| self.send_back(&mut thread, tid, seq));
                    thread.park(task)
                }
                Err(error) => {
                    failure = Some(error);
                    still_running(error, task, None)
                }
            },
            Shadow::Calling(task, call) => match self.stop_of(&task) {
                Ok(Event::Exec) => self.renewed(&thread, tid),
                Ok(event) => {
                    let task = task.stopped();
                    self.job_control(&mut thread, tid, event);
                    self.end_call(&mut thread, task, call, event)
                }
                Err(error) => {
                    failure = Some(error);
                    still_running(error, task, Some(call))
                }
            },
            ending @ (Shadow::Ending(_) | Shadow::Lost) => ending,
        };
        thread.state = state;
        self.threads.insert(tid, thread);
        self.proceed(tid);
        failure.map_or(Ok(()), Err)
    }

    fn end_call(&mut self, thread: &mut Thread, task: Stopped, call: Call, event: Event) -> Shadow {
        if event != Event::Signal(libc::SIGTRAP) {
            self.hold_if_signal(&task, event);
            if go_on_at_home(&task, &call).is_err() {
                return Shadow::Lost;
            }
        }
        self.interrupted(thread, task, call)
    }

    /// A signal at whose delivery the thread stopped: caught or not, the program at home will see it.
    fn hold_if_signal(&mut self, task: &Stopped, event: Event) {
        if matches!(event, Event::Signal(_))
            && let Ok(info) = task.signal_info()
        {
            self.held.entry(task.tid()).or_default().push(info.0.to_vec());
        }
    }
}

/// The interrupted call will be issued by the program itself, at home: its result must be one with which it can.
fn go_on_at_home(task: &Stopped, call: &Call) -> Result<(), TraceError> {
    let registers = task.registers()?;
    let instead = match registers.rax.cast_signed() {
        // Only the recall has interrupted it; if there is a signal after all, it ends with EINTR.
        INTERRUPTED if leaks_interruption(u64::from(call.nr)) => RESTART_WITHOUT_HANDLER,
        // The restart block points to a call buffer that will be gone.
        RESTART_BLOCK if i64::from(call.nr) == libc::SYS_poll && call.anchor.is_none() => {
            RESTART_WITHOUT_HANDLER
        }
        _ => return Ok(()),
    };
    task.set_registers(&Registers { rax: instead.cast_unsigned(), ..registers })
}

/// The first field of a `siginfo_t`.
fn signal_number(info: &[u8]) -> i32 {
    info.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number))
}

const INTERRUPTED: i64 = -(libc::EINTR as i64);
const IGNORE: u64 = 1;
