//! Giving back the memory that bodies have taken along, in moments in which nobody waits for the deputy.

use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::graves::Graves;
use migration::procfs;
use migration::remote::Remote;
use migration::tracee::{Stopped, TraceError, Waiter};

use super::Deputy;
use super::lend::borrowed;
use super::state::Shadow;

/// The memory of one deputy that is to be given back.
#[derive(Debug)]
pub(super) struct Burial {
    graves: Graves,
    /// Since when.
    began: Instant,
    /// When to give back the next part without being asked.
    due: Instant,
    /// How long to wait behind the next part.
    pause: Duration,
}

impl Burial {
    pub(super) fn of(graves: Graves) -> Burial {
        let now = Instant::now();
        Burial { graves, began: now, due: now + PAUSE_MIN, pause: PAUSE_MIN }
    }

    /// Whether there is nothing left.
    pub(super) fn is_over(&self) -> bool {
        self.graves.is_empty()
    }

    /// Whether something of this range is still in use.
    pub(super) fn concerns(&self, range: &Range<u64>) -> bool {
        self.graves.overlap(range)
    }

    /// One that got nowhere is not tried again at once.
    fn tried(&mut self, done: bool) {
        self.pause = if done { PAUSE_MIN } else { (self.pause * 2).min(PAUSE_MAX) };
        self.due = Instant::now() + self.pause;
    }
}

impl Deputy {
    /// Gives back a part; returns when to ask again, if there is more.
    ///
    /// A thread without work is used as soon as there is one. If all are in calls, the body waits too, and a call is
    /// interrupted that can be without being noticed: it begins its timeout anew then.
    pub(super) fn bury(&mut self, now: Instant) -> Option<Instant> {
        let open = self.processes.iter().filter(|(_, home)| !home.burial.is_over());
        let (pid, home) = open.min_by_key(|(_, home)| home.burial.due)?;
        let (pid, due, age) = (*pid, home.burial.due, now - home.burial.began);
        if now < due {
            return Some(due);
        }
        let done = match self.gravedigger(pid) {
            Some((tid, is_idle)) if is_idle || age > PATIENCE => {
                self.bury_by(pid, tid, if is_idle { IDLE_BUDGET } else { FORCED_BUDGET })
            }
            _ => false,
        };
        if let Some(home) = self.processes.get_mut(&pid) {
            home.burial.tried(done);
        }
        let open = self.processes.values().filter(|home| !home.burial.is_over());
        open.map(|home| home.burial.due).min()
    }

    /// The thread to use, and whether it has no work.
    fn gravedigger(&self, pid: u32) -> Option<(u32, bool)> {
        // One that job control keeps is left alone.
        let own = self.threads.iter().filter(|(_, thread)| thread.pid == pid && !thread.job_stopped);
        let able = own.filter_map(|(tid, thread)| match &thread.state {
            Shadow::Parked(_) | Shadow::Dozing(_) => Some((*tid, true)),
            Shadow::Calling(_, call) if waits_for_nothing_else(call.nr) && sleeps(pid, *tid) => {
                Some((*tid, false))
            }
            _ => None,
        });
        able.max_by_key(|(_, is_idle)| *is_idle)
    }

    fn bury_by(&mut self, pid: u32, tid: u32, budget: Duration) -> bool {
        let Some(home) = self.processes.get_mut(&pid) else { return false };
        let mut graves = mem::take(&mut home.burial.graves);
        let (code, waiter) = (self.foothold.code(), Rc::clone(&self.waiter));
        let buried = self.lend_one(tid, |task| dig(&mut graves, &waiter, task, code, budget));
        if let Some(home) = self.processes.get_mut(&pid) {
            home.burial.graves = graves;
        }
        match buried {
            Ok(done) => done,
            Err(error) => {
                tracing::debug!(pid, tid, %error, "a deputy's memory is not given back now");
                false
            }
        }
    }

    /// A thread that has just become free gives back a little, before it does anything else.
    pub(super) fn bury_between(&mut self, pid: u32, task: Stopped) -> Shadow {
        self.bury_with(pid, task, BETWEEN_BUDGET).map_or(Shadow::Lost, Shadow::Parked)
    }

    /// All of it, since something else is to be there.
    pub(super) fn bury_all(&mut self, pid: u32, mut task: Stopped) -> Result<Stopped, TraceError> {
        while self.has_graves(pid) {
            task = self.bury_with(pid, task, FORCED_BUDGET)?;
        }
        Ok(task)
    }

    fn bury_with(&mut self, pid: u32, task: Stopped, budget: Duration) -> Result<Stopped, TraceError> {
        let Some(home) = self.processes.get_mut(&pid) else { return Ok(task) };
        let (graves, code, tid) = (&mut home.burial.graves, self.foothold.code(), task.tid());
        let (task, done) = borrowed(&self.waiter, task, |task| dig(graves, &self.waiter, task, code, budget));
        done.and_then(|()| task.ok_or(TraceError::Died(tid)))
    }

    /// Whether the process has memory to give back.
    pub(super) fn has_graves(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|home| !home.burial.is_over())
    }

    /// Everything that is not a file's was unmapped in this deputy.
    pub fn was_cleared(&mut self, pid: u32) {
        if let Some(home) = self.processes.get_mut(&pid) {
            home.burial = Burial::of(Graves::default());
        }
    }
}

/// Has a thread give memory back for so long.
fn dig(
    graves: &mut Graves,
    waiter: &Waiter,
    task: Stopped,
    code: u64,
    budget: Duration,
) -> Result<Stopped, TraceError> {
    let mut remote = Remote::trapping(waiter, task, code)?;
    graves.bury(&mut remote, budget)?;
    remote.release()
}

/// Calls that have done nothing as long as they wait, so that the kernel issues them again behind an interruption.
/// Others may end with what they have done so far: a write to a full pipe with half of its bytes (measured).
fn waits_for_nothing_else(nr: u32) -> bool {
    matches!(
        i64::from(nr),
        libc::SYS_read
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_pause
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_flock
    )
}

/// A thread that waits for a disk would not stop before that is done.
fn sleeps(pid: u32, tid: u32) -> bool {
    procfs::state(&format!("{pid}/task/{tid}")).is_ok_and(|state| state == 'S')
}

/// For how long a thread without work gives back at a time.
const IDLE_BUDGET: Duration = Duration::from_micros(1500);

/// Between two calls.
const BETWEEN_BUDGET: Duration = Duration::ZERO;

/// When a call was interrupted for it: 256 MiB, mostly.
const FORCED_BUDGET: Duration = Duration::from_millis(25);

/// Between two parts.
const PAUSE_MIN: Duration = Duration::from_millis(4);

/// Between two attempts, if the first ones got nowhere.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long threads may all be in calls before one is interrupted.
const PATIENCE: Duration = Duration::from_millis(40);
