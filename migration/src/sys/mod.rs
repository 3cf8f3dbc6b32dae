//! The kernel's hands: all `unsafe` code of the workspace.
//!
//! Every function here is one system call (or one fixed group of them) with checked types around it; none knows
//! what it is used for. Numbers and layouts that libc lacks come from the kernel's uapi headers and are named where
//! they stand.
#![allow(unsafe_code)]

pub mod clock;
pub mod confine;
pub mod fds;
pub mod namespaces;
pub mod pagemap;
pub mod pidfd;
pub mod procvm;
pub mod ptrace;
pub mod readiness;
pub mod seccomp;
pub mod signal;
pub mod spawn;
pub mod uffd;
pub mod wait;

use std::fmt;
use std::io;

/// A kernel error number, kept as a number because the program that moved must see exactly this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's last error.
    #[must_use]
    pub fn last() -> Errno {
        Errno(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// True when the error says that the task is gone.
    #[must_use]
    pub fn is_death(self) -> bool {
        self.0 == libc::ESRCH
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl std::error::Error for Errno {}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<Errno> for io::Error {
    fn from(error: Errno) -> io::Error {
        io::Error::from_raw_os_error(error.0)
    }
}

/// Turns the C convention (-1 and errno) into a `Result`.
fn check(result: i64) -> Result<u64, Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(result.cast_unsigned()) }
}
