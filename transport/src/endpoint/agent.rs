//! The endpoint of an agent: one UDP port for the nodes of the cluster and for those who want to join it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Instant;

use quinn::{Endpoint, TokioRuntime};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Mutex, mpsc};

use super::config::{self, Limits, Profile};
use super::connection::{Connection, Peer};
use super::dial::{self, dial};
use super::join_limit::JoinLimit;
use super::listener::{ACCEPTED_MAX, Destination, Listener, Refusal, Route};
use super::tasks::Tasks;
use super::tls::{self, Anchor, ClusterNode, Credentials};
use super::{CODE_BUSY, CODE_UNIDENTIFIED, CODE_VERSION, EndpointError, quiet, socket};
use crate::addr::NodeId;
use crate::identity::{AuthorityPin, NodeCertificate, NodeIdentity};
use crate::version::{Protocol, Versions};

/// Dials and accepts nodes of its cluster. Dropped, it accepts no more; its connections live on.
#[derive(Debug)]
pub struct AgentEndpoint {
    endpoint: Endpoint,
    local_addr: SocketAddr,
    chain: Vec<CertificateDer<'static>>,
    private_key: PrivateKeyDer<'static>,
    authority: CertificateDer<'static>,
    versions: Versions,
    accepted: Mutex<mpsc::Receiver<Connection>>,
    joiners: Joiners,
    _listener: Listener,
}

/// Who takes joiners: nobody, as long as there is no [`Joins`].
type Joiners = Arc<StdMutex<Option<mpsc::Sender<Connection>>>>;

/// Connections of those who want to join. Dropped, joiners are told that this node takes none.
#[derive(Debug)]
pub struct Joins {
    accepted: mpsc::Receiver<Connection>,
}

impl AgentEndpoint {
    /// Opens `addr`; port 0 lets the kernel choose. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`EndpointError::Bind`] and [`EndpointError::Key`].
    pub fn bind(identity: &NodeIdentity, addr: SocketAddr) -> Result<AgentEndpoint, EndpointError> {
        AgentEndpoint::bind_with(identity, addr, Versions::default())
    }

    /// The same with other versions than those of this build.
    ///
    /// # Errors
    /// As [`AgentEndpoint::bind`].
    pub fn bind_with(
        identity: &NodeIdentity,
        addr: SocketAddr,
        versions: Versions,
    ) -> Result<AgentEndpoint, EndpointError> {
        let authority = identity.authority_certificate();
        let credentials = Credentials { chain: identity.chain(), key: identity.private_key() };
        let offers = versions.offers(&[Protocol::Agent, Protocol::Join]);
        let tls = tls::server(credentials, tls::members_or_joiners(authority.clone())?, offers)?;
        let server = config::server(tls, Profile::Latency, Limits::AGENT, config::Pulse::default())?;

        let socket = socket::bind(addr)?;
        let addr = socket.local_addr().unwrap_or(addr);
        let endpoint = Endpoint::new(config::endpoint(), Some(server), socket, Arc::new(TokioRuntime))
            .map_err(|source| EndpointError::Bind { addr, source })?;

        let (nodes, accepted) = mpsc::channel(ACCEPTED_MAX);
        let joiners = Joiners::default();
        let listener = Listener::spawn(
            endpoint.clone(),
            Tasks::Anywhere,
            route(versions.clone(), nodes, joiners.clone()),
        );
        Ok(AgentEndpoint {
            endpoint,
            local_addr: addr,
            chain: identity.chain(),
            private_key: identity.private_key(),
            authority,
            versions,
            accepted: Mutex::new(accepted),
            joiners,
            _listener: listener,
        })
    }

