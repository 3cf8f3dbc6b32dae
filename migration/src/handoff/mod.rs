//! What home asks of whoever keeps a family, and what is answered: the vocabulary of the handoff.
//!
//! Home alone decides. It asks one *seat* at a time for one *deed*; each seat does what it is asked at most once,
//! however often it hears of it, and answers again when it is asked again. So nothing here needs the network to keep
//! order, to deliver, or to deliver once.
//!
//! ```text
//!        the next seat (epoch n)         home                  the present seat (epoch p)
//!              │◀───── Prepare(n) ────────│
//!              │────── Prepared(n) ──────▶│
//!              │                          │────── Copy(p) ──────────▶│   the family runs on
//!              │                          │◀───── Copied(p) ─────────│
//!              │                          │────── Stop(p) ──────────▶│   every thread stands still
//!              │                          │◀───── Stopped(p) ────────│
//!              │                          │────── Take(p) ──────────▶│   the rest of the memory, registers
//!              │                          │◀───── Taken(p, digest) ──│
//!              │◀───── Accept(n, digest) ─│
//!              │────── Accepted(n, digest)▶│
//!              │                 home commits: n counts
//!              │◀───── Start(n) ──────────│
//!              │────── Runs(n) ──────────▶│
//!              │                          │────── Discard(p) ───────▶│
//! ```
//! Whatever goes wrong before the commit is undone by `GoOn(p, u)` with another new epoch u, so that a late `Stop(p)`
//! finds nobody. Whatever goes wrong after it, and before the family has done anything there, likewise.
//!
//! Home itself is a seat: what it asks of itself are its own hands' deeds.
//!
//! The wardens' messages carry the image as well. What the home warden does is what its residence says
//! (`ipc_home::residence`), and what the guest warden does is what its [`Keeper`] says.

mod keeper;

use serde::{Deserialize, Serialize};
use transport::Epoch;

pub use keeper::{Action, Event, Keeper, State};

/// Where a family may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Seat {
    /// Its home node.
    Home,
    /// A guest warden.
    Guest(Incarnation),
}

/// One life of one guest warden: a node that has been started again, or is visited again, is another one. What is
/// said to one is never heard by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Stands for everything that makes a family what it is at one instant: equal digests, equal families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub u64);

/// From home to a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ask {
    /// Make room for a family that may run here in this epoch.
    Prepare(Epoch),
    /// Send memory to the next seat while the family runs.
    Copy(Epoch),
    /// Stop every thread.
    Stop(Epoch),
    /// Send everything that is still missing there.
    Take(Epoch),
    /// Make the family out of what has come.
    Accept(Epoch, Digest),
    /// It counts here from now on: let it run.
    Start(Epoch),
    /// It goes on here after all, in an epoch of its own.
    GoOn {
        /// What it was asked to leave.
        former: Epoch,
        /// What counts from now on.
        epoch: Epoch,
    },
    /// It is elsewhere: end what is here of this epoch or an earlier one.
    Discard(Epoch),
}

/// From a seat to home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// There is room.
    Prepared(Epoch),
    /// What is left changes as fast as it can be sent.
    Copied(Epoch),
    /// Every thread stands still.
    Stopped(Epoch),
    /// Everything is on its way; this is what it must come to.
    Taken(Epoch, Digest),
    /// The family is complete.
    Accepted(Epoch, Digest),
    /// It runs.
    Runs(Epoch),
    /// It cannot be done; what was asked before still holds.
    Failed(Ask),
}

impl Ask {
    /// Whether this is an answer to it, good or bad.
    #[must_use]
    pub fn is_answered_by(self, answer: Answer) -> bool {
        match (self, answer) {
            (Ask::Prepare(asked), Answer::Prepared(epoch))
            | (Ask::Copy(asked), Answer::Copied(epoch))
            | (Ask::Stop(asked), Answer::Stopped(epoch))
            | (Ask::Take(asked), Answer::Taken(epoch, _))
            | (Ask::Start(asked) | Ask::GoOn { epoch: asked, .. }, Answer::Runs(epoch)) => asked == epoch,
            (Ask::Accept(asked, expected), Answer::Accepted(epoch, digest)) => {
                (asked, expected) == (epoch, digest)
            }
            (asked, Answer::Failed(ask)) => asked == ask,
            _ => false,
        }
    }
}
