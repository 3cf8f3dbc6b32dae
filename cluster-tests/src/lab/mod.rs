//! Nodes that can fail: where a call executed at the wrong node gives a wrong answer.
//!
//! Every node has its own root, `/etc/passwd`, host name and a listener on 127.0.0.1:7 that says the node's name; on
//! namespaces also its own clocks. Test data is written to one node and exists nowhere else.

mod agents;
mod census;
mod containers;
mod exec;
mod failure;
mod limits;
mod node;
mod power;
mod process;
mod stay;
mod stream;
mod terminal;
mod traces;

use std::path::{Path, PathBuf};
use std::thread;

use node_agent::dev::switch::Switch;
use node_agent::dev::uplink::Uplink;
use tempfile::TempDir;

pub use agents::AGENT_LOG;
pub use census::control_groups;
use containers::Image;
pub use exec::{Finished, Part, Program, Running, User};
pub use failure::LabError;
pub use limits::{Group, Limit};
pub use node::{CLOCK_STEP_S, LabNode, NAME_PORT};
pub use process::{Ticks, Usage, is_suspended, kill, resume, suspend, usage};
pub use stay::{HOME_RESIDENT_KIB_MAX, Stay, Work};
pub use terminal::Terminal;
pub use traces::Traces;

/// A set of nodes `n1`, `n2`... on one network; this machine is a neighbour outside the cluster.
///
/// Dropping it ends and removes all of it, also during a panic.
#[derive(Debug)]
pub struct Lab {
    // In the order of destruction.
    nodes: Vec<LabNode>,
    image: Option<Image>,
    uplink: Uplink,
    switch: Switch,
    directory: TempDir,
}

impl Lab {
    /// Makes `count` nodes on `ground`.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left then.
    pub fn new(ground: Ground, count: u8) -> Result<Lab, LabError> {
        let switch = Switch::new()?;
        let uplink = Uplink::new(&switch)?;
        let directory = TempDir::with_prefix("homing-lab-").map_err(LabError::Directory)?;
        let image = match ground {
            Ground::Namespaces => None,
            Ground::Containers => Some(Image::build(directory.path())?),
        };
        let mut lab = Lab { nodes: Vec::new(), image, uplink, switch, directory };
        lab.nodes = thread::scope(|scope| {
            let lab = &lab;
            let starts: Vec<_> = (1..=count).map(|number| scope.spawn(move || lab.start(number))).collect();
            let nodes = starts.into_iter().map(|start| start.join().expect("starting a node does not panic"));
            nodes.collect::<Result<_, _>>()
        })?;
        Ok(lab)
    }

    /// Node `n<number>`, from 1.
    ///
    /// # Panics
    /// If the lab has no such node.
    #[must_use]
    pub fn node(&self, number: usize) -> &LabNode {
        &self.nodes[number - 1]
    }

    /// All nodes, `n1` first.
    #[must_use]
    pub fn nodes(&self) -> &[LabNode] {
        &self.nodes
    }

    /// What would be left of it on this machine if it were not removed.
    ///
    /// # Errors
    /// [`LabError::Process`] when a node has ended.
    pub fn traces(&self) -> Result<Traces, LabError> {
        Traces::of(self)
    }

    fn start(&self, number: u8) -> Result<LabNode, LabError> {
        let address = self.uplink.address(number + 1);
        LabNode::start(number, address, &self.switch, self.image.as_ref(), self.directory.path())
    }
}

/// What nodes are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Network, mount, uts, ipc, pid and time namespaces.
    Namespaces,
    /// Docker containers.
    Containers,
}

impl Ground {
    /// As it stands in test names and in `HOMING_LAB`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ground::Namespaces => "namespaces",
            Ground::Containers => "containers",
        }
    }
}

/// The directory of the programs that cargo has built for this run, readable at the same path in every node.
///
/// # Errors
/// [`LabError::Directory`] when this program's own path cannot be read.
pub fn programs() -> Result<PathBuf, LabError> {
    let own = std::env::current_exe().map_err(LabError::Directory)?;
    let directory = own.parent().unwrap_or(Path::new("/"));
    let is_test = directory.file_name().is_some_and(|name| name == "deps");
    Ok(if is_test { directory.parent().unwrap_or(directory) } else { directory }.to_owned())
}

/// The `homing` command under test.
///
/// # Errors
/// As [`programs`].
pub fn homing() -> Result<PathBuf, LabError> {
    programs().map(|directory| directory.join("lab-homing"))
}
