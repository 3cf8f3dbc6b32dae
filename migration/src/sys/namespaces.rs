//! Namespaces, mounts and the children that live in them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::ptr;

use thiserror::Error;

/// Leaves the kinds of namespaces in `flags` for fresh ones.
///
/// `PID` and `TIME` take effect for children only. `USER` and `TIME` need a single-threaded process; the others act
/// on the calling thread, so a thread of its own can hold a network namespace.
///
/// # Errors
/// [`NamespaceError::Unshare`], for lack of CAP_SYS_ADMIN in most cases.
pub fn unshare(flags: Flags) -> Result<(), NamespaceError> {
    // SAFETY: unshare takes no pointers; it changes the caller's own context only.
    check(unsafe { libc::unshare(flags.0) }).map(drop).map_err(NamespaceError::Unshare)
}

/// Enters the namespaces in `flags` that `fd` stands for: a file of `/proc/PID/ns`, or a pidfd.
///
/// # Errors
/// [`NamespaceError::SetNs`].
pub fn setns(fd: BorrowedFd<'_>, flags: Flags) -> Result<(), NamespaceError> {
    // SAFETY: the descriptor is open for the whole call; no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags.0) }).map(drop).map_err(NamespaceError::SetNs)
}

/// Forks; the child runs `child` and exits with its result, without running exit handlers or destructors.
///
/// Only for a single-threaded process: in a threaded one the child may find any lock taken for ever.
///
/// # Errors
/// [`NamespaceError::Threaded`] with more than one thread, [`NamespaceError::Fork`] when the kernel refuses.
pub fn fork_child(child: impl FnOnce() -> i32) -> Result<ChildPid, NamespaceError> {
    let threads = fs::read_dir("/proc/self/task").map_err(NamespaceError::Fork)?.count();
    if threads != 1 {
        return Err(NamespaceError::Threaded { threads });
    }
    // SAFETY: the process has one thread (checked above), so no lock of the allocator or of libc is held by anybody
    // else and the child may run any code.
    match check(unsafe { libc::fork() }).map_err(NamespaceError::Fork)? {
        0 => {
            let code = child();
            // SAFETY: _exit takes a plain integer and does not return.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(ChildPid(pid)),
    }
}

/// Waits for a child made by [`fork_child`].
///
/// # Errors
/// [`NamespaceError::Wait`]: the child was already reaped.
pub fn wait_child(child: ChildPid) -> Result<ExitStatus, NamespaceError> {
    wait(child.0, 0).map(|(_, status)| status)
}

/// Reaps one child that has ended, if there is one; a process that adopts orphans calls it until `None`.
///
/// # Errors
/// [`NamespaceError::Wait`] on anything but "no children" and "none has ended".
pub fn reap() -> Result<Option<(ChildPid, ExitStatus)>, NamespaceError> {
    match wait(-1, libc::WNOHANG) {
        Ok((0, _)) => Ok(None),
        Ok((pid, status)) => Ok(Some((ChildPid(pid), status))),
        Err(NamespaceError::Wait(error)) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for SIGKILL when the thread that made this process ends.
///
/// # Errors
/// [`NamespaceError::Control`].
pub fn die_with_parent() -> Result<(), NamespaceError> {
    control(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
}

/// Makes this process the one that orphans below it are given to.
///
/// # Errors
/// [`NamespaceError::Control`].
pub fn become_subreaper() -> Result<(), NamespaceError> {
    control(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Sets the host name of this UTS namespace.
///
/// # Errors
/// [`NamespaceError::Hostname`].
pub fn sethostname(name: &str) -> Result<(), NamespaceError> {
    // SAFETY: pointer and length describe `name`, which the kernel only reads.
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    check(result).map(drop).map_err(NamespaceError::Hostname)
}

/// Sets the clocks of the time namespace that the next child will live in, in seconds ahead of this machine's own.
///
/// To be called after [`unshare`] with [`Flags::TIME`] and before the first child.
///
/// # Errors
/// [`NamespaceError::Offsets`], with EACCES once a process lives there.
pub fn set_clock_offsets(monotonic_s: i64, boottime_s: i64) -> Result<(), NamespaceError> {
    let offsets = format!("monotonic {monotonic_s} 0\nboottime {boottime_s} 0\n");
    fs::write("/proc/self/timens_offsets", offsets).map_err(NamespaceError::Offsets)
}

/// Mounts a new file system of `kind` at `at`; `options` are those of the file system, comma-separated.
///
/// # Errors
/// [`NamespaceError::Mount`].
pub fn mount(kind: &str, at: &Path, options: &str) -> Result<(), NamespaceError> {
    raw_mount(Path::new(kind), at, Some(kind), libc::MS_NOSUID, options)
}

/// Makes the tree at `from`, with all mounts below it, appear at `at` too.
///
/// # Errors
/// [`NamespaceError::Mount`].
pub fn bind(from: &Path, at: &Path) -> Result<(), NamespaceError> {
    raw_mount(from, at, None, libc::MS_BIND | libc::MS_REC, "")
}

/// Forbids writing through the bind mount at `at`; mounts below it keep their own right.
///
/// # Errors
/// [`NamespaceError::Mount`].
pub fn make_read_only(at: &Path) -> Result<(), NamespaceError> {
    raw_mount(Path::new("none"), at, None, libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "")
}

/// Forbids writing to the mount at `at`, and programs, devices and set-uid bits on it.
///
/// # Errors
/// [`NamespaceError::Mount`].
pub fn make_inert(at: &Path) -> Result<(), NamespaceError> {
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    raw_mount(Path::new("none"), at, None, libc::MS_REMOUNT | libc::MS_BIND | flags, "")
}

/// Cuts every mount of this mount namespace off from those of other namespaces, in both directions.
///
/// # Errors
/// [`NamespaceError::Mount`].
pub fn make_mounts_private() -> Result<(), NamespaceError> {
    raw_mount(Path::new("none"), Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, "")
}

/// Takes the mount at `at` and all below it out of sight; it goes away when its last user does.
///
/// # Errors
/// [`NamespaceError::Umount`].
pub fn umount(at: &Path) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::Umount { at: at.to_owned(), source };
    let path = c_path(at).map_err(failed)?;
    // SAFETY: the path is NUL-terminated and lives during the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop).map_err(failed)
}

/// Makes the mount at `root` the root of this mount namespace; the former root appears at `former` below it.
///
/// # Errors
/// [`NamespaceError::PivotRoot`], with EINVAL when `root` is not a mount point or mounts are still shared.
pub fn pivot_root(root: &Path, former: &Path) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::PivotRoot { root: root.to_owned(), source };
    let (new, old) = (c_path(root).map_err(failed)?, c_path(former).map_err(failed)?);
    // SAFETY: both paths are NUL-terminated and live during the call.
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) };
    if result == -1 {
        return Err(failed(io::Error::last_os_error()));
    }
    std::env::set_current_dir("/").map_err(failed)
}

/// A child of this process that has not been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildPid(libc::pid_t);

impl ChildPid {
    /// The number in this process's pid namespace.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.unsigned_abs()
    }
}

/// Kinds of namespaces, joined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(libc::c_int);

impl Flags {
    /// Interfaces, addresses, ports, abstract Unix sockets.
    pub const NET: Flags = Flags(libc::CLONE_NEWNET);
    /// Mount points.
    pub const MOUNT: Flags = Flags(libc::CLONE_NEWNS);
    /// Host name.
    pub const UTS: Flags = Flags(libc::CLONE_NEWUTS);
    /// System V and POSIX message queues, semaphores, shared memory.
    pub const IPC: Flags = Flags(libc::CLONE_NEWIPC);
    /// Process numbers, of children.
    pub const PID: Flags = Flags(libc::CLONE_NEWPID);
    /// CLOCK_MONOTONIC and CLOCK_BOOTTIME, of children.
    pub const TIME: Flags = Flags(libc::CLONE_NEWTIME);
    /// Users and capabilities.
    pub const USER: Flags = Flags(libc::CLONE_NEWUSER);
    /// The view of the tree of control groups.
    pub const CGROUP: Flags = Flags(libc::CLONE_NEWCGROUP);
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// What could not be done, with the kernel's reason as source.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum NamespaceError {
    #[error("cannot make new namespaces; this needs root (CAP_SYS_ADMIN)")]
    Unshare(#[source] io::Error),
    #[error("cannot enter a namespace")]
    SetNs(#[source] io::Error),
    #[error("cannot fork with {threads} threads: fork before the first thread starts")]
    Threaded { threads: usize },
    #[error("cannot fork")]
    Fork(#[source] io::Error),
    #[error("cannot wait for a child")]
    Wait(#[source] io::Error),
    #[error("cannot set an attribute of this process (prctl {option})")]
    Control { option: i32, source: io::Error },
    #[error("cannot set the host name")]
    Hostname(#[source] io::Error),
    #[error("cannot set the clock offsets of a time namespace")]
    Offsets(#[source] io::Error),
    #[error("cannot mount {what} at {at}")]
    Mount { what: PathBuf, at: PathBuf, source: io::Error },
    #[error("cannot unmount {at}")]
    Umount { at: PathBuf, source: io::Error },
    #[error("cannot make {root} the root")]
    PivotRoot { root: PathBuf, source: io::Error },
}

fn wait(pid: libc::pid_t, options: libc::c_int) -> Result<(libc::pid_t, ExitStatus), NamespaceError> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for one int during the call.
        match check(unsafe { libc::waitpid(pid, &raw mut status, options) }) {
            Ok(pid) => return Ok((pid, ExitStatus::from_raw(status))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(NamespaceError::Wait(error)),
        }
    }
}

fn control(option: libc::c_int, value: libc::c_int) -> Result<(), NamespaceError> {
    // SAFETY: both options used here take an integer, no pointer.
    let result = unsafe { libc::prctl(option, value, 0, 0, 0) };
    check(result).map(drop).map_err(|source| NamespaceError::Control { option, source })
}

fn raw_mount(
    what: &Path,
    at: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    options: &str,
) -> Result<(), NamespaceError> {
    let failed = |source| NamespaceError::Mount { what: what.to_owned(), at: at.to_owned(), source };
    let (source, target) = (c_path(what).map_err(failed)?, c_path(at).map_err(failed)?);
    let kind = kind.map(|kind| c_path(Path::new(kind))).transpose().map_err(failed)?;
    let options = c_path(Path::new(options)).map_err(failed)?;
    let kind = kind.as_ref().map_or(ptr::null(), |kind| kind.as_ptr());
    // SAFETY: all strings are NUL-terminated and live during the call; a null kind is allowed with these flags.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, options.as_ptr().cast()) };
    check(result).map(drop).map_err(failed)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_not_forked() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || stopped.recv());
        let result = fork_child(|| 0);
        drop(stop);
        assert!(thread.join().unwrap().is_err());
        assert!(matches!(result, Err(NamespaceError::Threaded { threads: 2.. })), "{result:?}");
    }

    #[test]
    fn a_mount_that_fails_names_what_and_where() {
        let error = mount("no-such-kind", Path::new("/nowhere/at/all"), "").unwrap_err();
        assert_eq!(error.to_string(), "cannot mount no-such-kind at /nowhere/at/all");
    }

    #[test]
    fn a_path_with_a_nul_is_refused() {
        assert!(matches!(umount(Path::new("/a\0b")), Err(NamespaceError::Umount { .. })));
    }
}
