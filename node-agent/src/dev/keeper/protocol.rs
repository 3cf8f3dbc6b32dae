//! What the front of `homing dev` and its keeper say to each other.

use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// From the keeper to a front. The first word tells a front that comes by the socket where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromKeeper {
    /// Another front, this process, holds the nodes.
    Held {
        /// Its pid.
        by: u32,
    },
    /// The nodes' front is gone; they are held by whoever reads this.
    Orphaned,
    /// The nodes that this front asked for are up.
    Ready,
    /// They could not be made, and nothing of them is left.
    Failed(Failure),
    /// A sentence for the user.
    Said(String),
    /// Everything has ended, and nothing is left.
    Stopped,
}

/// From a front to the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToKeeper {
    /// Bring every process home, then end.
    Stop,
}
