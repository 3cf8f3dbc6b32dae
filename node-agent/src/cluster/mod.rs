//! What the cluster agrees on: who belongs to it, who is drained, which jobs there are.
//!
//! ```text
//! whoever decides --Command--> Handle --> driver --> agreed log --> State::apply, the same everywhere
//!                <---Reply---                                        `--> Handle::state, at every node
//! ```
//!
//! [`State`] is a pure function of the agreed log: no clock, no randomness, no files. A time that matters stands in the
//! command. A command is proposed under a [`Request`], and is applied at most once however often it is repeated.
//! Whoever only wants to know reads [`Handle::state`], which needs nobody else; without a majority of the voters nothing
//! new is agreed, and everything that was agreed stays known.

pub mod alone;
pub mod drain;
pub mod handle;
pub mod kept;
pub mod membership;
pub mod request;
pub mod state;

pub use handle::{Handle, ProposeError};
pub use request::{Proposal, Request};
pub use state::{Command, Outcome, Refused, Reply, State};
