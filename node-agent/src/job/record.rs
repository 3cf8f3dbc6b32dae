//! What is on disk of one attempt: what to start, what was started, how it ended. It tells a restarted agent the truth.
//!
//! A directory `TASK.ATTEMPT` of the node's `jobs`, for root alone, with these files:
//!
//! | file | written by | says |
//! |---|---|---|
//! | `launch` | the agent, before anything else | what to start |
//! | `lock` | | its holder alone may start the program or say that it never will |
//! | `program` | the parent, before the program's first instruction | its pid |
//! | `status` | the parent; the agent for a dead parent | how it ended |
//! | `stdout.N`, `stderr.N` | the parent | [output](super::output) |
//!
//! Room for `program` and `status` is taken before anything is started, so that a disk that fills up loses neither.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transport::wire;

use super::launch::Launch;
use crate::proc;
use crate::queue::{End, TaskId};

/// The directory of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    dir: PathBuf,
}

/// The process that became the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its pid.
    pub pid: u32,
    /// Tells it from a later process of the same pid.
    pub start_ticks: u64,
    /// Tells it from a process of another boot.
    pub boot_id: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How.
    pub end: End,
    /// Output that could not be kept.
    pub dropped_bytes: u64,
}

/// How an attempt is.
#[derive(Debug)]
pub enum Look {
    /// There is no record of it.
    Absent,
    /// It is over.
    Ended(Status),
    /// Its parent lives. Without a program it is just starting it.
    Alive(Option<Started>),
    /// Its parent is dead, and cannot come to life as long as this lock is held.
    Dead(Option<Started>, Lock),
}

/// The right to start the program, or to say that it never will be.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Record {
    /// Where the record of an attempt is, if there is one.
    #[must_use]
    pub fn of(jobs: &Path, task: TaskId, attempt: u32) -> Record {
        Record { dir: jobs.join(format!("{task}.{attempt}")) }
    }

    /// The record in this directory.
    #[must_use]
    pub fn at(dir: PathBuf) -> Record {
        Record { dir }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All records of a node, with their tasks.
    #[must_use]
    pub fn all(jobs: &Path) -> Vec<(TaskId, Record)> {
        let entries = fs::read_dir(jobs).into_iter().flatten().flatten();
        let records = entries.filter_map(|entry| {
            let name = entry.file_name();
            let (task, _) = name.to_str()?.split_once('.')?;
            Some((task.parse().ok()?, Record::at(entry.path())))
        });
        records.collect()
    }

    /// Writes a new record: whole, or not at all.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn create(&self, launch: &Launch) -> io::Result<()> {
        let new = self.dir.with_extension(format!("{}.new", launch.attempt));
        remove(&new)?;
        let made = || {
            DirBuilder::new().mode(0o700).create(&new)?;
            let mut bytes = Vec::new();
            wire::encode(launch, &mut bytes).map_err(io::Error::other)?;
            write(&new.join(LAUNCH), &bytes)?;
            write(&new.join(LOCK), &[])?;
            write(&new.join(PROGRAM).with_extension(NEW), &[b' '; RESERVED_BYTES])?;
            write(&new.join(STATUS).with_extension(NEW), &[b' '; RESERVED_BYTES])?;
            sync(&new)?;
            fs::rename(&new, &self.dir)?;
            sync(self.dir.parent().unwrap_or(Path::new("/")))
        };
        made().inspect_err(|_| {
            // What is left is removed with the next try, or when the job is forgotten.
            let _ = remove(&new);
        })
    }

    /// Removes it, with the output.
    ///
    /// # Errors
    /// When the disk does not let go.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.dir)
    }

    /// How the attempt is.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn look(&self) -> io::Result<Look> {
        if !self.dir.exists() {
            return Ok(Look::Absent);
        }
        if let Some(status) = self.read(STATUS)? {
            return Ok(Look::Ended(status));
        }
        match self.lock()? {
            None => Ok(Look::Alive(self.started()?)),
            // The parent may have ended since the first look.
            Some(lock) => match self.read(STATUS)? {
                Some(status) => Ok(Look::Ended(status)),
                None => Ok(Look::Dead(self.started()?, lock)),
            },
        }
    }

    /// Takes the lock, unless somebody has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        let file = File::open(self.dir.join(LOCK))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is to be started.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn launch(&self) -> io::Result<Launch> {
        wire::decode(&fs::read(self.dir.join(LAUNCH))?).map_err(io::Error::other)
    }

    /// What was started, if anything.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn started(&self) -> io::Result<Option<Started>> {
        self.read(PROGRAM)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn status(&self) -> io::Result<Option<Status>> {
        self.read(STATUS)
    }

    /// Writes down what is about to become the program.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write_started(&self, _lock: &Lock, started: &Started) -> io::Result<()> {
        self.write(PROGRAM, started)
    }

    /// Writes down how it ended.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write_status(&self, _lock: &Lock, status: &Status) -> io::Result<()> {
        self.write(STATUS, status)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.dir.join(name)) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(Into::into),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes into the room that was taken, then gives it its name: it is there whole, also after a crash, or not.
    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.resize(text.len().max(RESERVED_BYTES), b' ');
        let new = self.dir.join(name).with_extension(NEW);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, self.dir.join(name))?;
        sync(&self.dir)
    }
}

