//! Tracking the writes of a program at home before it is frozen for good.

use std::os::fd::{AsFd, OwnedFd, RawFd};

use crate::freeze::{Frozen, FrozenThread};
use crate::landing::HealingArea;
use crate::remote::Remote;
use crate::sys::{pidfd, uffd};
use crate::tracee::{TraceError, Waiter};

/// Opens a userfaultfd in a program that stands still for a moment; it tracks writes until it is closed, which leaves
/// no trace in the program. `None` when the kernel or a filter of the program's own refuses: then its memory goes
/// while it stands still.
///
/// # Errors
/// When the program dies.
pub fn writes(
    frozen: &mut Frozen,
    area: &HealingArea,
    waiter: &Waiter,
) -> Result<Option<OwnedFd>, TraceError> {
    if frozen.threads.is_empty() {
        return Err(TraceError::Died(frozen.pid));
    }
    let FrozenThread { task, signal } = frozen.threads.remove(0);
    let mut remote = Remote::healing(waiter, task, area)?;
    // Of user mode only, which everybody may have: writes by the kernel are tracked all the same (measured).
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64 | USER_MODE_ONLY;
    let opened = remote.call(libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0])?;
    let tracker = match opened {
        Ok(number) => {
            let fetched = pidfd::open(frozen.pid)
                .and_then(|pidfd| pidfd::get_fd(pidfd.as_fd(), RawFd::try_from(number).unwrap_or(-1)));
            remote.must("closing a descriptor", libc::SYS_close, [number, 0, 0, 0, 0, 0])?;
            fetched.and_then(|fd| uffd::enable(fd.as_fd(), uffd::TRACKING).map(|()| fd)).ok()
        }
        Err(_) => None,
    };
    frozen.threads.insert(0, FrozenThread { task: remote.leave()?, signal });
    Ok(tracker)
}

/// `UFFD_USER_MODE_ONLY`.
const USER_MODE_ONLY: u64 = 1;
