//! What a process gives up for good, for itself and for all that it will start.

use super::{Errno, check};

/// A limit on resources, soft and hard (setrlimit(2)).
pub type Limit = (u32, u64);

/// Core files in bytes.
pub const CORE_BYTES: u32 = libc::RLIMIT_CORE;
/// Descriptors.
pub const DESCRIPTORS: u32 = libc::RLIMIT_NOFILE;
/// Memory that is kept from being swapped out, in bytes.
pub const LOCKED_BYTES: u32 = libc::RLIMIT_MEMLOCK;
/// Threads of one user.
pub const TASKS: u32 = libc::RLIMIT_NPROC;
/// Bytes in POSIX message queues of one user.
pub const QUEUE_BYTES: u32 = libc::RLIMIT_MSGQUEUE;
/// Bytes of a written file.
pub const FILE_BYTES: u32 = libc::RLIMIT_FSIZE;
/// Real-time priority.
pub const REALTIME: u32 = libc::RLIMIT_RTPRIO;
/// Nice values below zero.
pub const NICE: u32 = libc::RLIMIT_NICE;

/// Lowers the soft and the hard limit.
///
/// # Errors
/// The kernel's; EPERM for a limit above the hard one.
pub fn limit((resource, value): Limit) -> Result<(), Errno> {
    let both = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads the live local.
    check(i64::from(unsafe { libc::setrlimit(resource, &raw const both) })).map(drop)
}

/// No program started from now on gains rights by its file (prctl(2), PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// The kernel's.
pub fn no_new_privileges() -> Result<(), Errno> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Nobody but root looks into this process's memory, and no core file is written of it (prctl(2), PR_SET_DUMPABLE).
///
/// # Errors
/// The kernel's.
pub fn not_dumpable() -> Result<(), Errno> {
    control(libc::PR_SET_DUMPABLE, 0)
}

/// Becomes this user and group, without other groups. What capabilities remain is as capabilities(7) says.
///
/// # Errors
/// The kernel's.
pub fn become_user(id: u32) -> Result<(), Errno> {
    // SAFETY: an empty list of groups needs no memory.
    check(i64::from(unsafe { libc::setgroups(0, std::ptr::null()) }))?;
    // SAFETY: no memory is passed.
    check(i64::from(unsafe { libc::setresgid(id, id, id) }))?;
    // SAFETY: no memory is passed.
    check(i64::from(unsafe { libc::setresuid(id, id, id) })).map(drop)
}

fn control(option: libc::c_int, value: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: both options take an integer and no pointer; the others must be zero.
    check(i64::from(unsafe { libc::prctl(option, value, 0, 0, 0) })).map(drop)
}
