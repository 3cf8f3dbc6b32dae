//! Making a family's namespaces.
//!
//! A lender makes the user namespace and, inside of it, all others, which so belong to it; the founder, who stays in the
//! node's own user namespace, joins those others, and is the spawner from then on.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{ClockOffsets, InitError, serve, serve_spawns};
use crate::confinement::FAMILY_NAMESPACE;
use crate::procfs;
use crate::sys::confine;
use crate::sys::namespaces::{self, ChildPid, Flags};
use crate::sys::{Errno, fds, signal, spawn};

/// Runs in a child of the warden until the warden is gone.
pub(super) fn found_family(
    offsets: ClockOffsets,
    user: u32,
    warden: BorrowedFd<'_>,
    of_init: BorrowedFd<'_>,
) -> Result<(), InitError> {
    rename().map_err(InitError::Prepare)?;
    let (ours, theirs) = fds::socket_pair().map_err(prepare)?;
    let lender = namespaces::fork_child(|| i32::from(lend(offsets, user, theirs.as_fd(), of_init).is_err()))?;
    drop(theirs);
    hear(ours.as_fd())?;
    let line = format!("{user} {user} 1");
    for map in ["gid_map", "uid_map"] {
        fs::write(format!("/proc/{}/{map}", lender.get()), &line).map_err(InitError::Prepare)?;
    }
    tell(ours.as_fd())?;
    hear(ours.as_fd())?;
    // Where memory runs out, what came from elsewhere goes first.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let of_family = join(lender)?;
    tell(ours.as_fd())?;
    namespaces::wait_child(lender)?;
    let stub = spawn::stub_executable().map_err(prepare)?;
    spawn::close_others(&[warden.as_raw_fd(), of_family.as_raw_fd(), stub.as_raw_fd()]).map_err(prepare)?;
    spawn::bequeath(of_family.as_fd(), FAMILY_NAMESPACE).map_err(prepare)?;
    // Children that end are reaped by the kernel: nobody here asks how they ended.
    signal::ignore_children().map_err(prepare)?;
    confine::no_new_privileges().map_err(prepare)?;
    confine::not_dumpable().map_err(prepare)?;
    LIMITS.into_iter().try_for_each(confine::limit).map_err(prepare)?;
    tell(warden)?;
    serve_spawns(warden, stub.as_fd());
    Ok(())
}

/// Who looks for wardens by their command lines must not find their helpers.
fn rename() -> io::Result<()> {
    let own = std::process::id();
    let at = |field| procfs::stat_field(own, field);
    let (start, end) = (at(ARG_START)?, at(ARG_END)?);
    let mut line = NAME.to_vec();
    line.resize(usize::try_from(end.saturating_sub(start)).unwrap_or(0), 0);
    File::options().write(true).open("/proc/self/mem")?.write_all_at(&line, start)
}

/// Makes the namespaces and the init in them, and lives until they were joined.
fn lend(
    offsets: ClockOffsets,
    user: u32,
    founder: BorrowedFd<'_>,
    of_init: BorrowedFd<'_>,
) -> Result<(), InitError> {
    namespaces::unshare(Flags::USER)?;
    tell(founder)?;
    hear(founder)?;
    let all = Flags::PID | Flags::TIME | Flags::NET | Flags::MOUNT | Flags::IPC | Flags::UTS | Flags::CGROUP;
    namespaces::unshare(all)?;
    write_offsets(offsets).map_err(InitError::Prepare)?;
    namespaces::sethostname("homing-family")?;
    // Not before: files under /proc belong to root.
    confine::become_user(user).map_err(prepare)?;
    namespaces::fork_child(|| {
        let ready = seal().is_ok() && tell(founder).is_ok();
        if ready { serve(of_init) } else { 1 }
    })?;
    // The init says when all is ready; this process must live until its namespaces were joined.
    hear(founder)
}

/// Enters all namespaces of the family but the user namespace, which is returned.
fn join(lender: ChildPid) -> Result<File, InitError> {
    let open =
        |name: &str| File::open(format!("/proc/{}/ns/{name}", lender.get())).map_err(InitError::Prepare);
    let user = open("user")?;
    // The mounts last: with them /proc goes out of sight.
    let kinds = [
        ("pid_for_children", Flags::PID),
        ("time_for_children", Flags::TIME),
        ("net", Flags::NET),
        ("ipc", Flags::IPC),
        ("uts", Flags::UTS),
        ("cgroup", Flags::CGROUP),
        ("mnt", Flags::MOUNT),
    ];
    for (name, kind) in kinds {
        namespaces::setns(open(name)?.as_fd(), kind)?;
    }
    Ok(user)
}

/// The init leaves nothing of the node in sight, an empty file system of 4 KiB, and makes no more namespaces possible.
fn seal() -> Result<(), InitError> {
    confine::not_dumpable().map_err(prepare)?;
    confine::no_new_privileges().map_err(prepare)?;
    for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"] {
        // In a container /proc/sys may be read-only; the filter keeps bodies from all of them anyway.
        let _ = fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0");
    }
    namespaces::make_mounts_private()?;
    namespaces::mount("tmpfs", Path::new("/proc"), "size=4k,mode=555")?;
    fs::create_dir("/proc/old").map_err(InitError::Prepare)?;
    namespaces::pivot_root(Path::new("/proc"), Path::new("/proc/old"))?;
    namespaces::umount(Path::new("/old"))?;
    fs::remove_dir("/old").map_err(InitError::Prepare)?;
    namespaces::make_inert(Path::new("/"))?;
    Ok(())
}

fn write_offsets(offsets: ClockOffsets) -> io::Result<()> {
    let line = |clock, ns: i64| format!("{clock} {} {}\n", ns.div_euclid(NS_PER_S), ns.rem_euclid(NS_PER_S));
    let text = line("monotonic", offsets.monotonic_ns) + &line("boottime", offsets.boottime_ns);
    fs::write("/proc/self/timens_offsets", text)
}

fn tell(socket: BorrowedFd<'_>) -> Result<(), InitError> {
    fds::send(socket, &[1], None).map_err(prepare)
}

/// Waits for the other side; its end is an error.
fn hear(socket: BorrowedFd<'_>) -> Result<(), InitError> {
    let mut word = [0];
    match fds::receive(socket, &mut word).map_err(prepare)? {
        (1, _) => Ok(()),
        _ => Err(prepare(Errno(libc::EPIPE))),
    }
}

fn prepare(errno: Errno) -> InitError {
    InitError::Prepare(errno.into())
}

/// What every process of a family may have at most, at any node. Its memory is limited by the node that it comes to
/// (see the node's control groups), and its threads by home; these are for a body that does what no body does.
const LIMITS: [confine::Limit; 8] = [
    (confine::CORE_BYTES, 0),
    (confine::FILE_BYTES, 0),
    (confine::QUEUE_BYTES, 0),
    (confine::REALTIME, 0),
    (confine::NICE, 0),
    (confine::LOCKED_BYTES, 8 << 20),
    (confine::TASKS, 4096 + 256),
    // For the moments in which a userfaultfd or a listener is made: a body has none.
    (confine::DESCRIPTORS, 16),
];
/// Half of what there is: before every program that the node has itself.
const OOM_SCORE: &str = "500";
/// What `ps` shows.
const NAME: &[u8] = b"homing-family";
/// Fields of `/proc/PID/stat`, proc_pid_stat(5).
const ARG_START: usize = 48;
const ARG_END: usize = 49;
const NS_PER_S: i64 = 1_000_000_000;
