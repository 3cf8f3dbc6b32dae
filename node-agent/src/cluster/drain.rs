//! Which nodes are to be emptied: the intent, agreed, so that every node heeds it and no restart forgets it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use transport::NodeId;

/// The nodes that take no guests and no jobs, and give away what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains(BTreeMap<NodeId, Drain>);

/// Why and since when a node is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// When it was asked for, in seconds since 1970-01-01 UTC.
    pub since_unix_s: u64,
    /// By when it should be empty, if somebody said so.
    pub deadline_unix_s: Option<u64>,
}

/// A change of the drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Empty this node.
    Start {
        /// Which.
        node: NodeId,
        /// Since when and until when.
        drain: Drain,
    },
    /// Use this node again; nothing happens if it is used.
    Stop {
        /// Which.
        node: NodeId,
    },
}

impl Drains {
    /// The drain of a node, if it is to be emptied.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Drain> {
        self.0.get(&node)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Drain)> {
        self.0.iter().map(|(node, drain)| (*node, drain))
    }

    pub(super) fn apply(&mut self, command: Command) {
        match command {
            Command::Start { node, drain } => drop(self.0.insert(node, drain)),
            Command::Stop { node } => self.forget(node),
        }
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.0.remove(&node);
    }
}
