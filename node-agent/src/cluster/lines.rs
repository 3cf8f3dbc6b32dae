//! The connections to other agents, as agreement uses them, and what is said on their streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use transport::NodeId;
use transport::endpoint::Connection;

use super::membership::log_number;
use super::request::Proposal;
use super::rows::Message;
use super::state::Outcome;

/// What is said on a stream of [`Channel::Cluster`](transport::channel::Channel): its first frame says which of the
/// three conversations it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Talk {
    /// From server to server; more follow on the same stream. A snapshot has a stream of its own: its state is in the
    /// tails of this frame and of the following ones, and the other side says `Taken` when it has all of it.
    Message(Box<Message>),
    /// A part of a snapshot's state, in the tail.
    Piece,
    /// The end of a snapshot, and the answer to it.
    Taken,
    /// From any node to a server; answered by `Done`, `NoQuorum` or `NoServer`.
    Propose(Box<Proposal>),
    /// What came of a proposal.
    Done(Outcome),
    /// No majority agreed in time, for this reason.
    NoQuorum(String),
    /// The asked node is no server, or takes no part any more.
    NoServer,
    /// From any node to a server: tell me all that is agreed; answered by `State` and then `Entry` for ever.
    Follow,
    /// All that is agreed up to this index, in the tails of this frame and the following `Piece`s, up to `Taken`.
    State(u64),
    /// One more entry, with its index.
    Entry(u64, Option<Box<Proposal>>),
}

/// The connections of this node. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<BTreeMap<NodeId, Connection>>>);

impl Lines {
    /// From now on this connection leads to the node.
    pub fn set(&self, id: NodeId, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, connection);
    }

    /// There is no connection to the node any more.
    pub fn remove(&self, id: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// By the number in the log.
    pub(super) fn numbered(&self, number: u64) -> Option<Connection> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|(id, _)| log_number(**id) == number).map(|(_, connection)| connection.clone())
    }

    pub(super) fn all(&self) -> Vec<(NodeId, Connection)> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(id, connection)| (*id, connection.clone())).collect()
    }
}

/// Bytes of a state in one frame.
pub(super) const PIECE_BYTES: usize = 1024 * 1024;
