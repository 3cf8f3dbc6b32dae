//! Becomes the program of a submitted job, as its owner: the hidden verb `job-program`.
//!
//! Its standard input is a socket to the job's [parent](super::parent), which passes the ends of the pipes for the
//! output and then says go. The socket closes when the program begins; before that, what goes wrong is said on it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use migration::sys::{Errno, fds};
use rustix::fs::Mode;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use transport::wire;

use super::cannot_run;
use super::launch::{Launch, not_started};
use super::record::Record;
use crate::exit::{ExitCode, Failure};
use crate::queue::{End, ResourceLimit};

/// What the parent says with a descriptor: this is standard output.
pub(super) const OUT: &[u8] = b"out";

/// This is standard error.
pub(super) const ERR: &[u8] = b"err";

/// Begin.
pub(super) const GO: &[u8] = b"go";

/// Becomes the program; ends only if that fails, and has told the parent then.
pub fn main(dir: &Path) -> ExitCode {
    let Ok(parent) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::NotStarted };
    let failure = begin(dir, &parent);
    let end = not_started(&failure);
    let mut bytes = Vec::new();
    if wire::encode(&end, &mut bytes).is_ok() {
        // A parent that is gone is not to be told.
        let _ = fds::send(parent.as_fd(), &bytes, None);
    }
    failure.code
}

/// What the program's process says, to its parent.
pub(super) fn understand(bytes: &[u8]) -> End {
    wire::decode(bytes).unwrap_or(End::NotStarted { code: 125, reason: "it said nothing sensible".into() })
}

fn begin(dir: &Path, parent: &OwnedFd) -> Failure {
    match prepare(dir, parent) {
        Ok(launch) => become_it(&launch),
        Err(failure) => failure,
    }
}

/// Takes on everything that is the owner's.
fn prepare(dir: &Path, parent: &OwnedFd) -> Result<Launch, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::new(ExitCode::NotStarted, what, error)
    };
    // Read as root: the record is nobody else's business.
    let launch = Record::at(dir.to_owned()).launch().map_err(failed("cannot read what to start"))?;
    let (out, err) = wait_for_go(parent).map_err(failed("cannot hear the job's parent"))?;
    rustix::process::setsid().map_err(|error| failed("cannot begin a session")(error.into()))?;
    rustix::process::umask(Mode::from_raw_mode(launch.setting.umask & 0o777));
    for limit in &launch.setting.limits {
        set_limit(limit).map_err(failed(&format!("cannot set resource limit {}", limit.resource)))?;
    }
    become_owner(&launch)
        .map_err(failed(&format!("cannot become uid {}, gid {}", launch.owner.uid, launch.owner.gid)))?;
    // From here on with the owner's rights alone.
    let at = |path: &[u8]| Path::new(OsStr::from_bytes(path)).to_owned();
    let named = |what: &str, path: &[u8]| failed(&format!("cannot {what} {}", at(path).display()));
    std::env::set_current_dir(at(&launch.setting.dir)).map_err(named("enter", &launch.setting.dir))?;
    let stdin = launch.setting.stdin.as_deref().unwrap_or(b"/dev/null");
    let input = File::open(at(stdin)).map_err(named("read", stdin))?;
    let file = |path: &Option<Vec<u8>>, kept: OwnedFd| match path {
        None => Ok(kept),
        Some(path) => {
            let mut options = OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).open(at(path));
            opened.map(OwnedFd::from).map_err(named("write", path))
        }
    };
    let out = match (&launch.setting.stdout, &launch.setting.stderr) {
        // As `>FILE 2>&1` does it.
        (Some(one), Some(other)) if one == other => {
            let both = file(&launch.setting.stdout, out)?;
            rustix::stdio::dup2_stderr(&both)
                .map_err(|error| failed("cannot set standard error")(error.into()))?;
            both
        }
        (one, other) => {
            let err = file(other, err)?;
            rustix::stdio::dup2_stderr(&err)
                .map_err(|error| failed("cannot set standard error")(error.into()))?;
            file(one, out)?
        }
    };
    rustix::stdio::dup2_stdout(&out).map_err(|error| failed("cannot set standard output")(error.into()))?;
    rustix::stdio::dup2_stdin(&input).map_err(|error| failed("cannot set standard input")(error.into()))?;
    Ok(launch)
}

fn wait_for_go(parent: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut out, mut err) = (None, None);
    let mut word = [0; 16];
    loop {
        match fds::receive(parent.as_fd(), &mut word).map_err(from_errno)? {
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (length, fd) if &word[..length] == OUT => out = fd,
            (length, fd) if &word[..length] == ERR => err = fd,
            (length, _) if &word[..length] == GO => break,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    out.zip(err).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn become_owner(launch: &Launch) -> io::Result<()> {
    let groups: Vec<Gid> = launch.owner.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(launch.owner.uid), Gid::from_raw(launch.owner.gid));
    // This process has one thread.
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Sets a limit as far as it can be had: the owner's may be greater than what this machine allows.
fn set_limit(limit: &ResourceLimit) -> io::Result<()> {
    let Some((resource, _)) = RESOURCES.get(usize::try_from(limit.resource).unwrap_or(usize::MAX)) else {
        return Ok(());
    };
    match rustix::process::setrlimit(*resource, Rlimit { current: limit.soft, maximum: limit.hard }) {
        Err(rustix::io::Errno::PERM) => {
            let most = rustix::process::getrlimit(*resource).maximum;
            let current = match (limit.soft, most) {
                (Some(soft), Some(most)) => Some(soft.min(most)),
                (soft, most) => soft.or(most),
            };
            Ok(rustix::process::setrlimit(*resource, Rlimit { current, maximum: most })?)
        }
        done => Ok(done?),
    }
}

fn become_it(launch: &Launch) -> Failure {
    let mut words = launch.command.iter().map(|word| OsStr::from_bytes(word));
    let Some(program) = words.next() else {
        return Failure::new(ExitCode::NotStarted, "cannot run", "no program is named");
    };
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let env = launch.setting.env.iter().map(|(key, value)| (text(key), text(value)));
    cannot_run(program, &Command::new(program).args(words).env_clear().envs(env).exec())
}

fn from_errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

/// The limits of setrlimit(2) by the kernel's numbers, with their names in `/proc/PID/limits`.
pub const RESOURCES: [(Resource, &str); 16] = [
    (Resource::Cpu, "Max cpu time"),
    (Resource::Fsize, "Max file size"),
    (Resource::Data, "Max data size"),
    (Resource::Stack, "Max stack size"),
    (Resource::Core, "Max core file size"),
    (Resource::Rss, "Max resident set"),
    (Resource::Nproc, "Max processes"),
    (Resource::Nofile, "Max open files"),
    (Resource::Memlock, "Max locked memory"),
    (Resource::As, "Max address space"),
    (Resource::Locks, "Max file locks"),
    (Resource::Sigpending, "Max pending signals"),
    (Resource::Msgqueue, "Max msgqueue size"),
    (Resource::Nice, "Max nice priority"),
    (Resource::Rtprio, "Max realtime priority"),
    (Resource::Rttime, "Max realtime timeout"),
];
