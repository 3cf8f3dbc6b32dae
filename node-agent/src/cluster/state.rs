//! What is agreed, and the closed set of commands that change it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::drain::{self, Drains};
use super::membership::{self, Membership};
use super::request::{Proposal, Recent, Request, Seen};
use crate::queue::{self, Queue};

/// Everything that is agreed: the result of the first [`State::applied`] entries of the log, the same at every node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Who belongs to the cluster.
    pub membership: Membership,
    /// Who is to be emptied.
    pub drains: Drains,
    /// What is submitted.
    pub queue: Queue,
    applied: u64,
    recent: Recent,
}

/// A change of what is agreed, one variant for each room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Who belongs to the cluster.
    Membership(membership::Command),
    /// Who is to be emptied.
    Drain(drain::Command),
    /// What is submitted.
    Queue(queue::Command),
}

/// What a command gave. It is remembered for a while, and so small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done, and there is nothing to tell.
    Done,
    /// It is about jobs.
    Queue(queue::Reply),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refused {
    /// It is about members.
    #[error(transparent)]
    Membership(membership::Refused),
    /// It is about jobs.
    #[error(transparent)]
    Queue(queue::Refused),
    /// The command reached the log so late that nobody can tell whether an earlier copy of it was applied.
    #[error("it was repeated too late to tell whether it was done")]
    Late,
}

/// What came of a command.
pub type Outcome = Result<Reply, Refused>;

impl State {
    /// How many entries of the log this is the result of.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Applies the entry at `index` of the log. A repetition changes nothing and gives what the first one gave.
    ///
    /// # Errors
    /// Why the command changed nothing.
    pub fn apply(&mut self, index: u64, Proposal { request, command }: Proposal) -> Outcome {
        self.skip_to(index);
        let outcome = match self.recent.seen(index, &request) {
            Seen::Applied(outcome) => return outcome,
            Seen::Late => return Err(Refused::Late),
            Seen::Never => self.change(command),
        };
        self.recent.remember(index, request, outcome.clone());
        outcome
    }

    /// Passes over an entry of the log that holds no command.
    pub fn skip_to(&mut self, index: u64) {
        assert!(index > self.applied, "entry {index} comes after {}", self.applied);
        self.applied = index;
    }

    /// What came of a request, if it is remembered.
    #[must_use]
    pub fn outcome(&self, request: &Request) -> Option<Outcome> {
        match self.recent.seen(0, request) {
            Seen::Applied(outcome) => Some(outcome),
            Seen::Never | Seen::Late => None,
        }
    }

    fn change(&mut self, command: Command) -> Outcome {
        match command {
            Command::Membership(command) => {
                let removed = match &command {
                    membership::Command::Remove { id } => Some(*id),
                    _ => None,
                };
                self.membership.apply(command).map_err(Refused::Membership)?;
                if let Some(id) = removed {
                    self.drains.forget(id);
                    let gone = queue::Command::NodeGone { node: id, at_unix_ms: 0 };
                    self.queue.apply(gone).map_err(Refused::Queue)?;
                }
                Ok(Reply::Done)
            }
            Command::Drain(command) => {
                self.drains.apply(command);
                Ok(Reply::Done)
            }
            Command::Queue(command) => self.queue.apply(command).map(Reply::Queue).map_err(Refused::Queue),
        }
    }
}

#[cfg(test)]
mod tests;
