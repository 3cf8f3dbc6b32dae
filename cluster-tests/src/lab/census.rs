//! What a node holds of families: nothing, once they are all gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::{LabError, LabNode, process};

impl LabNode {
    /// Processes in namespaces of their own below the node's, descriptors that only wardens and bodies have, sockets of
    /// wardens; one line each.
    ///
    /// # Errors
    /// [`LabError::Process`] when the node has ended.
    pub fn held(&self) -> Result<Vec<String>, LabError> {
        let init = self.init_pid();
        let failed = |source| LabError::Process { pid: init, source };
        let namespaces =
            |pid: u32| NAMESPACES.map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok());
        let own = namespaces(init);
        let mut held = Vec::new();
        for pid in process::below(init)? {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim();
            // One that has just ended has none any more.
            if namespaces(pid).iter().zip(&own).any(|(one, own)| one.is_some() && one != own) {
                held.push(format!("{}: {name} ({pid}) in namespaces of its own", self.name()));
            }
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
            let kept = targets.filter(|target| {
                let target = target.to_string_lossy();
                DESCRIPTORS.iter().any(|kind| target.contains(kind))
            });
            held.extend(
                kept.map(|target| format!("{}: {} of {name} ({pid})", self.name(), target.display())),
            );
        }
        let run = match fs::read_dir(self.outside(super::agents::WARDENS)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(held),
            run => run.map_err(failed)?,
        };
        let sockets = run.flatten().map(|entry| entry.path());
        let sockets = sockets.filter(|path| path.extension().is_some_and(|kind| kind == "sock"));
        held.extend(sockets.map(|path| format!("{}: {}", self.name(), path.display())));
        Ok(held)
    }

    /// How many mounts it sees.
    ///
    /// # Errors
    /// [`LabError::Process`] when the node has ended.
    pub fn mounts(&self) -> Result<usize, LabError> {
        let pid = self.init_pid();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"));
        mounts.map(|text| text.lines().count()).map_err(|source| LabError::Process { pid, source })
    }
}

/// The control groups of this machine that belong to homing or to a lab.
#[must_use]
pub fn control_groups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut places = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((place, depth)) = places.pop() {
        let entries = fs::read_dir(&place).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().contains("homing") {
                found.insert(entry.path());
            }
            if depth < DEPTH_MAX {
                places.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

const NAMESPACES: [&str; 6] = ["pid", "net", "mnt", "ipc", "uts", "user"];

/// As the kernel names them in `/proc/PID/fd`.
const DESCRIPTORS: [&str; 3] = ["/memfd:", "anon_inode:[userfaultfd]", "anon_inode:seccomp notify"];

/// Below the root of all control groups.
const DEPTH_MAX: usize = 4;
