//! Signals at the guest: those from home get their true form, faults are the body's own.

use std::collections::HashMap;

use bytes::Bytes;
use migration::sys::ptrace::{NO_CALL, RESTART_ALWAYS, Registers, Resume, SigInfo};
use migration::sys::wait::Event;
use migration::sys::{procvm, signal};
use migration::tracee::{Stopped, TraceError};

use super::calls::arguments;
use super::memory::View;
use super::state::{Again, Effect, InFlight, Standing, Trapped};
use super::{Guest, running, waits};
use crate::protocol::FromBody;
use crate::syscall::marshal::{Plan, gather_piece};

impl Guest {
    /// Home has a signal that this thread's program catches.
    pub(super) fn signal(&mut self, tid: u32, number: u64, raw: &[u8]) {
        // Home tells it again, where the family goes on.
        if self.captured {
            return;
        }
        let Ok(bytes) = <[u8; 128]>::try_from(raw) else { return };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let Some(process) = self.processes.get(&thread.pid) else { return };
        tracing::debug!(tid, number, heard = thread.signals, "a signal from home");
        let is_new = number > thread.signals;
        thread.signals = thread.signals.max(number);
        self.effects.push_back(Effect::Send {
            tid,
            message: FromBody::Heard(thread.signals),
            tail: Bytes::new(),
        });
        if !is_new {
            return;
        }
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
            && let Some(original) = original(&self.signals, &info).copied()
        {
            self.signals.remove(&info.value());
            if task.set_signal_info(&original).is_err() {
                return Standing::Lost;
            }
        }
        self.settle(tid, task, number)
    }

    /// A handler is about to run. If a move has interrupted a call of this thread that may still be under way at home,
    /// that call must end first: the handler's calls would get its number and its answer.
    pub(super) fn settle(&mut self, tid: u32, task: Stopped, number: i32) -> Standing {
        let Some(Again { nr, args, moved, .. }) = self.in_flight_at_home(tid, &task) else {
            return self.enter_handler(tid, task, number);
        };
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let view = View::of(process);
        let gathered = gather_piece(nr, &args, moved, &view);
        let missing = view.missing();
        match gathered {
            Ok(Plan { scatter, split, .. }) => {
                let Ok(task) = into_call(task, nr) else { return Standing::Lost };
                let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
                thread.in_flight = Some(InFlight { scatter, split });
                thread.seq += 1;
                let seq = thread.seq;
                self.send(tid, FromBody::Settle { seq }, Bytes::new());
                waits(task, Trapped::Settling(number))
            }
            Err(_) if let Some(page) = missing => {
                let pid = self.threads.get(&tid).map_or(0, |thread| thread.pid);
                self.missing(pid, page);
                waits(task, Trapped::Unsettled(number, page))
            }
            // What cannot be gathered was never sent.
            Err(_) => self.enter_handler(tid, task, number),
        }
    }

    /// The call that the thread will issue again, if it was under way at home when a move stopped it.
    fn in_flight_at_home(&self, tid: u32, task: &Stopped) -> Option<Again> {
        let again = self.threads.get(&tid)?.again?;
        let registers = task.registers().ok()?;
        let nr = u64::from(again.nr);
        let was_in_call = registers.orig_rax == nr && registers.rax.cast_signed() == RESTART_ALWAYS;
        // The kernel has set it back before its `syscall` instruction, where the signal has met it.
        let is_before_call = registers.orig_rax == NO_CALL && registers.rax == nr;
        let is_it = (was_in_call || is_before_call) && arguments(&registers) == again.args;
        is_it.then_some(again)
    }

    /// Lets the kernel deliver the signal at whose delivery the thread stopped.
    pub(super) fn enter_handler(&mut self, tid: u32, task: Stopped, number: i32) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        thread.interrupted_at_home = false;
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

/// What home told of a signal that the warden has queued, if it is one: the warden is in no namespace that bodies see.
pub(super) fn original<'a>(signals: &'a HashMap<i32, SigInfo>, queued: &SigInfo) -> Option<&'a SigInfo> {
    let is_ours = queued.code() == libc::SI_QUEUE && queued.sender() == 0;
    let told = is_ours.then(|| signals.get(&queued.value())).flatten()?;
    (told.signo() == queued.signo()).then_some(told)
}

/// A thread that stands before the `syscall` instruction of a call, as it stands in the call when it has to issue it
/// again.
fn into_call(task: Stopped, nr: u32) -> Result<Stopped, TraceError> {
    let registers = task.registers()?;
    if registers.orig_rax == NO_CALL {
        let (rax, orig_rax) = (RESTART_ALWAYS.cast_unsigned(), u64::from(nr));
        task.set_registers(&Registers { rax, orig_rax, rip: registers.rip + SYSCALL_BYTES, ..registers })?;
    }
    Ok(task)
}

/// Of the instruction.
const SYSCALL_BYTES: u64 = 2;

/// `uc_sigmask` in `struct rt_sigframe`: behind the return address, flags, link, stack and `struct sigcontext_64`.
const MASK_IN_FRAME: u64 = 8 + 40 + 256;
