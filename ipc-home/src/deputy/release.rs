//! Giving a family's shadow threads back, so that they become the program again.

use std::collections::HashSet;

use bytes::Bytes;
use migration::deputize::ShadowThread;
use migration::image::{FamilyImage, ProcessImage};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::Deputy;
use super::state::{Effect, Shadow};
use crate::protocol::{FileClass, ToBody};

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
        for tid in tids {
            self.stop(tid)?;
        }
        Ok(())
    }

    /// Takes a recall back: calls are executed again, and signals that came meanwhile are delivered.
    pub fn go_on(&mut self) {
        self.recalled = false;
        for (tid, held) in std::mem::take(&mut self.held) {
            let Some(thread) = self.threads.get(&tid) else { continue };
            let Some(home) = self.processes.get(&thread.pid) else { continue };
            for info in held {
                let signal = signal_number(&info);
                if home.actions.get(&signal).is_some_and(|action| action.handler > IGNORE) {
                    let message = ToBody::Signal(info);
                    self.effects.push_back(Effect::Send { tid, message, tail: Bytes::new() });
                } else {
                    // Its default action is home's kernel's. A thread that is gone needs none.
                    let _ = signal::tgkill(thread.pid, tid, signal);
                }
            }
        }
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        tids.into_iter().for_each(|tid| self.proceed(tid));
    }

    /// The first thread of a recalled process, for work on its mappings.
    pub fn leader(&mut self, pid: u32) -> Option<&mut Stopped> {
        match &mut self.threads.get_mut(&pid)?.state {
            Shadow::Parked(task) => Some(task),
            _ => None,
        }
    }

    /// Shadow threads without a body thread in the image. The last words of a thread that has ended may still be on
    /// their way, and its shadow must end too before its process can go on.
    #[must_use]
    pub fn strangers(&self, family: &FamilyImage) -> Vec<String> {
        let bodies: HashSet<u32> =
            family.processes.iter().flat_map(|process| &process.threads).map(|thread| thread.tid).collect();
        let strangers = self.threads.iter().filter(|(tid, _)| !bodies.contains(tid));
        strangers.map(|(tid, thread)| format!("{tid} of {}: {:?}", thread.pid, thread.state)).collect()
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

    /// Adds the signals that were held since the recall to the threads that they were for.
    pub fn hand_over_signals(&mut self, image: &mut ProcessImage) {
        for thread in &mut image.threads {
            if let Some(held) = self.held.remove(&thread.tid) {
                thread.pending.extend(held);
            }
        }
    }

    /// A call that came too late is issued again by its own thread at home.
    pub(super) fn send_back(&mut self, tid: u32, seq: u64) {
        let message = ToBody::Return { seq, result: RESTART_ALWAYS, file: FileClass::Other };
        self.effects.push_back(Effect::Send { tid, message, tail: Bytes::new() });
    }

    fn stop(&mut self, tid: u32) -> Result<(), TraceError> {
        let Some(mut thread) = self.threads.remove(&tid) else { return Ok(()) };
        let queued: Vec<u64> = thread.outstanding().into_iter().collect();
        tracing::debug!(tid, ?queued, state = ?thread.state, last = ?thread.last.as_ref().map(|last| last.0), "recalled");
        let state = match std::mem::replace(&mut thread.state, Shadow::Lost) {
            Shadow::Parked(task) => {
                queued.into_iter().for_each(|seq| self.send_back(tid, seq));
                Shadow::Parked(task)
            }
            Shadow::Dozing(task) => {
                task.interrupt()?;
                let (task, event) = self.waiter.next(task)?;
                self.hold_if_signal(&task, event);
                queued.into_iter().for_each(|seq| self.send_back(tid, seq));
                Shadow::Parked(task)
            }
            Shadow::Calling(task, call) => {
                task.interrupt()?;
                let (task, event) = self.waiter.next(task)?;
                if event != Event::Signal(libc::SIGTRAP) {
                    self.hold_if_signal(&task, event);
                }
                self.interrupted(&mut thread, task, call)
            }
            Shadow::Lost => Shadow::Lost,
        };
        thread.state = state;
        self.threads.insert(tid, thread);
        self.proceed(tid);
        Ok(())
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

/// The first field of a `siginfo_t`.
fn signal_number(info: &[u8]) -> i32 {
    info.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number))
}

const RESTART_ALWAYS: i64 = -513;
const IGNORE: u64 = 1;
