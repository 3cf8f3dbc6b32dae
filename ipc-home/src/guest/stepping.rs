//! A body thread that stops inside of the vdso goes on until it is out, see [`migration::vdso`]; only then is what
//! stopped it dealt with. No signal that can wait comes in between.

use std::time::{Duration, Instant};

use migration::sys::ptrace::{self, FAULTS, Resume, SigInfo};
use migration::sys::signal;
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError};

use super::Guest;
use super::state::Standing;

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
    steps: u32,
    /// Job control has stopped it.
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
            Event::Signal(_) => !task.signal_info().is_ok_and(|info| info.is_fault()),
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
            // Of a stop by job control the kernel is asked again.
            let (event, was_stopped) = match event {
                Event::Stop(number) => (Event::Stop(libc::SIGTRAP), number != libc::SIGTRAP),
                other => (other, false),
            };
            Ok(Stepping { event, signal, mask, began: Instant::now(), steps: 0, was_stopped })
        };
        begun().map_or(Standing::Lost, |stepping| self.step(tid, task, stepping, 0))
    }

    /// It has made a step, or something came in between.
    pub(super) fn stepped(&mut self, tid: u32, task: Stopped, event: Event, on: Stepping) -> Standing {
        match self.look(tid, &task, event, on) {
            Next::Step(on, signal) => self.step(tid, task, on, signal),
            Next::Out(on, later) => self.out(tid, task, on, later),
        }
    }

    /// One step after the other, as long as they take a moment only: between two of them the kernel may set its clocks,
    /// and whoever reads a clock then begins anew. A step that has to wait for a page ends with an event.
    fn step(&mut self, tid: u32, mut task: Stopped, mut on: Stepping, mut signal: i32) -> Standing {
        loop {
            let Ok(running) = task.resume(Resume::Step, signal) else { return Standing::Lost };
            let event = match self.waiter.at_once(&running, STEP_TIME) {
                Ok(Some(event)) => event,
                Ok(None) => return Standing::Stepping(running, Box::new(on)),
                Err(_) => return Standing::Lost,
            };
            task = running.stopped();
            (on, signal) = match self.look(tid, &task, event, on) {
                Next::Step(on, signal) => (on, signal),
                Next::Out(on, later) => return self.out(tid, task, on, later),
            };
        }
    }

    fn look(&self, tid: u32, task: &Stopped, event: Event, mut on: Stepping) -> Next {
        match event {
            Event::Signal(libc::SIGTRAP) if task.signal_info().is_ok_and(|info| info.is_step()) => {}
            Event::Signal(libc::SIGSTOP) => return Next::Step(on, libc::SIGSTOP),
            // Its own fault, or a SIGTRAP of its program: that comes first.
            Event::Signal(_) => {
                let later = on.signal.take();
                return Next::Out(Stepping { event, ..on }, later);
            }
            // The step may have been made already and its trap be queued: it is reported next, and no more is executed.
            Event::Stop(number) => {
                on.was_stopped |= number != libc::SIGTRAP;
                return Next::Step(on, 0);
            }
            _ => return Next::Step(on, 0),
        }
        on.steps += 1;
        let is_over = on.steps >= STEPS_MIN && on.began.elapsed() >= LIMIT;
        if is_over || !self.is_inside(tid, task) { Next::Out(on, None) } else { Next::Step(on, 0) }
    }

    /// Deals with what stopped it; a signal that must come later is sent again.
    fn out(&mut self, tid: u32, task: Stopped, on: Stepping, later: Option<SigInfo>) -> Standing {
        let own = on.signal.as_ref().map_or(Ok(()), |info| task.set_signal_info(info));
        if own.and_then(|()| task.set_mask(on.mask)).is_err() {
            return Standing::Lost;
        }
        let outer = task.tid();
        if let Some(info) = later {
            let process = self.process_of(tid).map_or(outer, |process| process.outer);
            // A thread that is gone needs none.
            let _ = if info.code() == libc::SI_QUEUE {
                signal::queue(process, outer, info.signo(), info.value())
            } else {
                signal::tkill(outer, info.signo())
            };
        }
        if on.was_stopped && !self.freezing {
            // The kernel says anew whether it is to stand still.
            let _ = ptrace::interrupt(outer);
        }
        self.stopped(tid, task, on.event)
    }
}

/// How it goes on with a thread.
enum Next {
    /// Step, with this signal (0: none).
    Step(Stepping, i32),
    /// It is out, or must be taken as it is; with a signal that is to come later.
    Out(Stepping, Option<SigInfo>),
}

/// After so many steps and so long it is taken as it is: `getrandom` is in the vdso too, and has as much to do as it is
/// asked for. A clock takes less than a hundred.
const STEPS_MIN: u32 = 500;
const LIMIT: Duration = Duration::from_millis(50);

/// A step takes some microseconds where a processor is free.
const STEP_TIME: Duration = Duration::from_micros(200);