impl Started {
    /// The process of this pid.
    #[must_use]
    pub fn of(process: &proc::Process) -> Started {
        Started { pid: process.pid, start_ticks: process.start_ticks, boot_id: proc::boot_id() }
    }

    /// The process, if it still lives.
    #[must_use]
    pub fn process(&self) -> Option<proc::Process> {
        let process = proc::process(self.pid).filter(|process| !process.zombie)?;
        (process.start_ticks == self.start_ticks && proc::boot_id() == self.boot_id).then_some(process)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

const LAUNCH: &str = "launch";
const LOCK: &str = "lock";
const PROGRAM: &str = "program";
const STATUS: &str = "status";
const NEW: &str = "new";

/// What a status with the longest reason takes, and more.
const RESERVED_BYTES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Owner, Setting};

    const TASK: TaskId = TaskId { job: 71, index: 3 };

    fn launch() -> Launch {
        Launch {
            task: TASK,
            attempt: 1,
            owner: Owner { uid: 0, gid: 0, groups: vec![] },
            command: vec![b"/bin/true".to_vec()],
            setting: Setting::of(b"/".to_vec()),
            time_limit_ms: None,
            agent: b"/run/none.sock".to_vec(),
        }
    }

    #[test]
    fn a_record_tells_what_was_and_what_is() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::of(dir.path(), TASK, 1);
        assert!(matches!(record.look().unwrap(), Look::Absent));
        record.create(&launch()).unwrap();
        assert_eq!(record.launch().unwrap(), launch());
        let lock = record.lock().unwrap().unwrap();
        assert!(matches!(record.look().unwrap(), Look::Alive(None)));
        let own = Started::of(&proc::process(std::process::id()).unwrap());
        record.write_started(&lock, &own).unwrap();
        assert!(own.process().is_some());
        assert!(Started { start_ticks: 1, ..own.clone() }.process().is_none());
        drop(lock);
        let Look::Dead(Some(started), lock) = record.look().unwrap() else { panic!("it has no parent") };
        assert_eq!(started, own);
        let status = Status { end: End::Exit(3), dropped_bytes: 0 };
        record.write_status(&lock, &status).unwrap();
        assert!(matches!(record.look().unwrap(), Look::Ended(found) if found == status));
        assert_eq!(Record::all(dir.path()), [(TASK, record.clone())]);
        record.remove().unwrap();
        assert!(Record::all(dir.path()).is_empty());
    }

    #[test]
    fn what_is_longer_than_its_room_is_written_too() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::of(dir.path(), TASK, 1);
        record.create(&launch()).unwrap();
        let lock = record.lock().unwrap().unwrap();
        let end = End::Lost { reason: "x".repeat(2 * RESERVED_BYTES) };
        record.write_status(&lock, &Status { end: end.clone(), dropped_bytes: 0 }).unwrap();
        assert_eq!(record.status().unwrap().unwrap().end, end);
    }
}
