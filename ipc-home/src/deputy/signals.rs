//! Signals at home: default actions are left to home's kernel, caught ones go to the body.

use bytes::Bytes;
use migration::sys::ptrace::Resume;
use migration::tracee::Stopped;

use super::state::{Call, Effect, Shadow, Thread};
use super::{Delivery, Deputy};
use crate::protocol::ToBody;

impl Deputy {
    /// A signal is about to be delivered to a shadow thread.
    pub(super) fn on_signal(&mut self, thread: &Thread, task: &Stopped, signal: i32) -> Delivery {
        let action = self.processes.get(&thread.pid).and_then(|home| home.actions.get(&signal));
        let caught = action.is_some_and(|action| action.handler > IGNORE);
        if !caught {
            return Delivery::Kernel(signal);
        }
        let Ok(info) = task.signal_info() else { return Delivery::Kernel(signal) };
        let message = ToBody::Signal(info.0.to_vec());
        self.effects.push_back(Effect::Send { tid: task.tid(), message, tail: Bytes::new() });
        Delivery::Forwarded
    }

    /// Job control stops the process: every thread listens for SIGCONT, parked ones too, since a group-stop is
    /// complete, and reported to the parent, only when all take part.
    pub(super) fn group_stop(&mut self, thread: &mut Thread, task: Stopped) -> Shadow {
        self.stopped_by_job_control(thread, task.tid());
        task.resume(Resume::Listen, 0).map_or(Shadow::Lost, Shadow::Dozing)
    }

    pub(super) fn stopped_by_job_control(&mut self, thread: &mut Thread, tid: u32) {
        if std::mem::replace(&mut thread.job_stopped, true) {
            return;
        }
        self.effects.push_back(Effect::Send { tid, message: ToBody::Stop, tail: Bytes::new() });
        let parked: Vec<u32> = self
            .threads
            .iter()
            .filter(|(_, other)| other.pid == thread.pid && matches!(other.state, Shadow::Parked(_)))
            .map(|(tid, _)| *tid)
            .collect();
        for tid in parked {
            self.doze(tid);
        }
    }

    /// The call ends with what its registers say now: it has returned, or was interrupted by a signal or by the
    /// family's return home.
    pub(super) fn interrupted(&mut self, thread: &mut Thread, task: Stopped, call: Call) -> Shadow {
        let Ok(registers) = task.registers() else { return Shadow::Lost };
        // Stopped before its first instruction: nothing was executed, so the body must issue it again.
        let untouched = registers.rip == self.foothold.code();
        let result = if untouched { RESTART_ALWAYS } else { registers.rax.cast_signed() };
        self.finish(thread, task.tid(), call, result);
        thread.park(task)
    }
}

const IGNORE: u64 = 1;
const RESTART_ALWAYS: i64 = -513;
