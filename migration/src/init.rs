//! The family's init: PID 1 of its namespace, which ends everything there when the guest warden is gone.
//!
//! It holds duplicates of every seccomp listener and userfaultfd of the family. A dying process's descriptors are
//! closed before its tracees are killed: without the duplicates a body would see ENOSYS or a page of zeros in between
//! (54 of 150 in a measurement, 0 of 200 with them).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::sys::namespaces::{self, Flags, NamespaceError};
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
    /// A socket, or the file of clock offsets.
    #[error("preparing the family's init")]
    Prepare(#[source] io::Error),
    /// A namespace or a fork.
    #[error("making the family's namespaces")]
    Namespaces(#[from] NamespaceError),
}

/// The warden's handle to a family's init.
#[derive(Debug)]
pub struct FamilyInit {
    socket: OwnedFd,
}

impl FamilyInit {
    /// Makes the family's namespaces (pid, time, net, mount, ipc, uts) with an empty root and starts their init.
    ///
    /// The caller must still have a single thread. Its own namespaces do not change.
    ///
    /// # Errors
    /// When a namespace or a process cannot be made.
    pub fn start(offsets: ClockOffsets) -> Result<FamilyInit, InitError> {
        let prepare = |errno: Errno| InitError::Prepare(errno.into());
        let (ours, theirs) = fds::socket_pair().map_err(prepare)?;
        let between = namespaces::fork_child(|| i32::from(found_family(offsets, theirs.as_fd()).is_err()))?;
        drop(theirs);
        if namespaces::wait_child(between)?.success() {
            Ok(FamilyInit { socket: ours })
        } else {
            Err(InitError::Prepare(io::Error::other("the family's namespaces cannot be made (see doctor)")))
        }
    }

    /// Starts an empty process under `pid`; it waits for its body.
    ///
    /// # Errors
    /// The kernel's; EEXIST while the pid is taken, EPIPE when the init is gone.
    pub fn spawn(&self, pid: u32) -> Result<OwnedFd, Errno> {
        let [a, b, c, d] = pid.to_le_bytes();
        fds::send(self.socket.as_fd(), &[SPAWN, a, b, c, d], None)?;
        let mut reply = [0; 4];
        match fds::receive(self.socket.as_fd(), &mut reply)? {
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
        fds::send(self.socket.as_fd(), &[KEEP], Some(fd))
    }
}

/// Runs in a child of the warden: enters new namespaces, starts the init in them, and is done.
fn found_family(offsets: ClockOffsets, socket: BorrowedFd<'_>) -> Result<(), InitError> {
    enter_time(offsets)?;
    namespaces::unshare(Flags::PID | Flags::NET | Flags::MOUNT | Flags::IPC | Flags::UTS)?;
    namespaces::sethostname("homing-family")?;
    namespaces::fork_child(|| serve(socket))?;
    Ok(())
}

/// Makes the family's time namespace; children of the caller will be in it.
fn enter_time(offsets: ClockOffsets) -> Result<(), InitError> {
    namespaces::unshare(Flags::TIME)?;
    match write_offsets(offsets) {
        // In a container without CAP_SYS_TIME only a user namespace of one's own gives the right.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => borrow_time(offsets),
        written => written.map_err(InitError::Prepare),
    }
}

/// Lets a child make the time namespace inside a user namespace, and joins the former without the latter.
fn borrow_time(offsets: ClockOffsets) -> Result<(), InitError> {
    let prepare = |errno: Errno| InitError::Prepare(errno.into());
    let (ours, theirs) = fds::socket_pair().map_err(prepare)?;
    let lender = namespaces::fork_child(|| {
        let made = namespaces::unshare(Flags::USER).is_ok()
            && namespaces::unshare(Flags::TIME).is_ok()
            && write_offsets(offsets).is_ok();
        let told = fds::send(theirs.as_fd(), &[u8::from(made)], None);
        // It must live until its namespace was joined.
        let _ = fds::receive(theirs.as_fd(), &mut [0]);
        i32::from(told.is_err())
    })?;
    let mut made = [0];
    fds::receive(ours.as_fd(), &mut made).map_err(prepare)?;
    let joined = if made == [1] {
        let path = format!("/proc/{}/ns/time_for_children", lender.get());
        let namespace = std::fs::File::open(path).map_err(InitError::Prepare)?;
        namespaces::setns(namespace.as_fd(), Flags::TIME).map_err(InitError::from)
    } else {
        Err(InitError::Prepare(io::ErrorKind::PermissionDenied.into()))
    };
    fds::send(ours.as_fd(), &[0], None).map_err(prepare)?;
    namespaces::wait_child(lender)?;
    joined
}

fn write_offsets(offsets: ClockOffsets) -> io::Result<()> {
    let line = |clock, ns: i64| format!("{clock} {} {}\n", ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S));
    let text = line("monotonic", offsets.monotonic_ns) + &line("boottime", offsets.boottime_ns);
    std::fs::write("/proc/self/timens_offsets", text)
}

/// Leaves nothing of the node in sight: an empty file system of 4 KiB, read-only.
fn empty_root() -> Result<(), InitError> {
    namespaces::make_mounts_private()?;
    namespaces::mount("tmpfs", Path::new("/proc"), "size=4k,mode=555")?;
    std::fs::create_dir("/proc/old").map_err(InitError::Prepare)?;
    namespaces::pivot_root(Path::new("/proc"), Path::new("/proc/old"))?;
    namespaces::umount(Path::new("/old"))?;
    namespaces::make_read_only(Path::new("/"))?;
    Ok(())
}

/// The init itself. Its exit status is seen by nobody.
fn serve(socket: BorrowedFd<'_>) -> i32 {
    // Children that end are reaped by the kernel: nobody here asks how they ended.
    if empty_root().is_err() || signal::ignore_children().is_err() {
        return 1;
    }
    if spawn::close_others(&[socket.as_raw_fd()]).is_err() {
        return 1;
    }
    let Ok(stub) = spawn::stub_executable() else { return 1 };
    let mut kept = Vec::new();
    let mut command = [0; 5];
    loop {
        match fds::receive(socket, &mut command) {
            Ok((5, _)) if command[0] == SPAWN => {
                let [_, a, b, c, d] = command;
                let sent = match spawn::stub_with_pid(stub.as_fd(), u32::from_le_bytes([a, b, c, d])) {
                    Ok(pidfd) => fds::send(socket, &[0; 4], Some(pidfd.as_fd())),
                    Err(errno) => fds::send(socket, &errno.0.to_le_bytes(), None),
                };
                if sent.is_err() {
                    break;
                }
            }
            Ok((1, Some(fd))) => kept.push(fd),
            Err(Errno(libc::EINTR)) => {}
            _ => break,
        }
    }
    signal::kill_all_others();
    0
}

const SPAWN: u8 = 1;
const KEEP: u8 = 2;
const NS_PER_S: i64 = 1_000_000_000;
