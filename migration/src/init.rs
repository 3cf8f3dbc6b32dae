//! The family's init: PID 1 of its namespace, which ends everything there when the guest warden is gone.
//!
//! It holds duplicates of every seccomp listener and userfaultfd of the family. A dying process's descriptors are
//! closed before its tracees are killed: without the duplicates a body would see ENOSYS or a page of zeros in between
//! (54 of 150 in a measurement, 0 of 200 with them).
//!
//! ```text
//!  user namespace of the node │ user namespace of the family
//!   warden ──▶ spawner ───────┼──▶ empty process ──▶ (userfaultfd) ──▶ confined ──▶ body
//!      └───────────────────────┼──▶ init
//! ```
//! Two processes do it, since a userfaultfd that serves the kernel's own accesses, too, can only be made by root of the
//! node: so empty processes start with the node's user namespace, by a spawner outside, and leave it in
//! [`crate::vessel`] before anything of the program is in them.

mod founding;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::sys::namespaces::{self, NamespaceError};
use crate::sys::{Errno, fds, signal, spawn};

/// How far the family's clocks are ahead of the machine's own, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffsets {
    /// Of CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// Of CLOCK_BOOTTIME.
    pub boottime_ns: i64,
}

/// Why a family's init did not start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A socket, or a file under `/proc`.
    #[error("preparing the family's init")]
    Prepare(#[source] io::Error),
    /// A namespace or a fork.
    #[error("making the family's namespaces")]
    Namespaces(#[from] NamespaceError),
}

/// The warden's handle to a family's init and to what starts processes for it.
#[derive(Debug)]
pub struct FamilyInit {
    spawner: OwnedFd,
    init: OwnedFd,
    user: u32,
}

impl FamilyInit {
    /// Makes the family's namespaces (user, pid, time, net, mount, ipc, uts, cgroup) with an empty root and starts their
    /// init. The family's user is one that this node does not know and no living family has.
    ///
    /// All of it, from the first process on, is in the control groups whose `cgroup.procs` these are.
    ///
    /// The caller must still have a single thread. Its own namespaces do not change.
    ///
    /// # Errors
    /// When a namespace or a process cannot be made.
    pub fn start(offsets: ClockOffsets, groups: &[PathBuf]) -> Result<FamilyInit, InitError> {
        let prepare = |errno: Errno| InitError::Prepare(errno.into());
        let user = family_user(&std::fs::read_to_string("/proc/self/uid_map").map_err(InitError::Prepare)?);
        let (spawner, theirs) = fds::socket_pair().map_err(prepare)?;
        let (init, of_init) = fds::socket_pair().map_err(prepare)?;
        namespaces::fork_child(|| {
            let joined = groups.iter().try_for_each(|group| std::fs::write(group, "0"));
            let founded = || founding::found_family(offsets, user, theirs.as_fd(), of_init.as_fd());
            i32::from(joined.is_err() || founded().is_err())
        })?;
        drop((theirs, of_init));
        let mut ready = [0];
        match fds::receive(spawner.as_fd(), &mut ready) {
            Ok((1, _)) => Ok(FamilyInit { spawner, init, user }),
            _ => Err(InitError::Prepare(io::Error::other(
                "the family's namespaces cannot be made (see doctor)",
            ))),
        }
    }

    /// Starts an empty process under `pid`; it waits for its body, with all rights of the caller so far.
    ///
    /// # Errors
    /// The kernel's; EEXIST while the pid is taken, EPIPE when the init is gone.
    pub fn spawn(&self, pid: u32) -> Result<OwnedFd, Errno> {
        fds::send(self.spawner.as_fd(), &pid.to_le_bytes(), None)?;
        let mut reply = [0; 4];
        match fds::receive(self.spawner.as_fd(), &mut reply)? {
            (4, Some(pidfd)) => Ok(pidfd),
            (4, None) => Err(Errno(i32::from_le_bytes(reply))),
            _ => Err(Errno(libc::EPIPE)),
        }
    }

    /// Gives the init a duplicate of a descriptor to hold as long as the family lives.
    ///
    /// # Errors
    /// The kernel's.
    pub fn keep(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        fds::send(self.init.as_fd(), &[KEEP], Some(fd))
    }

    /// The user and group of all its processes.
    #[must_use]
    pub fn user(&self) -> u32 {
        self.user
    }
}

/// A user of the family alone: above all that a machine gives to people and services, or near the end of what a
/// container was given.
fn family_user(map: &str) -> u32 {
    let last = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first, first + count))
    });
    let own = u64::from(std::process::id());
    let user = match last.max_by_key(|(_, end)| *end) {
        Some((first, end)) if end < FAMILY_USERS + PIDS_MAX => {
            end.saturating_sub(1 + own % SMALL_RANGE).max(first + 1)
        }
        _ => FAMILY_USERS + own,
    };
    u32::try_from(user).unwrap_or(u32::MAX - 1)
}

/// The init itself. Its exit status is seen by nobody.
fn serve(socket: BorrowedFd<'_>) -> i32 {
    if spawn::close_others(&[socket.as_raw_fd()]).is_err() {
        return 1;
    }
    let mut kept = Vec::new();
    let mut command = [0; 1];
    loop {
        match fds::receive(socket, &mut command) {
            Ok((1, Some(fd))) => kept.push(fd),
            Err(Errno(libc::EINTR)) => {}
            _ => break,
        }
    }
    signal::kill_all_others();
    0
}

/// What starts the family's empty processes. They are its children, and nobody asks how they ended.
fn serve_spawns(socket: BorrowedFd<'_>, stub: BorrowedFd<'_>) {
    let mut pid = [0; 4];
    loop {
        match fds::receive(socket, &mut pid) {
            Ok((4, _)) => {
                let sent = match spawn::stub_with_pid(stub, u32::from_le_bytes(pid)) {
                    Ok(pidfd) => fds::send(socket, &[0; 4], Some(pidfd.as_fd())),
                    Err(errno) => fds::send(socket, &errno.0.to_le_bytes(), None),
                };
                if sent.is_err() {
                    return;
                }
            }
            Err(Errno(libc::EINTR)) => {}
            _ => return,
        }
    }
}

/// Where the users of families begin: 2^20. Distributions give less than that to people, and more to nobody.
const FAMILY_USERS: u64 = 1 << 20;
/// The kernel's own limit (`PID_MAX_LIMIT`).
const PIDS_MAX: u64 = 1 << 22;
/// Of users at the end of a small range.
const SMALL_RANGE: u64 = 4096;
const KEEP: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_a_user_of_its_own() {
        let own = std::process::id();
        assert_eq!(family_user("         0          0 4294967295\n"), (1 << 20) + own);
        let small = family_user("0 100000 65536\n");
        assert!((61_000..65_536).contains(&small), "{small}");
        assert_eq!(family_user("0 1000 1\n"), 1);
    }
}
