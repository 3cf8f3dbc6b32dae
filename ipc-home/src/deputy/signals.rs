//! Signals at home: default actions are left to home's kernel, caught ones go to the body.

use bytes::Bytes;
use migration::landing::leaks_interruption;
use migration::sys::ptrace::{RESTART_ALWAYS, RESTART_WITHOUT_HANDLER, Registers, Resume};
use migration::tracee::Stopped;

use super::Deputy;
use super::execute::file_class;
use super::restart::interrupted_before;
use super::state::{Call, Effect, Shadow, Thread};
use crate::protocol::{FileClass, ToBody};

/// What becomes of a signal that reached a deputy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The body has a handler: it was told.
    Forwarded,
    /// Home's kernel does the rest (default action, ignored: 0).
    Kernel(i32),
}

impl Deputy {
    /// A signal is about to be delivered to a shadow thread.
    pub(super) fn on_signal(&mut self, thread: &mut Thread, task: &Stopped, signal: i32) -> Delivery {
        let action = self.processes.get(&thread.pid).and_then(|home| home.actions.get(&signal));
        let caught = action.is_some_and(|action| action.handler > IGNORE);
        if !caught {
            return Delivery::Kernel(signal);
        }
        let Ok(info) = task.signal_info() else { return Delivery::Kernel(signal) };
        self.forward_signal(thread, task.tid(), info.0.to_vec());
        Delivery::Forwarded
    }

    /// Tells the body of a signal, and keeps it until the body has heard of it.
    pub(super) fn forward_signal(&mut self, thread: &mut Thread, tid: u32, info: Vec<u8>) {
        thread.signals += 1;
        let number = thread.signals;
        thread.unheard.push_back((number, info.clone()));
        let message = ToBody::Signal { number, info };
        self.effects.push_back(Effect::Send { tid, message, tail: Bytes::new() });
    }

    /// A body thread is there (again): it is told of every signal that it may not have heard of.
    pub fn tell_again(&mut self, tid: u32) {
        let Some(thread) = self.threads.get(&tid) else { return };
        if thread.job_stopped {
            self.effects.push_back(Effect::Send { tid, message: ToBody::Stop, tail: Bytes::new() });
        }
        for (number, info) in &thread.unheard {
            let message = ToBody::Signal { number: *number, info: info.clone() };
            self.effects.push_back(Effect::Send { tid, message, tail: Bytes::new() });
        }
    }

    /// A signal that home's kernel ignores does not interrupt a call natively. A traced thread is interrupted all the
    /// same; calls that the kernel then ends with EINTR are made to go on.
    pub(super) fn hide_from(&self, task: &Stopped, signal: i32, call: &Call, pid: u32) {
        let action = self.processes.get(&pid).and_then(|home| home.actions.get(&signal));
        let ignored = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT].contains(&signal)
            || action.is_some_and(|action| action.handler == IGNORE);
        let Ok(registers) = task.registers() else { return };
        let leaked = registers.rax.cast_signed() == INTERRUPTED && leaks_interruption(u64::from(call.nr));
        if ignored && leaked && registers.rip != self.foothold.code() {
            let again =
                Registers { rax: RESTART_WITHOUT_HANDLER.cast_unsigned(), ..call.with_rest(registers) };
            // A thread that is gone is reported.
            let _ = task.set_registers(&again);
        }
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
        if self.recalled {
            // They must stay where they are; the stop is complete when they are let go.
            return;
        }
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

    /// Ends a call that was under way at a move, since a handler is about to run at the guest.
    pub(super) fn settle(&mut self, tid: u32, seq: u64) {
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        match (&thread.state, thread.replies.to(seq)) {
            (_, Some((message, tail))) => {
                let (message, tail) = (message.clone(), tail.clone());
                self.effects.push_back(Effect::Send { tid, message, tail });
            }
            (Shadow::Calling(task, call), None) if call.seq == seq => {
                thread.settling = task.interrupt().is_ok();
            }
            _ => {
                thread.queue.retain(|work| work.call().is_none_or(|(queued, ..)| queued != seq));
                self.answer(&mut thread, tid, seq, RESTART_ALWAYS, FileClass::Other, Bytes::new());
            }
        }
        self.threads.insert(tid, thread);
    }

    /// The call ends with what its registers say now: it has returned, or was interrupted by a signal or by the
    /// family's return home.
    pub(super) fn interrupted(&mut self, thread: &mut Thread, task: Stopped, call: Call) -> Shadow {
        let Ok(registers) = task.registers() else { return Shadow::Lost };
        self.concluded(thread, task, call, &registers)
    }

    /// The same, where the registers are known.
    pub(super) fn concluded(
        &mut self,
        thread: &mut Thread,
        task: Stopped,
        call: Call,
        registers: &Registers,
    ) -> Shadow {
        thread.settling = false;
        // Stopped before its first instruction: nothing was executed, so the body must issue it again.
        let untouched = registers.rip == self.foothold.code();
        let result = if untouched {
            interrupted_before(i64::from(call.nr), call.issue, || file_class(thread.pid, call.first))
        } else {
            registers.rax.cast_signed()
        };
        self.finish(thread, task.tid(), call, result);
        thread.park(task)
    }
}

const IGNORE: u64 = 1;
const INTERRUPTED: i64 = -(libc::EINTR as i64);
