//! Why an endpoint could not be opened or a peer not be reached.

use std::io;
use std::net::{IpAddr, SocketAddr};

use quinn::{ConnectionError, TransportErrorCode};
use rustls::AlertDescription;

use super::dial::DIAL_TIME_MAX;
use super::{CODE_BUSY, CODE_UNIDENTIFIED, CODE_VERSION};
use crate::version::Versions;

/// Why an endpoint could not be opened or a peer not be reached.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Every port of the range is taken.
    #[error("no free UDP port on {ip} from {first} to {last}: widen the range of ports")]
    NoPort {
        /// The address that was to be bound.
        ip: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The socket could not be opened.
    #[error("cannot open UDP {addr}")]
    Bind {
        /// The address that was to be bound.
        addr: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// TLS does not take our key and certificate.
    #[error("cannot use this key and certificate")]
    Key(#[source] rustls::Error),
    /// The address cannot be dialled from this endpoint.
    #[error("cannot dial {addr}")]
    Dial {
        /// The peer's address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: quinn::ConnectError,
    },
    /// Nobody answered.
    #[error("no answer from UDP {addr} within {} s: is it running, and does a firewall let UDP through?", DIAL_TIME_MAX.as_secs())]
    Unanswered {
        /// The peer's address.
        addr: SocketAddr,
    },
    /// Whoever answers there is not the peer that was expected; nothing was sent to it.
    #[error("{addr} is not the expected peer: it shows {why}")]
    WrongPeer {
        /// The peer's address.
        addr: SocketAddr,
        /// What it showed.
        why: Distrust,
    },
    /// The peer does not accept us.
    #[error("{addr} refuses this side: it was shown {why}")]
    Refused {
        /// The peer's address.
        addr: SocketAddr,
        /// What it says that we showed.
        why: Distrust,
    },
    /// No common version.
    #[error("{addr} speaks version {theirs} of the protocol and this side {ours}: upgrade the older one")]
    Version {
        /// The peer's address.
        addr: SocketAddr,
        /// What we offered, newest first.
        ours: Versions,
        /// What the peer says it speaks.
        theirs: String,
    },
    /// The peer takes no more connections for now.
    #[error("{addr} takes no more connections at the moment: {reason}; try again later")]
    Busy {
        /// The peer's address.
        addr: SocketAddr,
        /// Its words.
        reason: String,
    },
    /// The connection broke while it was being made.
    #[error("connection to {addr} lost in the handshake")]
    Lost {
        /// The peer's address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: ConnectionError,
    },
}

/// What is wrong with a certificate that was shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Another key than the one that was announced.
    #[error("another key than the announced one")]
    Key,
    /// A certificate that the cluster's authority did not sign.
    #[error("a certificate of another cluster")]
    Authority,
    /// A certificate that is not valid now.
    #[error("a certificate that is expired or not yet valid (compare the clocks)")]
    Expired,
    /// No certificate.
    #[error("no certificate of a node")]
    Missing,
    /// Something else, in the words of TLS or of the peer.
    #[error("a bad certificate ({0})")]
    Other(String),
}

impl EndpointError {
    /// Sorts what QUIC reports about a connection that was being made.
    pub(super) fn from_handshake(addr: SocketAddr, ours: &Versions, error: ConnectionError) -> EndpointError {
        match error {
            ConnectionError::TimedOut => EndpointError::Unanswered { addr },
            ConnectionError::TransportError(ref local) => match distrust(local.code, &local.reason) {
                Some(why) => EndpointError::WrongPeer { addr, why },
                None => EndpointError::Lost { addr, source: error },
            },
            ConnectionError::ConnectionClosed(ref close) => {
                let reason = String::from_utf8_lossy(&close.reason);
                match distrust(close.error_code, &reason) {
                    Some(why) => EndpointError::Refused { addr, why },
                    None if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                        EndpointError::Busy { addr, reason: "too many handshakes".into() }
                    }
                    None => EndpointError::Lost { addr, source: error },
                }
            }
            ConnectionError::ApplicationClosed(ref close) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                match u32::try_from(close.error_code.into_inner()) {
                    Ok(CODE_VERSION) => EndpointError::Version { addr, ours: ours.clone(), theirs: reason },
                    Ok(CODE_UNIDENTIFIED) => EndpointError::Refused { addr, why: Distrust::Missing },
                    Ok(CODE_BUSY) => EndpointError::Busy { addr, reason },
                    _ => EndpointError::Lost { addr, source: error },
                }
            }
            other => EndpointError::Lost { addr, source: other },
        }
    }
}

/// What a TLS alert says about a certificate, `None` if it is about something else.
fn distrust(code: TransportErrorCode, words: &str) -> Option<Distrust> {
    let alert = u64::from(code).checked_sub(CRYPTO_CODES_START).and_then(|alert| u8::try_from(alert).ok())?;
    match AlertDescription::from(alert) {
        AlertDescription::AccessDenied => Some(Distrust::Key),
        AlertDescription::UnknownCA => Some(Distrust::Authority),
        AlertDescription::CertificateExpired => Some(Distrust::Expired),
        AlertDescription::CertificateRequired => Some(Distrust::Missing),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => Some(Distrust::Other(words.to_owned())),
        _ => None,
    }
}

/// QUIC reports TLS alert `n` as code `0x100 + n` (RFC 9001, 4.8).
const CRYPTO_CODES_START: u64 = 0x100;
