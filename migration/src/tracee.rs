//! A traced thread as a type: what is stopped can be read and changed, what runs can only be waited for.
//!
//! ```text
//!   seize            interrupt, event
//!  ───────▶ Running ─────────────────▶ Stopped
//!              ▲                         │ │
//!              └───── resume (consumes) ─┘ └── detach (consumes): plain again
//! ```
//! Death is a value: a call on a task that is gone returns [`TraceError::Died`], never a panic.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::sys::ptrace::{self, Registers, Resume, SigInfo};
use crate::sys::wait::{self, Event};
use crate::sys::{Errno, signal};

/// Why a step on a traced task did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The task is gone.
    #[error("task {0} has died")]
    Died(u32),
    /// It did not stop in time.
    #[error("task {0} did not stop within {1:?}")]
    Late(u32, Duration),
    /// The kernel refused.
    #[error("{what} on task {tid} failed")]
    Kernel {
        /// The step.
        what: &'static str,
        /// The task.
        tid: u32,
        /// Why.
        #[source]
        errno: Errno,
    },
}

impl TraceError {
    fn new(what: &'static str, tid: u32, errno: Errno) -> TraceError {
        if errno.is_death() { TraceError::Died(tid) } else { TraceError::Kernel { what, tid, errno } }
    }
}

/// A task that is traced and runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Running(u32);

/// A task that stands still until it is resumed.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped(u32);

impl Running {
    /// Attaches to a task without stopping it.
    ///
    /// # Errors
    /// EPERM when it is traced already.
    pub fn seize(tid: u32, options: u64) -> Result<Running, TraceError> {
        ptrace::seize(tid, options).map_err(|errno| TraceError::new("attaching", tid, errno))?;
        Ok(Running(tid))
    }

    /// A task that the kernel attached by itself: the child of a traced one.
    #[must_use]
    pub fn attached(tid: u32) -> Running {
        Running(tid)
    }

    /// Its thread id here.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.0
    }

    /// Asks it to stop; the stop comes as an event.
    ///
    /// # Errors
    /// When it is gone.
    pub fn interrupt(&self) -> Result<(), TraceError> {
        ptrace::interrupt(self.0).map_err(|errno| TraceError::new("interrupting", self.0, errno))
    }

    /// The task after an event that stopped it.
    #[must_use]
    pub fn stopped(self) -> Stopped {
        Stopped(self.0)
    }
}

impl Stopped {
    /// Its thread id here.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.0
    }

    /// General registers.
    ///
    /// # Errors
    /// When it is gone.
    pub fn registers(&self) -> Result<Registers, TraceError> {
        ptrace::registers(self.0).map_err(|errno| TraceError::new("reading registers", self.0, errno))
    }

    /// Sets them.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_registers(&self, registers: &Registers) -> Result<(), TraceError> {
        ptrace::set_registers(self.0, registers)
            .map_err(|errno| TraceError::new("setting registers", self.0, errno))
    }

    /// The XSAVE area.
    ///
    /// # Errors
    /// When it is gone.
    pub fn xstate(&self) -> Result<Vec<u8>, TraceError> {
        ptrace::xstate(self.0).map_err(|errno| TraceError::new("reading vector registers", self.0, errno))
    }

    /// Sets it.
    ///
    /// # Errors
    /// When it is gone, or this processor lacks a state component.
    pub fn set_xstate(&self, area: &[u8]) -> Result<(), TraceError> {
        ptrace::set_xstate(self.0, area)
            .map_err(|errno| TraceError::new("setting vector registers", self.0, errno))
    }

    /// Blocked signals.
    ///
    /// # Errors
    /// When it is gone.
    pub fn mask(&self) -> Result<u64, TraceError> {
        ptrace::signal_mask(self.0).map_err(|errno| TraceError::new("reading the signal mask", self.0, errno))
    }

    /// Sets them.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_mask(&self, mask: u64) -> Result<(), TraceError> {
        ptrace::set_signal_mask(self.0, mask)
            .map_err(|errno| TraceError::new("setting the signal mask", self.0, errno))
    }

    /// What is known of the signal at whose delivery it stopped.
    ///
    /// # Errors
    /// When it is gone or in a group-stop.
    pub fn signal_info(&self) -> Result<SigInfo, TraceError> {
        ptrace::signal_info(self.0).map_err(|errno| TraceError::new("reading a signal", self.0, errno))
    }

    /// Replaces it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_signal_info(&self, info: &SigInfo) -> Result<(), TraceError> {
        ptrace::set_signal_info(self.0, info)
            .map_err(|errno| TraceError::new("completing a signal", self.0, errno))
    }

    /// The number that came with the event: a new task's id, the filter's data.
    ///
    /// # Errors
    /// When it is gone.
    pub fn event_message(&self) -> Result<u64, TraceError> {
        ptrace::event_message(self.0).map_err(|errno| TraceError::new("reading an event", self.0, errno))
    }

    /// Changes its trace options.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_options(&self, options: u64) -> Result<(), TraceError> {
        ptrace::set_options(self.0, options)
            .map_err(|errno| TraceError::new("setting trace options", self.0, errno))
    }

    /// Lets it go on, delivering `signal` (0: none).
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(self, how: Resume, signal: i32) -> Result<Running, TraceError> {
        ptrace::resume(self.0, how, signal).map_err(|errno| TraceError::new("resuming", self.0, errno))?;
        Ok(Running(self.0))
    }

    /// Lets it finish what it is doing in the kernel, without executing a single instruction of its own: the stop is
    /// asked for first. The other way round a busy machine lets a short program run to its end in between.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume_to_stop(self) -> Result<Running, TraceError> {
        ptrace::interrupt(self.0).map_err(|errno| TraceError::new("interrupting", self.0, errno))?;
        self.resume(Resume::Cont, 0)
    }

    /// Lets it go for good, delivering `signal` (0: none).
    ///
    /// # Errors
    /// When it is gone.
    pub fn detach(self, signal: i32) -> Result<(), TraceError> {
        ptrace::detach(self.0, signal).map_err(|errno| TraceError::new("letting go", self.0, errno))
    }
}

