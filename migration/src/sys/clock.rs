//! The clocks that a time namespace shifts, and those of single processors.

use std::mem;

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

/// Does `read` on one processor, freshly scheduled there, so that what the scheduler keeps about the caller is of now.
///
/// # Errors
/// The kernel's, for a processor that the caller may not use.
pub fn on_processor<T>(processor: usize, read: impl FnOnce() -> T) -> Result<T, Errno> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(Errno(libc::EINVAL));
    }
    let bytes = mem::size_of::<libc::cpu_set_t>();
    // SAFETY: an all-zero set is a valid value.
    let mut before: libc::cpu_set_t = unsafe { mem::zeroed() };
    let mut only = before;
    // SAFETY: the kernel writes at most `bytes` to the local.
    check(i64::from(unsafe { libc::sched_getaffinity(0, bytes, &raw mut before) }))?;
    // SAFETY: the number was checked against the size of the set.
    unsafe { libc::CPU_SET(processor, &mut only) };
    // SAFETY: the kernel reads `bytes` of the local.
    check(i64::from(unsafe { libc::sched_setaffinity(0, bytes, &raw const only) }))?;
    // SAFETY: no memory is passed.
    unsafe { libc::sched_yield() };
    let value = read();
    // SAFETY: the kernel reads `bytes` of the local.
    check(i64::from(unsafe { libc::sched_setaffinity(0, bytes, &raw const before) }))?;
    Ok(value)
}
