//! The endpoint of a warden: exactly one key is who it says, everyone else is nobody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use quinn::Endpoint;
use rustls_pki_types::CertificateDer;
use tokio::sync::{Mutex, mpsc};

use super::config::{self, Limits, Options};
use super::connection::{Connection, Peer};
use super::dial::{self, dial};
use super::listener::{ACCEPTED_MAX, Destination, Listener, Refusal, Route};
use super::tls::{self, Credentials, ExactKeys};
use super::{CODE_UNIDENTIFIED, CODE_VERSION, EndpointError, quiet, socket};
use crate::addr::KeyHash;
use crate::identity::WardenKey;
use crate::version::{Protocol, Versions};

/// Dials and accepts wardens whose keys it was told. Dropped, it accepts no more; its connections live on.
#[derive(Debug)]
pub struct WardenEndpoint {
    endpoint: Endpoint,
    local_addr: SocketAddr,
    ports: RangeInclusive<u16>,
    certificate: CertificateDer<'static>,
    private_key: rustls_pki_types::PrivateKeyDer<'static>,
    allowed: Arc<ExactKeys>,
    options: Options,
    accepted: Mutex<mpsc::Receiver<Connection>>,
    _listener: Listener,
}

impl WardenEndpoint {
    /// Opens a free port of the range, for [`Profile::Latency`](super::Profile::Latency). Must be called within a
    /// tokio runtime; one of a single thread will do.
    ///
    /// # Errors
    /// [`EndpointError::NoPort`], [`EndpointError::Bind`] and [`EndpointError::Key`].
    pub fn bind(
        key: &WardenKey,
        ip: IpAddr,
        ports: RangeInclusive<u16>,
    ) -> Result<WardenEndpoint, EndpointError> {
        WardenEndpoint::bind_with(key, ip, ports, Options::default())
    }

    /// The same with options. Who moves memory dials from a second endpoint with
    /// [`Profile::Bulk`](super::Profile::Bulk), since only a connection of its own keeps pages out of the way of
    /// calls.
    ///
    /// # Errors
    /// As [`WardenEndpoint::bind`].
    pub fn bind_with(
        key: &WardenKey,
        ip: IpAddr,
        ports: RangeInclusive<u16>,
        options: Options,
    ) -> Result<WardenEndpoint, EndpointError> {
        let allowed = Arc::new(ExactKeys::new([]));
        let credentials = Credentials { chain: vec![key.certificate()], key: key.private_key() };
        let offers = options.versions.offers(&[Protocol::Warden]);
        let tls = tls::server(credentials, allowed.clone(), offers)?;
        let server = config::server(tls, options.profile, Limits::WARDEN, options.pulse)?;

        // The key is random, so wardens that start together try different ports first.
        let [high, low, ..] = key.hash().0;
        let socket = socket::bind_in(ip, ports.clone(), u16::from_be_bytes([high, low]))?;
        let addr = socket.local_addr().unwrap_or(SocketAddr::new(ip, 0));
        let endpoint = Endpoint::new(config::endpoint(), Some(server), socket, Arc::new(options.tasks))
            .map_err(|source| EndpointError::Bind { addr, source })?;

        let (queue, accepted) = mpsc::channel(ACCEPTED_MAX);
        let listener =
            Listener::spawn(endpoint.clone(), options.tasks, route(options.versions.clone(), queue));
        Ok(WardenEndpoint {
            endpoint,
            local_addr: addr,
            ports,
            certificate: key.certificate(),
            private_key: key.private_key(),
            allowed,
            options,
            accepted: Mutex::new(accepted),
            _listener: listener,
        })
    }

    /// Where it listens. The address is the one that was bound, and so may be unspecified (`0.0.0.0`).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// If this machine has lost the address that was bound, goes on from whatever address it has now; true if it did.
    /// Connections that were dialled here live on, since their peers take a proven new address of the dialling side.
    ///
    /// # Errors
    /// [`EndpointError::NoPort`] and [`EndpointError::Bind`]; nothing has changed then.
    pub fn follow_address(&self) -> Result<bool, EndpointError> {
        let bound = self.endpoint.local_addr().unwrap_or(self.local_addr);
        if bound.ip().is_unspecified() || socket::is_of_this_machine(bound.ip()) {
            return Ok(false);
        }
        self.rebind(bound).map(|()| true)
    }

    pub(super) fn rebind(&self, bound: SocketAddr) -> Result<(), EndpointError> {
        let anywhere = match bound.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket =
            socket::bind_in(anywhere, self.ports.clone(), bound.port().wrapping_sub(*self.ports.start()))?;
        let rebound = self.endpoint.rebind(socket);
        rebound.map_err(|source| EndpointError::Bind { addr: bound, source })
    }

    /// What the peer must be told to accept.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::of_certificate(&self.certificate)
    }

    /// From now on accepts the warden with this key.
    pub fn allow(&self, key: KeyHash) {
        self.allowed.allow(key);
    }

    /// From now on accepts the warden with this key no more. Its connections live on until they are closed.
    pub fn disallow(&self, key: KeyHash) {
        self.allowed.disallow(key);
    }

    /// Dials the warden at `addr`, which must have exactly this key and must allow ours.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub async fn connect(&self, addr: SocketAddr, key: KeyHash) -> Result<Connection, EndpointError> {
        let credentials =
            Credentials { chain: vec![self.certificate.clone()], key: self.private_key.clone_key() };
        let offers = self.options.versions.offers(&[Protocol::Warden]);
        let tls = tls::client(Some(credentials), Arc::new(ExactKeys::new([key])), offers)?;
        let client = config::client(tls, self.options.profile, Limits::WARDEN, self.options.pulse)?;
        let (connection, version) = dial(&self.endpoint, client, addr, &self.options.versions).await?;
        Ok(Connection::new(connection, Peer::Warden(key), version))
    }

    /// The next warden that dialled and that is allowed, or `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    /// Closes all connections, tells the peers, and waits for that up to a second.
    pub async fn close(&self) {
        quiet(&self.endpoint).await;
    }
}

fn route(versions: Versions, queue: mpsc::Sender<Connection>) -> Arc<Route> {
    Arc::new(move |connection| {
        let Some((_, version)) = dial::agreed(connection, &versions) else {
            return Err(Refusal { code: CODE_VERSION, reason: versions.to_string() });
        };
        let Some(certificate) = tls::end_entity(connection) else {
            return Err(Refusal { code: CODE_UNIDENTIFIED, reason: "no certificate".into() });
        };
        let peer = Peer::Warden(KeyHash::of_certificate(&certificate));
        Ok(Destination { peer, version, queue: queue.clone() })
    })
}
