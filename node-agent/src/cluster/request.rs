//! Proposals that can be repeated safely: each has a request id, and counts once.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use super::state::{Command, Outcome};

/// Names one proposal for all time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    id: [u8; 16],
    /// The length of the log that the proposer had seen. A repetition that reaches the log more than [`WINDOW`]
    /// entries later is refused, so that only the results of the last [`WINDOW`] entries must be remembered.
    born: u64,
}

/// What goes into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Under which it counts once.
    pub request: Request,
    /// What is to be done.
    pub command: Command,
}

impl Request {
    /// A new one, by somebody who has seen the first `born` entries of the log.
    #[must_use]
    pub fn new(born: u64) -> Request {
        let mut id = [0; 16];
        // Up to 256 bytes come whole or not at all, and not at all only before the kernel is up.
        getrandom(&mut id, GetRandomFlags::empty()).expect("the kernel gives random bytes");
        Request { id, born }
    }

    /// The one of these sixteen bytes, for tests that must be the same each time.
    #[must_use]
    pub fn numbered(number: u128, born: u64) -> Request {
        Request { id: number.to_le_bytes(), born }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:032x}, {})", u128::from_le_bytes(self.id), self.born)
    }
}

/// What came of the last [`WINDOW`] entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recent {
    outcomes: BTreeMap<Request, Outcome>,
    /// By the index at which each was applied, oldest first.
    order: VecDeque<(u64, Request)>,
}

/// Whether a proposal is to be applied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new.
    Never,
    /// It was applied, with this result.
    Applied(Outcome),
    /// It comes too late to tell.
    Late,
}

impl Recent {
    /// What is known of a request that stands at `index` of the log.
    pub(super) fn seen(&self, index: u64, request: &Request) -> Seen {
        match self.outcomes.get(request) {
            Some(outcome) => Seen::Applied(outcome.clone()),
            None if index > request.born.saturating_add(WINDOW) => Seen::Late,
            None => Seen::Never,
        }
    }

    pub(super) fn remember(&mut self, index: u64, request: Request, outcome: Outcome) {
        while self.order.front().is_some_and(|(applied, _)| *applied + WINDOW < index) {
            if let Some((_, old)) = self.order.pop_front() {
                self.outcomes.remove(&old);
            }
        }
        self.order.push_back((index, request));
        self.outcomes.insert(request, outcome);
    }
}

/// For how many entries of the log a result is remembered.
pub const WINDOW: u64 = 4096;
