//! What outlives those who started it: wardens and agents, found by their sockets.
//!
//! The kernel tells who listens at a socket, so no file with numbers of processes is needed, which might be wrong.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, kill_process};

use super::places::{Places, node_name};
use crate::proc;

/// Removes what a keeper left that was killed: its first agent, that node's wardens, all files.
///
/// The other nodes, and all that ran in them, ended with the keeper, whose pipes they hold.
///
/// # Errors
/// When a file cannot be removed.
pub(super) fn sweep(places: &Places) -> io::Result<()> {
    let root = places.root();
    if !root.exists() {
        return Ok(());
    }
    let first = places.node(&node_name(1));
    end_wardens(&first.wardens(), Duration::ZERO);
    if let Some(agent) = listener(places.socket()).filter(|&pid| names(pid, &first.state)) {
        end(agent);
    }
    remove(places)
}

/// Ends the wardens that still listen in a node's directory, those first that end by themselves within `patience`.
pub(super) fn end_wardens(directory: &Path, patience: Duration) {
    let listening = || sockets(directory).iter().filter_map(|socket| listener(socket)).collect::<Vec<u32>>();
    let deadline = Instant::now() + patience;
    while !listening().is_empty() && Instant::now() < deadline {
        thread::sleep(POLL_INTERVAL);
    }
    listening().into_iter().for_each(end);
}

/// Removes all files, and the run directory if nothing else is in it.
///
/// # Errors
/// When a file cannot be removed.
pub(super) fn remove(places: &Places) -> io::Result<()> {
    let absent_is_fine = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent_is_fine(fs::remove_dir_all(places.root()))?;
    if listener(places.socket()).is_none() {
        absent_is_fine(fs::remove_file(places.socket()))?;
    }
    // Others may keep things there.
    let _ = fs::remove_dir(places.run());
    Ok(())
}

/// The process that listens at a socket.
fn listener(socket: &Path) -> Option<u32> {
    let stream = UnixStream::connect(socket).ok()?;
    u32::try_from(socket_peercred(&stream).ok()?.pid.as_raw_nonzero().get()).ok()
}

/// The sockets in a node's directory of wardens.
pub(super) fn sockets(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}

/// True if a process was started with this path as an argument.
fn names(pid: u32, path: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).any(|argument| argument == path.as_os_str().as_encoded_bytes())
}

/// Asks a process to end, and makes it.
fn end(pid: u32) {
    let Some(known) = proc::process(pid) else { return };
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let is_there =
        || proc::process(pid).is_some_and(|now| now.start_ticks == known.start_ticks && !now.zombie);
    for signal in [Signal::TERM, Signal::KILL] {
        // It may have ended by itself.
        let _ = kill_process(id, signal);
        let deadline = Instant::now() + END_PATIENCE;
        while is_there() && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
        if !is_there() {
            return;
        }
    }
}

const END_PATIENCE: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
