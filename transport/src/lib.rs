//! Carries: identities, QUIC endpoints, typed frames with limits.
//!
//! `transport` never learns what a message means: it moves frames between peers that have proved who they are.
#![forbid(unsafe_code)]

pub mod addr;
pub mod channel;
pub mod endpoint;
pub mod frame;
pub mod identity;
pub mod join;
pub mod memory;
pub mod version;
pub mod wire;

#[cfg(test)]
mod fuzz;

pub use addr::{Epoch, KeyHash, NodeId, ProcessId};
