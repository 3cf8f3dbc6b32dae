//! What is said between a node's first process and the one that started it.
//!
//! The starter gives the [`NodeSpec`] on the command line. The node answers with one JSON line per [`Report`] on its
//! standard output; it waits for one line on its standard input after [`Report::Created`], which says that its
//! interface is there, and ends, with every process below it, when that input ends.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Its name, which becomes its host name.
    pub name: String,
    /// Who makes its namespaces.
    pub walls: Walls,
    /// The address of its interface [`NODE_INTERFACE`].
    pub address: Address,
    /// A root of its own; without one the node sees this machine's files, through mounts of its own.
    pub root: Option<RootSpec>,
    /// Files to write once the root is there.
    pub files: Vec<FileSpec>,
    /// A TCP port of its 127.0.0.1 where it tells its name to whoever connects.
    pub name_port: Option<u16>,
    /// What to start there.
    pub command: Option<CommandSpec>,
}

/// Who makes a node's namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Walls {
    /// The node itself: net, mount, uts, ipc, pid and time.
    Namespaces {
        /// Seconds by which its monotonic and boot-time clocks are ahead of this machine's.
        clock_ahead_s: i64,
    },
    /// A container engine, which has started it as process 1.
    Container,
}

/// An IPv4 address in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: Ipv4Addr,
    /// Length of the network's prefix in bits.
    pub prefix: u8,
}

/// A root file system in memory, with this machine's programs and a copy of its `/etc`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSpec {
    /// An empty directory to mount it on.
    pub at: PathBuf,
    /// Further directories of this machine, readable at the same path.
    pub shared: Vec<PathBuf>,
}

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Where; its directory exists.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// A program to be started below the node's first process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Where its standard output and error go, at the end of the file.
    pub log: PathBuf,
}

/// What a node reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Its namespaces exist, in those of process `init` (as seen by the reporting process).
    Created {
        /// Process 1 of the node.
        init: u32,
    },
    /// All that the specification names is done.
    Ready,
    /// It could not be made.
    Failed {
        /// What failed and why, causes included.
        reason: String,
    },
    /// The command has ended.
    CommandEnded {
        /// As a shell shows it: the exit code, or 128 and the signal.
        code: i32,
    },
}

/// The hidden verb of the `homing` command whose only argument is a [`NodeSpec`] in JSON.
pub const NODE_INIT_VERB: &str = "node-init";

/// Name of the interface that every node sees.
pub const NODE_INTERFACE: &str = "eth0";