    /// Where it listens. The address is the one that was bound, and so may be unspecified (`0.0.0.0`).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Dials the node at `addr`, which must belong to the cluster, and be `expected` if that is given.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Connection, EndpointError> {
        let credentials = Credentials { chain: self.chain.clone(), key: self.private_key.clone_key() };
        let verifier = ClusterNode::new(Anchor::Certificate(self.authority.clone()), expected);
        let offers = self.versions.offers(&[Protocol::Agent]);
        let tls = tls::client(Some(credentials), Arc::new(verifier), offers)?;
        let client = config::client(tls, Profile::Latency, Limits::AGENT, config::Pulse::default())?;
        let (connection, version) = dial(&self.endpoint, client, addr, &self.versions).await?;
        node_connection(connection, version, addr)
    }

    /// The next node that dialled, or `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    /// From now on takes joiners too, for as long as the result lives. An earlier result gets no more of them.
    pub fn joins(&self) -> Joins {
        let (queue, accepted) = mpsc::channel(JOINERS_MAX);
        *self.joiners.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
        Joins { accepted }
    }

    /// Closes all connections, tells the peers, and waits for that up to a second.
    pub async fn close(&self) {
        quiet(&self.endpoint).await;
    }
}

impl Joins {
    /// The next joiner, of whom nothing is known yet, or `None` once the endpoint is dropped. Cancel-safe.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.accepted.recv().await
    }
}

/// Dials a node of the cluster whose authority has this pin, to join it.
pub(crate) async fn dial_to_join(
    addr: SocketAddr,
    pin: AuthorityPin,
    versions: &Versions,
) -> Result<Connection, EndpointError> {
    let any: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let local = SocketAddr::new(any, 0);
    let endpoint = Endpoint::new(config::endpoint(), None, socket::bind(local)?, Arc::new(TokioRuntime))
        .map_err(|source| EndpointError::Bind { addr: local, source })?;
    let verifier = ClusterNode::new(Anchor::Pin(pin), None);
    let tls = tls::client(None, Arc::new(verifier), versions.offers(&[Protocol::Join]))?;
    let client = config::client(tls, Profile::Latency, Limits::AGENT, config::Pulse::default())?;
    let (connection, version) = dial(&endpoint, client, addr, versions).await?;
    node_connection(connection, version, addr)
}

fn node_connection(
    connection: quinn::Connection,
    version: u16,
    addr: SocketAddr,
) -> Result<Connection, EndpointError> {
    let peer = node(&connection).ok_or(EndpointError::WrongPeer { addr, why: super::Distrust::Missing })?;
    Ok(Connection::new(connection, peer, version))
}

fn node(connection: &quinn::Connection) -> Option<Peer> {
    let NodeCertificate { id, name } = NodeCertificate::parse(&tls::end_entity(connection)?).ok()?;
    Some(Peer::Node { id, name })
}

fn route(versions: Versions, nodes: mpsc::Sender<Connection>, joiners: Joiners) -> Arc<Route> {
    let limit = StdMutex::new(JoinLimit::default());
    Arc::new(move |connection| match dial::agreed(connection, &versions) {
        Some((Protocol::Agent, version)) => match node(connection) {
            Some(peer) => Ok(Destination { peer, version, queue: nodes.clone() }),
            None => Err(Refusal { code: CODE_UNIDENTIFIED, reason: "no certificate of a node".into() }),
        },
        Some((Protocol::Join, version)) => {
            let busy = |reason: &str| Refusal { code: CODE_BUSY, reason: reason.into() };
            let address = connection.remote_address().ip();
            if !limit.lock().unwrap_or_else(PoisonError::into_inner).admit(address, Instant::now()) {
                return Err(busy("too many attempts to join from this address"));
            }
            let joiners = joiners.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = joiners.clone().ok_or_else(|| busy("this node takes no joiners"))?;
            Ok(Destination { peer: Peer::Joiner, version, queue })
        }
        Some((Protocol::Warden, _)) | None => {
            Err(Refusal { code: CODE_VERSION, reason: versions.to_string() })
        }
    })
}

/// Joiners that wait to be taken.
const JOINERS_MAX: usize = 16;
