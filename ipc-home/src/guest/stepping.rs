//! A body thread that stops inside of the vdso goes on until it is out, see [`migration::vdso`]; only then is what
//! stopped it dealt with. No signal that can wait comes in between.

use migration::sys::ptrace::{Resume, SigInfo};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};
use migration::vdso::STEPS_MAX;

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
    steps: u32,
    /// A SIGSTOP came meanwhile, which no mask holds back.
    owes_stop: bool,
}

impl Guest {
    /// Whether a thread must go on before it may stand still or enter a handler.
    fn is_inside(&self, tid: u32, task: &Stopped) -> bool {
        let process = self.process_of(tid);
        process.is_some_and(|process| task.registers().is_ok_and(|registers| process.vdso.holds(&registers)))
    }

    /// Begins to lead a thread out, if it has to be.
    pub(super) fn stopped_anywhere(&mut self, tid: u32, task: Stopped, event: Event) -> Standing {
        let may_be_inside = matches!(event, Event::Signal(_) | Event::Stop(libc::SIGTRAP));
        if !may_be_inside || !self.is_inside(tid, &task) {
            return self.stopped(tid, task, event);
        }
        let begun = || -> Result<Stepping, TraceError> {
            let signal = if let Event::Signal(_) = event { Some(task.signal_info()?) } else { None };
            let mask = task.mask()?;
            task.set_mask(!FAULTS)?;
            Ok(Stepping { event, signal, mask, steps: 0, owes_stop: false })
        };
        begun().map_or(Standing::Lost, |stepping| step(task, stepping))
    }

    /// It has made a step, or something came in between.
    pub(super) fn stepped(&mut self, tid: u32, task: Stopped, event: Event, mut on: Stepping) -> Standing {
        on.steps += 1;
        match event {
            Event::Signal(libc::SIGSTOP) => on.owes_stop = true,
            Event::Stop(number) if number != libc::SIGTRAP => on.owes_stop = true,
            Event::Signal(libc::SIGTRAP) if task.signal_info().is_ok_and(|info| info.is_step()) => {}
            // Its own fault, or a SIGTRAP of its program: that comes first.
            Event::Signal(_) => return self.out(tid, task, Stepping { event, ..on }, on.signal),
            _ => {}
        }
        if on.steps < STEPS_MAX && self.is_inside(tid, &task) {
            return step(task, on);
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
        if on.owes_stop {
            // A thread that is gone needs neither.
            let _ = signal::tkill(outer, libc::SIGSTOP);
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

fn step(task: Stopped, on: Stepping) -> Standing {
    match running(task.resume(Resume::Step, 0)) {
        Standing::Running(task) => Standing::Stepping(task, Box::new(on)),
        other => other,
    }
}

/// Were one of these blocked when the kernel raises it, it would take the program's handler away.
const FAULTS: u64 =
    bit(libc::SIGSEGV) | bit(libc::SIGBUS) | bit(libc::SIGILL) | bit(libc::SIGFPE) | bit(libc::SIGTRAP);

const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}
