//! The clocks that a time namespace shifts.

use super::{Errno, check};

/// CLOCK_MONOTONIC in nanoseconds, as this process sees it.
///
/// # Errors
/// The kernel's.
pub fn monotonic_ns() -> Result<i64, Errno> {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_BOOTTIME in nanoseconds, as this process sees it.
///
/// # Errors
/// The kernel's.
pub fn boottime_ns() -> Result<i64, Errno> {
    read(libc::CLOCK_BOOTTIME)
}

fn read(clock: libc::clockid_t) -> Result<i64, Errno> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to the local.
    check(i64::from(unsafe { libc::clock_gettime(clock, &raw mut now) }))?;
    Ok(now.tv_sec * 1_000_000_000 + now.tv_nsec)
}
