//! Nodes that lose power, and come back with nothing but their disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{Lab, LabError, LabNode, kill, process};

impl Lab {
    /// Ends node `n<number>` and every process of it at once; nobody there says a word to anybody.
    ///
    /// # Errors
    /// [`LabError::Disk`] when what it has on disk cannot be kept, [`LabError::Late`] when it does not end.
    ///
    /// # Panics
    /// If the lab has no such node.
    pub fn power_off(&self, number: usize) -> Result<(), LabError> {
        let node = self.node(number);
        let (init, disk) = (node.init_pid(), self.disk(node));
        fs::create_dir_all(&disk).map_err(LabError::Directory)?;
        copy(node, node.outside(DISK), &disk)?;
        kill(init);
        let deadline = Instant::now() + END_PATIENCE;
        while !process::has_ended(init) {
            if Instant::now() > deadline {
                let program = format!("process 1 of {}", node.name());
                return Err(LabError::Late { program, what: "ended", patience: END_PATIENCE });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Starts a node that has lost power, at its address and with its disk. Its agent has yet to be started.
    ///
    /// # Errors
    /// As [`Lab::new`], and [`LabError::Disk`].
    ///
    /// # Panics
    /// If the lab has no such node.
    pub fn power_on(&mut self, number: u8) -> Result<(), LabError> {
        let node = self.start(number)?;
        let disk = self.disk(&node);
        copy(&node, disk, &node.outside(DISK))?;
        self.nodes[usize::from(number) - 1] = node;
        Ok(())
    }

    /// Where a node's disk is kept meanwhile.
    fn disk(&self, node: &LabNode) -> PathBuf {
        self.directory.path().join(format!("{}-disk", node.name()))
    }
}

/// Copies what is in a directory, with owners and modes.
fn copy(node: &LabNode, from: PathBuf, to: &PathBuf) -> Result<(), LabError> {
    let copied = Command::new("cp").arg("-aT").arg(from).arg(to).output();
    let failed = |reason: String| LabError::Disk { node: node.name().to_owned(), reason };
    let copied = copied.map_err(|error| failed(error.to_string()))?;
    if copied.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&copied.stderr).trim().to_owned()))
}

/// What survives: who the node is. Its run directory does not.
const DISK: &str = "/var/lib";

const END_PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