/// Waits for tasks, on the one thread that traces: for single ones with a deadline, and for whatever happens next.
///
/// The kernel tells the end of a task only once, and so that its id is that of a new program's thread. Whoever waits
/// for a stop and meets the end instead has no use for it, so it is kept here for [`Waiter::any`]: an end that nobody
/// hears of leaves a process that never goes away.
#[derive(Debug)]
pub struct Waiter {
    sigchld: OwnedFd,
    kept: RefCell<VecDeque<(u32, Event)>>,
    /// The descriptor may have been emptied while something else was waited for.
    missed: Cell<bool>,
}

impl Waiter {
    /// Blocks SIGCHLD in the calling thread and listens for it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<Waiter, Errno> {
        Ok(Waiter { sigchld: signal::sigchld_fd()?, kept: RefCell::default(), missed: Cell::new(false) })
    }

    /// Readable when some tracee or child has news, unless [`Waiter::has_missed`].
    #[must_use]
    pub fn descriptor(&self) -> &OwnedFd {
        &self.sigchld
    }

    /// Whether there may be news of which the descriptor says nothing any more.
    #[must_use]
    pub fn has_missed(&self) -> bool {
        self.missed.get()
    }

    /// The next event of any tracee or child, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn any(&self) -> Result<Option<(u32, Event)>, Errno> {
        let kept = self.kept.borrow_mut().pop_front();
        let found = kept.map_or_else(wait::any, |kept| Ok(Some(kept)));
        if matches!(found, Ok(None)) {
            self.missed.set(false);
        }
        found
    }

    /// The next event of a running task, at most [`STEP_LIMIT`] from now.
    ///
    /// # Errors
    /// When it dies or the time is over.
    pub fn next(&self, task: Running) -> Result<(Stopped, Event), TraceError> {
        let event = self.news(&task)?;
        Ok((task.stopped(), event))
    }

    /// As [`Waiter::next`], for whoever goes on with the task also after a failure.
    ///
    /// # Errors
    /// When it dies or the time is over.
    pub fn news(&self, task: &Running) -> Result<Event, TraceError> {
        let tid = task.tid();
        self.missed.set(true);
        let event = wait::one_until(tid, self.sigchld.as_fd(), Instant::now() + STEP_LIMIT);
        let event = event.map_err(|errno| {
            if errno == Errno(libc::ETIMEDOUT) {
                TraceError::Late(tid, STEP_LIMIT)
            } else {
                TraceError::new("waiting", tid, errno)
            }
        })?;
        if event.is_end() {
            return Err(self.keep(tid, event));
        }
        Ok(event)
    }

    /// The next event of a running task if it comes within so short a time that it is not worth to sleep.
    ///
    /// # Errors
    /// When it dies.
    pub fn at_once(&self, task: &Running, limit: Duration) -> Result<Option<Event>, TraceError> {
        let (tid, began) = (task.tid(), Instant::now());
        loop {
            match wait::one(tid) {
                Ok(Some(event)) if event.is_end() => return Err(self.keep(tid, event)),
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) if began.elapsed() > limit => return Ok(None),
                Ok(None) => std::thread::yield_now(),
                Err(Errno(libc::ECHILD)) => return Err(TraceError::Died(tid)),
                Err(errno) => return Err(TraceError::new("waiting", tid, errno)),
            }
        }
    }

    /// Whether something of this task is kept that it did not stop for to us: its end, or a new program.
    #[must_use]
    pub fn has_kept(&self, tid: u32) -> bool {
        self.kept.borrow().iter().any(|(kept, _)| *kept == tid)
    }

    /// Keeps what ends a task, for whoever looks at everything.
    pub(crate) fn keep(&self, tid: u32, event: Event) -> TraceError {
        self.kept.borrow_mut().push_back((tid, event));
        TraceError::Died(tid)
    }
}

/// How long one step of a frozen task may take: a busy machine needs milliseconds, a task in an uninterruptible
/// sleep never answers.
pub const STEP_LIMIT: Duration = Duration::from_secs(2);
