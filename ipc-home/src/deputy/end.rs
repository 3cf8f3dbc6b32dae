//! How deputies end: as their bodies did, and as seen by whoever waits for them.

use migration::body::Work as Hands;
use migration::image::SignalAction;
use migration::remote::Remote;
use migration::sys::ptrace::Resume;
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::Deputy;
use super::state::{Effect, Shadow, Thread};

impl Deputy {
    /// A task of the family is no more.
    pub(super) fn ended(&mut self, tid: u32, event: Event) {
        tracing::debug!(tid, ?event, "a shadow thread has ended");
        self.early.remove(&tid);
        // A process ends with its leader's report, which the kernel gives last.
        let is_process = self.processes.remove(&tid).is_some();
        let is_gone = |(number, thread): (&u32, &Thread)| *number == tid || is_process && thread.pid == tid;
        let gone: Vec<u32> =
            self.threads.iter().filter(|entry| is_gone(*entry)).map(|(tid, _)| *tid).collect();
        for tid in gone {
            if let Some(thread) = self.threads.remove(&tid)
                && let Some(home) = self.processes.get_mut(&thread.pid)
            {
                home.slots.give_back(thread.slot);
            }
            self.effects.push_back(Effect::Silent { tid });
        }
        if is_process {
            self.effects.push_back(Effect::Gone { pid: tid });
        }
    }

    /// The body thread or process has ended by itself: so does this one, with the same status.
    pub(super) fn exit(&mut self, task: Stopped, nr: i64, status: i32) -> Result<Shadow, TraceError> {
        self.launch(&task, nr, [i64::from(status).cast_unsigned(), 0, 0, 0, 0, 0])?;
        Ok(Shadow::Ending(task.resume(Resume::Cont, 0)?))
    }

    /// The bodies are gone without a word: every process of the family ends with this status.
    pub fn end_all(&mut self, status: i32) {
        // A thread that does not stop is killed with its warden.
        let _ = self.recall();
        let leaders: Vec<u32> = self.processes.keys().copied().collect();
        for tid in leaders {
            let Some(mut thread) = self.threads.remove(&tid) else { continue };
            if let Shadow::Parked(task) = std::mem::replace(&mut thread.state, Shadow::Lost) {
                thread.state = self.exit(task, libc::SYS_exit_group, status).unwrap_or(Shadow::Lost);
            }
            self.threads.insert(tid, thread);
        }
    }

    /// The body was killed by a fault: the deputy dies by the same signal, without a core of its own.
    pub(super) fn die_by(
        &mut self,
        tid: u32,
        thread: &Thread,
        task: Stopped,
        number: i32,
    ) -> Result<Shadow, TraceError> {
        let memory = self.processes.get(&thread.pid).and_then(|home| home.memory.try_clone().ok());
        let memory = memory.ok_or(TraceError::Died(tid))?;
        let remote = Remote::trapping(&self.waiter, task, self.foothold.code())?;
        let mut hands = Hands { remote, memory, foothold: self.foothold };
        let _ = hands.set_action(number, SignalAction::default());
        let no_core = [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0];
        let _ = hands.remote.call(libc::SYS_prctl, no_core)?;
        let task = hands.remote.release()?;
        task.set_mask(0)?;
        self.launch(&task, libc::SYS_pause, [0; 6])?;
        let running = task.resume(Resume::Cont, 0)?;
        // The stop before delivery is answered like every default action: home's kernel kills.
        if let Some(home) = self.processes.get_mut(&thread.pid) {
            home.actions.remove(&number);
        }
        let _ = signal::tgkill(thread.pid, tid, number);
        Ok(Shadow::Dozing(running))
    }
}
