//! A body thread that stops inside of the vdso goes on until it is out, see [`migration::vdso`]; only then is what
//! stopped it dealt with. No signal that can wait comes in between.

use std::time::{Duration, Instant};

use migration::sys::ptrace::{self, Resume, SigInfo};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::state::Standing;
use super::{Guest, running};

/// What is to be done when the thread is out.
#[derive(Debug)]
pub(super) struct Stepping {
    /// What stopped it.
    event: Event,
    /// Of the signal that stopped it, if one did.
    signal: Option<SigInfo>,
    /// Its own mask.
    mask: u64,
    began: Instant,
    /// Job control has stopped it meanwhile.
    was_stopped: bool,
}

impl Guest {
    /// Whether a thread must go on before it may stand still or enter a handler.
    fn is_inside(&self, tid: u32, task: &Stopped) -> bool {
        let process = self.process_of(tid);
        process.is_some_and(|process| task.registers().is_ok_and(|registers| process.vdso.holds(&registers)))
    }

    /// Begins to lead a thread out, if it has to be.
    pub(super) fn stopped_anywhere(&mut self, tid: u32, task: Stopped, event: Event) -> Standing {
        let may_have_to = match event {
            // Never kept back: a SIGCONT takes back only what the kernel still has. A freeze leads it out.
            Event::Signal(libc::SIGSTOP) => self.freezing,
            // A fault of its own would happen again.
            Event::Signal(number) => {
                bit(number) & FAULTS == 0 || !task.signal_info().is_ok_and(is_from_kernel)
            }
            Event::Stop(libc::SIGTRAP) => true,
            Event::Stop(_) => self.freezing,
            _ => false,
        };
        if !may_have_to || !self.is_inside(tid, &task) {
            return self.stopped(tid, task, event);
        }
        let begun = || -> Result<Stepping, TraceError> {
            let signal = if let Event::Signal(_) = event { Some(task.signal_info()?) } else { None };
            let mask = task.mask()?;
            task.set_mask(!FAULTS)?;
            Ok(Stepping { event, signal, mask, began: Instant::now(), was_stopped: false })
        };
        begun().map_or(Standing::Lost, |stepping| step(task, stepping, 0))
    }

    /// It has made a step, or something came in between.
    pub(super) fn stepped(&mut self, tid: u32, task: Stopped, event: Event, mut on: Stepping) -> Standing {
        match event {
            Event::Signal(libc::SIGTRAP) if task.signal_info().is_ok_and(|info| info.is_step()) => {}
            Event::Signal(libc::SIGSTOP) => return step(task, on, libc::SIGSTOP),
            // Its own fault, or a SIGTRAP of its program: that comes first.
            Event::Signal(_) => return self.out(tid, task, Stepping { event, ..on }, on.signal),
            // The step may have been made already and its trap be queued: it is reported next, and no more is executed.
            Event::Stop(number) => {
                on.was_stopped |= number != libc::SIGTRAP;
                return step(task, on, 0);
            }
            _ => return step(task, on, 0),
        }
        if on.began.elapsed() < LIMIT && self.is_inside(tid, &task) {
            return step(task, on, 0);
        }
        let given_back = on.signal.as_ref().map_or(Ok(()), |info| task.set_signal_info(info));
        if given_back.is_err() {
            return Standing::Lost;
        }
        self.out(tid, task, on, None)
    }

    /// Deals with what stopped it; a signal that must come later is sent again.
    fn out(&mut self, tid: u32, task: Stopped, on: Stepping, later: Option<SigInfo>) -> Standing {
        if task.set_mask(on.mask).is_err() {
            return Standing::Lost;
        }
        let outer = task.tid();
        if on.was_stopped && !self.freezing {
            // The kernel says anew whether it is to stand still. A thread that is gone needs neither.
            let _ = ptrace::interrupt(outer);
        }
        if let Some(info) = later {
            let process = self.process_of(tid).map_or(outer, |process| process.outer);
            let _ = if info.code() == libc::SI_QUEUE {
                signal::queue(process, outer, info.signo(), info.value())
            } else {
                signal::tkill(outer, info.signo())
            };
        }
        self.stopped(tid, task, on.event)
    }
}

fn step(task: Stopped, on: Stepping, signal: i32) -> Standing {
    match running(task.resume(Resume::Step, signal)) {
        Standing::Running(task) => Standing::Stepping(task, Box::new(on)),
        other => other,
    }
}

fn is_from_kernel(info: SigInfo) -> bool {
    info.code() > 0
}

/// After that it is taken as it is: `getrandom` is in the vdso too, and has as much to do as it is asked for.
const LIMIT: Duration = Duration::from_millis(50);

/// Were one of these blocked when the kernel raises it, it would take the program's handler away.
const FAULTS: u64 =
    bit(libc::SIGSEGV) | bit(libc::SIGBUS) | bit(libc::SIGILL) | bit(libc::SIGFPE) | bit(libc::SIGTRAP);

const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}
