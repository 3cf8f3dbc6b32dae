//! Where `homing dev` keeps its things.

use std::path::{Path, PathBuf};

use crate::config::Dirs;

/// The paths of one `homing dev`: all below the run directory, so that the next one finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    run: PathBuf,
    socket: PathBuf,
}

impl Places {
    /// Those of a run directory; `socket` is where the agent of the first node answers.
    #[must_use]
    pub fn new(run: &Path, socket: &Path) -> Places {
        Places { run: run.to_owned(), socket: socket.to_owned() }
    }

    /// The run directory.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The socket of the first node's agent: the default one of every verb, unless flags say otherwise.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Everything but that socket is in here, and is removed with it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.run.join("dev")
    }

    /// Where the keeper answers.
    #[must_use]
    pub fn keeper_socket(&self) -> PathBuf {
        self.root().join("keeper.sock")
    }

    /// The directories of a node.
    #[must_use]
    pub fn node(&self, name: &str) -> Dirs {
        let node = self.root().join(name);
        Dirs { state: node.join("state"), run: node.join("run") }
    }

    /// What a node's agent says.
    #[must_use]
    pub fn agent_log(&self, name: &str) -> PathBuf {
        self.root().join(name).join("agent.log")
    }
}

/// The name of node `number`, from 1.
#[must_use]
pub fn node_name(number: u8) -> String {
    format!("n{number}")
}
