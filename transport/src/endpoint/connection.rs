//! One connection to a peer that is known.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::CODE_UNKNOWN_CHANNEL;
use crate::addr::{KeyHash, NodeId};
use crate::channel::Channel;
use crate::frame::{FrameError, FrameReceiver, FrameSender};

/// A connection to a peer that has proved who it is. Clones are handles to the same connection, which ends when one
/// closes it, when the peer does, or when the last handle and stream are dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    quic: quinn::Connection,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    peer: Peer,
    version: u16,
    /// A stream that the peer opened and that has not told its channel yet; kept here when `accept` is cancelled.
    unnamed: Mutex<Option<Unnamed>>,
}

#[derive(Debug)]
struct Unnamed {
    sender: SendStream,
    receiver: RecvStream,
    deadline: Instant,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The node of the cluster with this id and name.
    Node {
        /// From its key.
        id: NodeId,
        /// From its certificate.
        name: String,
    },
    /// The warden with this key.
    Warden(KeyHash),
    /// Someone who wants to join and has proved nothing yet.
    Joiner,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This side closed it.
    #[error("closed by this side")]
    Here,
    /// The peer closed it.
    #[error("closed by the peer: {reason} (code {code})")]
    Peer {
        /// What the peer gave as its code.
        code: u64,
        /// What the peer gave as its reason.
        reason: String,
    },
    /// No sign of life for too long.
    #[error("no sign of life from the peer")]
    TimedOut,
    /// Something broke.
    #[error("connection lost")]
    Lost(#[source] ConnectionError),
}

impl Connection {
    pub(super) fn new(quic: quinn::Connection, peer: Peer, version: u16) -> Connection {
        Connection { quic, shared: Arc::new(Shared { peer, version, unnamed: Mutex::new(None) }) }
    }

    /// Opens a stream for `channel`. Waits while the peer allows no more streams. The channel's byte leaves together
    /// with a frame that is sent at once.
    ///
    /// # Errors
    /// [`FrameError::Write`] if the connection is gone.
    pub async fn open(&self, channel: Channel) -> Result<(FrameSender, FrameReceiver), FrameError> {
        let (mut sender, receiver) =
            self.quic.open_bi().await.map_err(|error| FrameError::Write(error.into()))?;
        let named = sender.write_all(&[channel.into()]).await;
        named.map_err(|error| FrameError::Write(error.into()))?;
        Ok((FrameSender::new(sender), FrameReceiver::new(receiver)))
    }

    /// The next stream that the peer opened, or `None` once the connection is over. A stream for no known channel
    /// is reset with [`CODE_UNKNOWN_CHANNEL`] and skipped. Cancel-safe.
    pub async fn accept(&self) -> Option<(Channel, FrameSender, FrameReceiver)> {
        let mut unnamed = self.shared.unnamed.lock().await;
        loop {
            if unnamed.is_none() {
                let (sender, receiver) = self.quic.accept_bi().await.ok()?;
                *unnamed = Some(Unnamed { sender, receiver, deadline: Instant::now() + NAMING_TIME_MAX });
            }
            let stream = unnamed.as_mut()?;
            let mut first = [0];
            let read = timeout_at(stream.deadline, stream.receiver.read(&mut first)).await;
            let Unnamed { mut sender, mut receiver, .. } = unnamed.take()?;
            let byte = if matches!(read, Ok(Ok(Some(_)))) { first[0] } else { 0 };
            if let Ok(channel) = Channel::try_from(byte) {
                return Some((channel, FrameSender::new(sender), FrameReceiver::new(receiver)));
            }
            // The stream may be gone already, which is what is wanted.
            let _ = sender.reset(CODE_UNKNOWN_CHANNEL.into());
            let _ = receiver.stop(CODE_UNKNOWN_CHANNEL.into());
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// The version of the protocol that both sides speak.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.shared.version
    }

    /// Where the peer is now; it may change its address and keep the connection.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// The smoothed round-trip time.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// UDP payload bytes sent, including everything that QUIC adds and repeats.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.quic.stats().udp_tx.bytes
    }

    /// UDP payload bytes received.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.quic.stats().udp_rx.bytes
    }

    /// Ends the connection at once: frames that the peer has not read yet may be lost. The peer sees the code and
    /// the reason in its [`Closed`].
    pub fn close(&self, code: u32, reason: &str) {
        self.quic.close(code.into(), reason.as_bytes());
    }

    /// Why the connection is over, if it is.
    #[must_use]
    pub fn end(&self) -> Option<Closed> {
        self.quic.close_reason().map(Closed::from)
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) -> Closed {
        self.quic.closed().await.into()
    }
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Closed {
        match error {
            ConnectionError::LocallyClosed => Closed::Here,
            ConnectionError::TimedOut => Closed::TimedOut,
            ConnectionError::ApplicationClosed(close) => Closed::Peer {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            other => Closed::Lost(other),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Node { id, name } => write!(f, "node {name} ({id})"),
            Peer::Warden(key) => write!(f, "warden {key}"),
            Peer::Joiner => f.write_str("joiner"),
        }
    }
}

/// A stream that was opened and does not tell its channel for this long is reset, so that it cannot hold up others.
const NAMING_TIME_MAX: Duration = Duration::from_secs(5);
