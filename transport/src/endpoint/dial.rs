//! Dialling: a connection counts only once the peer has accepted it.
//!
//! In TLS 1.3 the dialling side is done before the other has seen its certificate. So the accepting side says
//! [`WELCOME`] on a stream of its own once it has identified its peer, and the dialling side waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{ClientConfig, ConnectionError, Endpoint};
use tokio::time::timeout;

use super::EndpointError;
use crate::version::{Protocol, Versions};

/// Dials `addr` and waits for its welcome. Also returns the version that both sides speak.
pub(super) async fn dial(
    endpoint: &Endpoint,
    config: ClientConfig,
    addr: SocketAddr,
    versions: &Versions,
) -> Result<(quinn::Connection, u16), EndpointError> {
    let connecting = endpoint
        .connect_with(config, addr, SERVER_NAME)
        .map_err(|source| EndpointError::Dial { addr, source })?;
    let welcomed = timeout(DIAL_TIME_MAX, async {
        let connection = connecting.await?;
        welcomed(&connection).await?;
        Ok(connection)
    });
    let connection = welcomed
        .await
        .map_err(|_| EndpointError::Unanswered { addr })?
        .map_err(|error| EndpointError::from_handshake(addr, versions, error))?;
    match agreed(&connection, versions) {
        Some((_, version)) => Ok((connection, version)),
        // The peer should have closed the connection instead of a welcome.
        None => Err(EndpointError::Version { addr, ours: versions.clone(), theirs: "unknown".into() }),
    }
}

/// What the two sides agreed on, `None` if they share no version.
pub(super) fn agreed(connection: &quinn::Connection, versions: &Versions) -> Option<(Protocol, u16)> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    versions.agreed(&data.protocol?)
}

/// Tells the dialling side that it is accepted.
pub(super) async fn welcome(connection: &quinn::Connection) -> Result<(), ConnectionError> {
    let mut stream = connection.open_uni().await?;
    if stream.write_all(&[WELCOME]).await.is_err() {
        return Err(connection.closed().await);
    }
    // The byte is on its way; a connection that is lost now is noticed by whoever uses it.
    let _ = stream.finish();
    Ok(())
}

async fn welcomed(connection: &quinn::Connection) -> Result<(), ConnectionError> {
    let mut stream = connection.accept_uni().await?;
    let mut byte = [0];
    match stream.read_exact(&mut byte).await {
        Ok(()) if byte == [WELCOME] => Ok(()),
        Ok(()) => {
            connection.close(super::CODE_UNIDENTIFIED.into(), b"no welcome");
            Err(connection.closed().await)
        }
        Err(_) => Err(connection.closed().await),
    }
}

/// Longest that dialling takes, the welcome included.
pub(super) const DIAL_TIME_MAX: Duration = Duration::from_secs(5);

/// QUIC wants a name; nobody looks at it, since peers are known by their keys.
const SERVER_NAME: &str = "homing";

/// The accepting side's only byte outside of the channels.
const WELCOME: u8 = 1;
