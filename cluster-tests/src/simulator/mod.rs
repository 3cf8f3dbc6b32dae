//! The real state machines of homing in a world of their own: one thread, virtual time, and a seed that decides everything.
//!
//! What runs in here is what the product runs: home's [`Residence`](ipc_home::residence::Residence) and
//! [`Replies`](ipc_home::replies::Replies), the guests' [`Keeper`](migration::handoff::Keeper), the agents'
//! [`Mover`](node_agent::mover::Mover), the rule of the [lease](node_agent::warden::lease). Around them stand simulated
//! bodies with threads that make calls, hands and disks that take time and fail, clocks that go wrong, and a network that
//! loses, repeats, delays and is cut. Agents, wardens and nodes die at any moment, and at named [points](Point) inside.
//!
//! Behind every step the witness looks whether what must never be is: a call executed twice, out of order, not at
//! all, or for a body that does not count; a reply to another call; an epoch granted twice; two bodies that count, or one that
//! computes on without a home; a family lost although nothing has died; a job that ends twice. In [`Mode::Liveness`] all
//! is well in the end: then one more move must be made, every program come to its end, and nobody be left.
//!
//! To join, an actor gets a variant of `Address`, its words, and a room with `hear` and `ring`; the rest is there.

mod agent;
mod body;
mod check;
mod deputy;
mod ending;
mod guest;
mod home;
mod network;
mod plan;
mod plant;
mod points;
mod random;
mod stage;
mod witness;
mod word;
mod world;

pub use plant::Bug;
pub use points::{Deed, Point};

/// What a run is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Anything may fail until the end; nothing must go wrong.
    Safety,
    /// Nothing fails any more after a while; everything must come to its end.
    Liveness,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first thing that was wrong.
    pub wrong: Option<String>,
    /// What has happened, one thing after the other.
    pub events: u64,
    /// Stands for all of it.
    pub hash: u64,
    /// Calls that were executed.
    pub calls: u64,
    /// Moves that were made.
    pub moves: u64,
    /// How often each point was hit.
    pub hits: [u64; Point::COUNT],
}

/// One run. Half of the seeds ask for progress.
#[must_use]
pub fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    world::World::new(seed, mode(seed), bug).run()
}

/// What the run of this seed is asked for.
#[must_use]
pub fn mode(seed: u64) -> Mode {
    if seed.is_multiple_of(2) { Mode::Safety } else { Mode::Liveness }
}
