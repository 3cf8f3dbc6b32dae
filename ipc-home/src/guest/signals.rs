//! Signals at the guest: those from home get their true form, faults are the body's own.

use migration::sys::ptrace::{Resume, SigInfo};
use migration::sys::wait::Event;
use migration::sys::{procvm, signal};
use migration::tracee::Stopped;

use super::state::Standing;
use super::{Guest, running};

impl Guest {
    /// Home has a signal that this thread's program catches.
    pub(super) fn signal(&mut self, tid: u32, raw: &[u8]) {
        let Ok(bytes) = <[u8; 128]>::try_from(raw) else { return };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let Some(process) = self.processes.get(&thread.pid) else { return };
        if matches!(thread.standing, Standing::Waiting(..)) {
            thread.deliver_under = thread.mask_in_call;
        }
        let info = SigInfo(bytes);
        self.cookies = self.cookies.wrapping_add(1);
        // Gone meanwhile: its end will be reported.
        if signal::queue(process.outer, thread.outer, info.signo(), self.cookies).is_ok() {
            self.signals.insert(self.cookies, info);
        }
    }

    /// A signal is about to be delivered to a body thread.
    pub(super) fn deliver(&mut self, tid: u32, task: Stopped, number: i32) -> Standing {
        if let Ok(info) = task.signal_info()
            && info.code() == libc::SI_QUEUE
            && let Some(original) = self.signals.remove(&info.value())
            && task.set_signal_info(&original).is_err()
        {
            return Standing::Lost;
        }
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        match thread.deliver_under.take() {
            Some(mask) => {
                // The mask of the call was in force; the frame must hold the program's own.
                task.resume(Resume::Step, number)
                    .map_or(Standing::Lost, |task| Standing::Entering(task, mask))
            }
            None => running(task.resume(Resume::Cont, number)),
        }
    }

    /// The stop that was asked for together with a restart code, or with a signal under another mask.
    pub(super) fn after_interrupt(&mut self, tid: u32, task: Stopped) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        if let Some(temporary) = thread.deliver_under {
            let Ok(own) = task.mask() else { return Standing::Lost };
            thread.deliver_under = Some(own);
            if task.set_mask(temporary).is_err() {
                return Standing::Lost;
            }
        }
        running(task.resume(Resume::Cont, 0))
    }

    /// At the first instruction of a handler: the mask to return to is put right.
    pub(super) fn entered(&mut self, task: Stopped, mask: u64, _event: Event) -> Standing {
        if let Ok(registers) = task.registers() {
            let at = registers.rsp + MASK_IN_FRAME;
            if procvm::write(task.tid(), at, &mask.to_le_bytes()).is_err() {
                tracing::warn!(tid = task.tid(), "the signal frame cannot be completed");
            }
        }
        running(task.resume(Resume::Cont, 0))
    }
}

/// `uc_sigmask` in `struct rt_sigframe`: behind the return address, flags, link, stack and `struct sigcontext_64`.
const MASK_IN_FRAME: u64 = 8 + 40 + 256;
