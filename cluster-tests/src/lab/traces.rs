//! What a lab puts on this machine, to show afterwards that nothing of it is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Lab, LabError, containers, process};

/// The lab's namespaces, interface, mounts, containers and directory, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traces {
    pid_namespaces: BTreeSet<PathBuf>,
    interface: String,
    engine_names: Vec<String>,
    directory: PathBuf,
}

impl Traces {
    pub(super) fn of(lab: &Lab) -> Result<Traces, LabError> {
        let namespace = |node: &super::LabNode| {
            let pid = node.init_pid();
            process::pid_namespace(pid).map_err(|source| LabError::Process { pid, source })
        };
        let containers =
            lab.nodes.iter().filter_map(|node| node.container()).map(|container| container.name());
        let names = containers.chain(lab.image.iter().map(|image| image.name()));
        Ok(Traces {
            pid_namespaces: lab.nodes.iter().map(namespace).collect::<Result<_, _>>()?,
            interface: lab.uplink.interface().to_owned(),
            engine_names: names.map(str::to_owned).collect(),
            directory: lab.directory.path().to_owned(),
        })
    }

    /// What there is of it on this machine now, one line each.
    #[must_use]
    pub fn found(&self) -> Vec<String> {
        let in_lab = |pid: &u32| {
            process::pid_namespace(*pid).is_ok_and(|namespace| self.pid_namespaces.contains(&namespace))
        };
        let processes =
            process::all_processes().into_iter().filter(in_lab).map(|pid| format!("process {pid}"));
        let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let links = links.filter(|link| link.file_name() == *self.interface);
        let links = links.map(|link| format!("interface {}", link.file_name().display()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let directory = self.directory.to_string_lossy();
        let mounts =
            mounts.lines().filter(|line| line.contains(&*directory)).map(|line| format!("mount {line}"));
        let known = self.engine_names.iter().filter(|name| containers::knows(name));
        let known = known.map(|name| format!("container or image {name}"));
        let files = self.directory.exists().then(|| format!("directory {directory}"));
        processes.chain(links).chain(mounts).chain(known).chain(files).collect()
    }

    /// The lab's directory on this machine.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is still there after `patience`; returns as soon as nothing is.
    #[must_use]
    pub fn left_after(&self, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.found();
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
