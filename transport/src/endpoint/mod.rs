//! Endpoints and connections: QUIC between peers that have proved who they are.
//!
//! TLS 1.3 with certificates on both sides and no way around it, except for one that a
//! [joiner](Peer::Joiner) has none yet; no resumption and no 0-RTT, so nothing can be
//! replayed. A dialled connection is handed out only after the peer has accepted this side too (it says so with
//! one byte), and an accepted one only after its peer was identified.

use std::time::Duration;

use tokio::time::timeout;

mod admission;
mod agent;
mod config;
mod connection;
mod datagrams;
mod dial;
mod error;
mod join_limit;
mod listener;
mod low_delay;
mod socket;
mod tasks;
mod tls;
mod warden;

pub use agent::{AgentEndpoint, Joins};
pub use config::{Options, Profile, Pulse};
pub use connection::{Closed, Connection, Peer};
pub use error::{Distrust, EndpointError};
pub use tasks::Tasks;
pub use warden::WardenEndpoint;

pub(crate) use agent::dial_to_join;

/// The connection ends as agreed.
pub const CODE_DONE: u32 = 0;

/// A stream was reset since its first byte names no channel.
pub const CODE_UNKNOWN_CHANNEL: u32 = 1;

/// The connection is refused: the two sides share no version. The reason lists the refusing side's versions.
pub const CODE_VERSION: u32 = 2;

/// The connection is refused: its peer shows no certificate of a node.
pub const CODE_UNIDENTIFIED: u32 = 3;

/// The connection is refused: nobody takes it at the moment.
pub const CODE_BUSY: u32 = 4;

/// Closes an endpoint and waits, within reason, until its peers know.
async fn quiet(endpoint: &quinn::Endpoint) {
    endpoint.close(CODE_DONE.into(), b"endpoint closed");
    // A peer that is gone will not answer; its connection ends without it.
    let _ = timeout(QUIET_TIME_MAX, endpoint.wait_idle()).await;
}

/// Longest that closing an endpoint takes.
const QUIET_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
