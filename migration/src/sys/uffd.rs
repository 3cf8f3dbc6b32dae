//! userfaultfd(2): serving missing pages and tracking writes (admin-guide/mm/userfaultfd.rst).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::{Errno, check};

/// `UFFD_FEATURE_PAGEFAULT_FLAG_WP | WP_UNPOPULATED | WP_ASYNC`: tracking only.
pub const TRACKING: u64 = 1 | 1 << 13 | 1 << 15;
/// Serving missing pages too, with events for fork and for moved, removed and unmapped ranges.
pub const SERVING: u64 = TRACKING | 1 << 1;

/// How a range is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Write tracking.
    Writes,
    /// Missing pages are asked for, and writes tracked.
    MissingAndWrites,
}

/// Something that the kernel reports.
#[derive(Debug)]
pub enum Event {
    /// A task waits for the page at this address.
    Missing(u64),
    /// The process has forked; the child's memory reports to this descriptor.
    Fork(RawFd),
    /// Any other event.
    Other(u8),
}

/// Switches features on; must be the first call on a new descriptor.
///
/// # Errors
/// The kernel's; EINVAL when it lacks a feature.
pub fn enable(fd: BorrowedFd<'_>, features: u64) -> Result<(), Errno> {
    let mut api = [API_VERSION, features, 0];
    ioctl(fd, UFFDIO_API, api.as_mut_ptr().cast())
}

/// Watches a range of whole VMAs.
///
/// # Errors
/// The kernel's; EINVAL for special mappings ([vdso], [vvar], [vsyscall]).
pub fn register(fd: BorrowedFd<'_>, start: u64, len: u64, watch: Watch) -> Result<(), Errno> {
    let mode = match watch {
        Watch::Writes => MODE_WP,
        Watch::MissingAndWrites => MODE_WP | MODE_MISSING,
    };
    let mut arg = [start, len, mode, 0];
    ioctl(fd, UFFDIO_REGISTER, arg.as_mut_ptr().cast())
}

/// Stops watching a range.
///
/// # Errors
/// The kernel's.
pub fn unregister(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    let mut arg = [start, len];
    ioctl(fd, UFFDIO_UNREGISTER, arg.as_mut_ptr().cast())
}

/// Puts pages into a missing range and wakes whoever waits for them; `clean` leaves them write-protected, so that
/// a later scan tells them from pages that the program has written.
///
/// # Errors
/// The kernel's; EEXIST when a page is there already, ENOENT when the range is gone.
pub fn copy(fd: BorrowedFd<'_>, addr: u64, data: &[u8], clean: bool) -> Result<(), Errno> {
    let mut done = 0;
    while done < data.len() {
        let rest = &data[done..];
        let mut arg = CopyArg {
            dst: addr + done as u64,
            src: rest.as_ptr() as u64,
            len: rest.len() as u64,
            mode: if clean { COPY_MODE_WP } else { 0 },
            copied: 0,
        };
        match ioctl(fd, UFFDIO_COPY, (&raw mut arg).cast()) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::EAGAIN)) if arg.copied >= 0 => {
                done += usize::try_from(arg.copied).unwrap_or(0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Wakes tasks that wait in a range whose pages are there.
///
/// # Errors
/// The kernel's.
pub fn wake(fd: BorrowedFd<'_>, start: u64, len: u64) -> Result<(), Errno> {
    let mut arg = [start, len];
    ioctl(fd, UFFDIO_WAKE, arg.as_mut_ptr().cast())
}

/// The next event, or `None` when there is none now (the descriptor must not block).
///
/// # Errors
/// The kernel's.
pub fn next_event(fd: BorrowedFd<'_>) -> Result<Option<Event>, Errno> {
    let mut message = [0u64; 4];
    let size = mem::size_of_val(&message);
    // SAFETY: the kernel writes one 32-byte message to the local.
    let got = unsafe { libc::read(fd.as_raw_fd(), message.as_mut_ptr().cast(), size) };
    match check(got as i64) {
        Err(Errno(libc::EAGAIN)) => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let [kind, ..] = message[0].to_ne_bytes();
    Ok(Some(match kind {
        EVENT_PAGEFAULT => Event::Missing(message[2]),
        EVENT_FORK => Event::Fork(RawFd::try_from(message[1] & 0xffff_ffff).unwrap_or(-1)),
        other => Event::Other(other),
    }))
}

/// Takes ownership of the descriptor that a fork event named.
pub fn adopt(raw: RawFd) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the number comes from a fork event, by which the kernel has just installed it in this process.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

#[repr(C)]
struct CopyArg {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

fn ioctl(fd: BorrowedFd<'_>, op: u64, arg: *mut libc::c_void) -> Result<(), Errno> {
    // SAFETY: each caller passes a live local of the size that is part of `op`.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), op, arg) })).map(drop)
}

const API_VERSION: u64 = 0xaa;
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_UNREGISTER: u64 = 0x8010_aa01;
const UFFDIO_WAKE: u64 = 0x8010_aa02;
const UFFDIO_COPY: u64 = 0xc028_aa03;
const MODE_MISSING: u64 = 1;
const MODE_WP: u64 = 2;
const COPY_MODE_WP: u64 = 2;
const EVENT_PAGEFAULT: u8 = 0x12;
const EVENT_FORK: u8 = 0x13;
