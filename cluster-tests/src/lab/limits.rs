//! Limits of what processes of a node get of this machine, by control groups of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::LabError;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Memory, in bytes.
    Memory(u64),
    /// Thousandths of one processor.
    Cpu(u32),
    /// Processes and threads.
    Pids(u32),
}

/// Processes with a limit of their own. Dropped, it lets them go and is gone.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    parent: PathBuf,
}

impl Group {
    /// An empty group.
    ///
    /// # Errors
    /// [`LabError::Group`] where the kernel has no such controller, or it may not be used.
    pub fn new(limit: Limit) -> Result<Group, LabError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (parent, files) = place(limit);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LabError::Group { path, source }
        };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("homing-lab-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(failed(&path))?;
        let group = Group { path, parent };
        for (file, text) in files {
            let file = group.path.join(file);
            fs::write(&file, text).map_err(failed(&file))?;
        }
        Ok(group)
    }

    /// Takes in a process, by its number here; what it starts from now on belongs to it.
    ///
    /// # Errors
    /// [`LabError::Group`] when it is gone.
    pub fn take(&self, pid: u32) -> Result<(), LabError> {
        let file = self.path.join(PROCESSES);
        fs::write(&file, pid.to_string()).map_err(|source| LabError::Group { path: file, source })
    }

    /// The processes in it, by their numbers here.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path.join(PROCESSES)).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = Instant::now() + REMOVE_PATIENCE;
        while let Err(error) = fs::remove_dir(&self.path) {
            // One that has ended meanwhile is not moved.
            self.pids().iter().for_each(|pid| drop(fs::write(self.parent.join(PROCESSES), pid.to_string())));
            if error.kind() == io::ErrorKind::NotFound || Instant::now() > deadline {
                tracing::warn!(%error, path = %self.path.display(), "a control group is left");
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// The group above, and what is written into which files of the new one.
fn place(limit: Limit) -> (PathBuf, Vec<(&'static str, String)>) {
    let root = Path::new(ROOT);
    let (controller, one, two) = match limit {
        Limit::Memory(bytes) => {
            ("memory", vec![("memory.limit_in_bytes", bytes.to_string())], ("memory.max", bytes.to_string()))
        }
        Limit::Cpu(thousandths) => {
            let quota_us = u64::from(thousandths) * PERIOD_US / 1000;
            let one = vec![
                ("cpu.cfs_period_us", PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota_us.to_string()),
            ];
            ("cpu", one, ("cpu.max", format!("{quota_us} {PERIOD_US}")))
        }
        Limit::Pids(count) => {
            ("pids", vec![("pids.max", count.to_string())], ("pids.max", count.to_string()))
        }
    };
    if root.join("cgroup.controllers").exists() {
        // Where it is enabled already this changes nothing; where it cannot be, the new group lacks the file.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        return (root.to_owned(), vec![two]);
    }
    (root.join(controller), one)
}

const ROOT: &str = "/sys/fs/cgroup";
const PROCESSES: &str = "cgroup.procs";
const PERIOD_US: u64 = 100_000;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const REMOVE_PATIENCE: Duration = Duration::from_secs(5);
