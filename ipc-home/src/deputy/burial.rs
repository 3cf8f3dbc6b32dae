//! Giving back the memory that bodies have taken along, in moments in which nobody waits for the deputy.

use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::graves::Graves;
use migration::remote::Remote;
use migration::tracee::{Stopped, TraceError};

use super::Deputy;
use super::state::Shadow;

/// The memory of one deputy that is to be given back.
#[derive(Debug)]
pub(super) struct Burial {
    graves: Graves,
    /// Since when.
    began: Instant,
    /// When to give back the next part without being asked.
    due: Instant,
}

impl Burial {
    pub(super) fn of(graves: Graves) -> Burial {
        let now = Instant::now();
        Burial { graves, began: now, due: now + PAUSE }
    }

    /// Whether there is nothing left.
    pub(super) fn is_over(&self) -> bool {
        self.graves.is_empty()
    }

    /// Whether something of this range is still in use.
    pub(super) fn concerns(&self, range: &Range<u64>) -> bool {
        self.graves.overlap(range)
    }
}

impl Deputy {
    /// Gives back a part; returns when to ask again, if there is more.
    ///
    /// A thread without work is used as soon as there is one. If all are in calls, the body waits too, and one of the
    /// calls is interrupted, once: some calls begin their timeout anew then.
    pub(super) fn bury(&mut self, now: Instant) -> Option<Instant> {
        let (pid, home) = self.processes.iter_mut().find(|(_, home)| !home.burial.is_over())?;
        let (pid, due, age) = (*pid, home.burial.due, now - home.burial.began);
        if now < due {
            return Some(due);
        }
        let next = now + PAUSE;
        home.burial.due = next;
        let is_idle = |state: &Shadow| matches!(state, Shadow::Parked(_) | Shadow::Dozing(_));
        let idle = self.threads.values().any(|thread| thread.pid == pid && is_idle(&thread.state));
        if idle || age > PATIENCE {
            let bytes = if idle { IDLE_BYTES } else { u64::MAX };
            self.bury_now(pid, bytes);
        }
        Some(next)
    }

    /// Has some thread of the process give back so much.
    fn bury_now(&mut self, pid: u32, bytes: u64) {
        let Some(home) = self.processes.get_mut(&pid) else { return };
        let mut graves = mem::take(&mut home.burial.graves);
        let (foothold, waiter) = (self.foothold, Rc::clone(&self.waiter));
        let buried = self.lend::<TraceError>(pid, |task| {
            let mut remote = Remote::trapping(&waiter, task, foothold.code())?;
            graves.bury(&mut remote, bytes)?;
            remote.release()
        });
        match buried {
            Ok(()) | Err(TraceError::Late(..)) => self.keep(pid, graves),
            Err(error) => tracing::debug!(pid, %error, "a deputy's memory goes with it"),
        }
    }

    /// A thread that has just become free gives back a little, before it does anything else.
    pub(super) fn bury_between(&mut self, pid: u32, task: Stopped) -> Shadow {
        self.bury_with(pid, task, BETWEEN_BYTES).map_or(Shadow::Lost, Shadow::Parked)
    }

    /// Uses a parked thread.
    pub(super) fn bury_with(&mut self, pid: u32, task: Stopped, bytes: u64) -> Result<Stopped, TraceError> {
        let Some(home) = self.processes.get_mut(&pid) else { return Ok(task) };
        let (registers, mask) = (task.registers()?, task.mask()?);
        let mut remote = Remote::trapping(&self.waiter, task, self.foothold.code())?;
        home.burial.graves.bury(&mut remote, bytes)?;
        let task = remote.release()?;
        task.set_mask(mask)?;
        task.set_registers(&registers)?;
        Ok(task)
    }

    /// Whether the process has memory to give back.
    pub(super) fn has_graves(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|home| !home.burial.is_over())
    }

    fn keep(&mut self, pid: u32, graves: Graves) {
        if let Some(home) = self.processes.get_mut(&pid) {
            home.burial.graves = graves;
        }
    }
}

/// What a thread without work gives back at once: 1.5 ms.
const IDLE_BYTES: u64 = 16 << 20;

/// What a thread gives back between two calls: 0.2 ms.
const BETWEEN_BYTES: u64 = 2 << 20;

/// Between two parts.
const PAUSE: Duration = Duration::from_millis(4);

/// How long threads may all be in calls before one is interrupted.
const PATIENCE: Duration = Duration::from_millis(40);
