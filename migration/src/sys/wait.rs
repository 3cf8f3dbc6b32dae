//! Waiting for tracees and children: one decoded event at a time, without ever blocking for good.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::{Errno, check};

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `PTRACE_EVENT_STOP`: after an interrupt (signal SIGTRAP), at the first stop of a new task, or a group-stop
    /// (signal SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU).
    Stop(i32),
    /// Stopped before this signal is delivered.
    Signal(i32),
    /// Entry or exit of a system call after `Resume::Syscall`.
    Syscall,
    /// A new thread, after `clone`; its id is the event message.
    Clone,
    /// A new process, after `fork` or an equal `clone`.
    Fork,
    /// A new process that borrows the parent's memory, after `vfork` or an equal `clone`.
    Vfork,
    /// A new program image; the event message is the old thread id.
    Exec,
    /// The filter said `SECCOMP_RET_TRACE`.
    Seccomp,
    /// Gone with this exit code.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
    /// A report that homing does not ask for.
    Other(i32),
}

impl Event {
    /// True when the task is no more.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Event::Exited(_) | Event::Killed(_))
    }

    fn decode(status: i32) -> Event {
        if libc::WIFEXITED(status) {
            return Event::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            return Event::Killed(libc::WTERMSIG(status));
        }
        if !libc::WIFSTOPPED(status) {
            return Event::Other(status);
        }
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => Event::Syscall,
            0 => Event::Signal(signal),
            libc::PTRACE_EVENT_STOP => Event::Stop(signal),
            libc::PTRACE_EVENT_CLONE => Event::Clone,
            libc::PTRACE_EVENT_FORK => Event::Fork,
            libc::PTRACE_EVENT_VFORK => Event::Vfork,
            libc::PTRACE_EVENT_EXEC => Event::Exec,
            libc::PTRACE_EVENT_SECCOMP => Event::Seccomp,
            _ => Event::Other(status),
        }
    }
}

/// The next event of any tracee or child, if there is one.
///
/// # Errors
/// The kernel's, except that having no child at all is `None`.
pub fn any() -> Result<Option<(u32, Event)>, Errno> {
    match wait(-1) {
        Err(Errno(libc::ECHILD)) => Ok(None),
        other => other,
    }
}

/// The next event of one task, if there is one.
///
/// # Errors
/// The kernel's; ECHILD when the task is gone or not ours.
pub fn one(tid: u32) -> Result<Option<Event>, Errno> {
    Ok(wait(tid.cast_signed())?.map(|(_, event)| event))
}

/// Waits for one task's next event until `deadline`, woken by `sigchld`, a signalfd for SIGCHLD.
///
/// The events of other tasks stay where they are; whoever listens on the signalfd must look at all of them again
/// afterwards, since their SIGCHLD may have been read here.
///
/// # Errors
/// The kernel's; ETIMEDOUT at the deadline; ESRCH when the task is gone.
pub fn one_until(tid: u32, sigchld: BorrowedFd<'_>, deadline: Instant) -> Result<Event, Errno> {
    loop {
        match one(tid) {
            Ok(Some(event)) => return Ok(event),
            Ok(None) => {}
            Err(Errno(libc::ECHILD)) => return Err(Errno(libc::ESRCH)),
            Err(error) => return Err(error),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno(libc::ETIMEDOUT));
        }
        poll_readable(sigchld, left)?;
        super::signal::drain(sigchld);
    }
}

fn poll_readable(fd: BorrowedFd<'_>, limit: Duration) -> Result<(), Errno> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit_ms = i32::try_from(limit.as_millis().max(1)).unwrap_or(i32::MAX);
    // SAFETY: one pollfd is passed with the count one.
    match check(i64::from(unsafe { libc::poll(&raw mut entry, 1, limit_ms) })) {
        Err(Errno(libc::EINTR)) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn wait(pid: i32) -> Result<Option<(u32, Event)>, Errno> {
    let mut status = 0;
    // SAFETY: the kernel writes the status to the local.
    let found =
        check(i64::from(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) }))?;
    let tid = u32::try_from(found).map_err(|_| Errno(libc::EIO))?;
    Ok((tid != 0).then(|| (tid, Event::decode(status))))
}
