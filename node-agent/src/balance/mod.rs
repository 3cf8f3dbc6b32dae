//! Which process runs where: the policy, as pure functions and small state machines.
//!
//! Nothing here reads a clock, a socket or a random device: time is a [`Duration`](std::time::Duration) on the caller's
//! monotonic clock, what is known of nodes and processes is handed in, and so is every random number. Agents and the
//! simulator of `cluster-tests` run this very code.
//!
//! ```text
//!   a program starts     placement::rank ──▶ ask the best target ──▶ desk: its true load ──▶ taken, or the next one
//!   every half second    migration::rank ──▶        "            ──▶        "            ──▶        "
//!   too little memory    usher::rank     ──▶        "            ──▶        "            ──▶        "
//!   drain, owner         evict::Eviction ──▶ one target for each, home if there is none
//! ```
//!
//! A load is measured in processors: `demand` is how many processors the runnable threads of a node or of a process
//! would keep busy, so a node with 8 processors and a demand of 12 has a *stretch* of 1.5: everything takes one and a
//! half times as long there. Work is measured in CPU-seconds of a processor of speed 1, memory in MiB.
//!
//! What no function here does: count a process twice, prefer a node because it is symmetric to do so, or move anything
//! whose gain does not exceed the price of the move under the numbers of *both* nodes.

pub mod brake;
pub mod decision;
pub mod desk;
pub mod evict;
pub mod journey;
pub mod load;
pub mod migration;
pub mod owner;
pub mod placement;
pub mod profile;
pub mod random;
pub mod sends;
pub mod ties;
pub mod tunables;
pub mod usher;

#[cfg(test)]
mod invariants;

pub use decision::{Cause, Decision, Verdict};
pub use load::{BadInput, Doors, NodeLoad, NodeNumber};
pub use random::Random;
pub use ties::{Distance, Peer, SameDistance, Ties};
pub use tunables::Tunables;
