//! Sending signals, and hearing SIGCHLD through a descriptor.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ptrace::SigInfo;
use super::{Errno, check};

/// Of a signal in a mask.
#[must_use]
pub const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

/// Blocks SIGCHLD for this thread (and those it starts) and returns a descriptor that is readable when one came.
///
/// # Errors
/// The kernel's.
pub fn sigchld_fd() -> Result<OwnedFd, Errno> {
    // SAFETY: an all-zero sigset_t is a valid value to be filled by sigemptyset.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live local.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is a live local and SIGCHLD a valid number.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: `set` is a live local; the old mask is not asked for.
    let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if blocked != 0 {
        return Err(Errno(blocked));
    }
    // SAFETY: `set` is a live local.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    check(i64::from(fd))?;
    // SAFETY: the kernel has just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Empties a signalfd.
pub fn drain(fd: BorrowedFd<'_>) {
    let mut records = [0u8; 4 * RECORD_BYTES];
    loop {
        // SAFETY: the kernel writes at most the buffer's length; the descriptor does not block.
        let read = unsafe { libc::read(fd.as_raw_fd(), records.as_mut_ptr().cast(), records.len()) };
        // Room that is left says that there are no more.
        if usize::try_from(read) != Ok(records.len()) {
            return;
        }
    }
}

/// kill(2).
///
/// # Errors
/// The kernel's.
pub fn kill(pid: u32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(i64::from(unsafe { libc::kill(pid.cast_signed(), signal) })).map(drop)
}

/// tkill(2): for a thread whose process is not known, but which cannot be another one, since it is traced and stopped.
///
/// # Errors
/// The kernel's.
pub fn tkill(tid: u32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_tkill, tid.cast_signed(), signal) }).map(drop)
}

/// tgkill(2).
///
/// # Errors
/// The kernel's.
pub fn tgkill(pid: u32, tid: u32, signal: i32) -> Result<(), Errno> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid.cast_signed(), tid.cast_signed(), signal) }).map(drop)
}

/// Queues a signal to one thread with `si_code` SI_QUEUE and an integer value.
///
/// Other codes are refused by the kernel even for root (EPERM, measured): the true siginfo is put in place at the
/// delivery stop by [`super::ptrace::set_signal_info`].
///
/// # Errors
/// The kernel's.
pub fn queue(pid: u32, tid: u32, signal: i32, value: i32) -> Result<(), Errno> {
    let mut info = SigInfo([0; 128]);
    info.0[0..4].copy_from_slice(&signal.to_ne_bytes());
    info.0[8..12].copy_from_slice(&libc::SI_QUEUE.to_ne_bytes());
    info.0[16..20].copy_from_slice(&std::process::id().to_ne_bytes());
    info.0[24..28].copy_from_slice(&value.to_ne_bytes());
    // SAFETY: the kernel reads the 128 bytes of the local.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            pid.cast_signed(),
            tid.cast_signed(),
            signal,
            info.0.as_ptr(),
        )
    })
    .map(drop)
}

/// Lets the kernel reap children by itself.
///
/// # Errors
/// The kernel's.
pub fn ignore_children() -> Result<(), Errno> {
    // SAFETY: SIG_IGN is a valid disposition for SIGCHLD.
    let former = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if former == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}

/// In PID 1 of a namespace: kills every other process there and waits until all are gone, whoever's children they are.
/// Processes that the caller may not kill are left to the kernel, which ends them with the caller.
pub fn kill_all_others() {
    // SAFETY: no memory is passed; -1 means every process of this namespace except the caller.
    while unsafe { libc::kill(-1, libc::SIGKILL) } == 0 {
        std::thread::sleep(DEATH_PAUSE);
    }
}

/// Between two looks whether killed processes are gone.
const DEATH_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// Size of a `signalfd_siginfo`.
const RECORD_BYTES: usize = 128;
