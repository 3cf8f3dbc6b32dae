//! The accepting side: bounded handshakes in the background, identified peers out.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::admission::{Admission, Slot, Verdict};
use super::connection::{Connection, Peer};
use super::tasks::Tasks;
use super::{CODE_BUSY, dial};

/// Says who a handshaked peer is and who takes its connection.
pub(super) type Route = dyn Fn(&quinn::Connection) -> Result<Destination, Refusal> + Send + Sync;

/// Where an identified peer goes.
pub(super) struct Destination {
    pub(super) peer: Peer,
    pub(super) version: u16,
    pub(super) queue: mpsc::Sender<Connection>,
}

/// Why a handshaked peer is sent away.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) reason: String,
}

/// Accepts for an endpoint until it is dropped or the endpoint is closed.
#[derive(Debug)]
pub(super) struct Listener {
    // Dropping the set ends the task, and with it the handshakes that are under way.
    _task: JoinSet<()>,
}

impl Listener {
    /// Starts to accept; must be called within a tokio runtime.
    pub(super) fn spawn(endpoint: Endpoint, tasks: Tasks, route: Arc<Route>) -> Listener {
        let mut task = JoinSet::new();
        tasks.add(&mut task, accept(endpoint, tasks, route));
        Listener { _task: task }
    }
}

async fn accept(endpoint: Endpoint, tasks: Tasks, route: Arc<Route>) {
    let admission = Admission::default();
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = handshakes.join_next() => continue,
        };
        let Some(incoming) = incoming else {
            return;
        };
        match admission.knock(incoming.remote_address().ip(), incoming.remote_address_validated()) {
            Verdict::Enter(slot) => {
                tasks.add(&mut handshakes, handshake(incoming, slot, Arc::clone(&route)));
            }
            Verdict::Retry => {
                // It fails only for an address that is validated, and this one is not.
                let _ = incoming.retry();
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

async fn handshake(incoming: Incoming, slot: Slot, route: Arc<Route>) {
    let addr = incoming.remote_address();
    match timeout(HANDSHAKE_TIME_MAX, identify(incoming, &*route)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%addr, %error, "peer not accepted"),
        Err(_) => debug!(%addr, "peer not accepted: handshake took too long"),
    }
    drop(slot);
}

async fn identify(incoming: Incoming, route: &Route) -> Result<(), quinn::ConnectionError> {
    let connection = incoming.accept()?.await?;
    let refuse = |code: u32, reason: &str| connection.close(code.into(), reason.as_bytes());
    match route(&connection) {
        Ok(Destination { peer, version, queue }) => match queue.reserve().await {
            Ok(place) => {
                dial::welcome(&connection).await?;
                place.send(Connection::new(connection, peer, version));
            }
            Err(_) => refuse(CODE_BUSY, "nobody takes connections of this kind here"),
        },
        Err(Refusal { code, reason }) => {
            debug!(addr = %connection.remote_address(), reason, "peer refused");
            refuse(code, &reason);
        }
    }
    Ok(())
}

/// Accepted connections that wait to be taken, per kind of peer.
pub(super) const ACCEPTED_MAX: usize = 64;

/// Longest that a handshake takes, until the connection is taken.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
