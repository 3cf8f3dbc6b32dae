//! The other agents: one connection per pair, dialled again whenever it is lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use transport::NodeId;
use transport::channel::Channel;
use transport::endpoint::{AgentEndpoint, CODE_DONE, Connection, EndpointError};
use tui::model::NodeState;

use super::protocol::{Machine, PeerRequest, PeerResponse, Report};
use super::state::Event;
use crate::cluster::Part;
use crate::exit::chain;
use crate::members::{Member, Members};
use crate::mover::Refusal;

/// Who belongs to the cluster besides this node, and how they are.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) members: Members,
    known: BTreeMap<NodeId, Peer>,
    last_serial: u64,
    me: NodeId,
}

/// What is known of one other node.
#[derive(Debug)]
pub(super) struct Peer {
    connection: Option<Line>,
    dialling: bool,
    dial_at: Instant,
    backoff: Duration,
    error: Option<DialError>,
    heard_at: Option<Instant>,
    /// By its certificate.
    pub(super) name: Option<String>,
    pub(super) heard_at_unix_ms: Option<u64>,
    pub(super) machine: Option<Machine>,
    pub(super) report: Option<Report>,
    pub(super) load_history: Vec<f32>,
}

#[derive(Debug)]
struct Line {
    connection: Connection,
    serial: u64,
    dialled: bool,
    since: Instant,
}

/// Why a member could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DialError {
    /// It speaks no version that this node speaks.
    Version(String),
    /// Something else.
    Other(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (DialError::Version(reason) | DialError::Other(reason)) = self;
        f.write_str(reason)
    }
}

impl From<EndpointError> for DialError {
    fn from(error: EndpointError) -> DialError {
        match error {
            EndpointError::Version { .. } => DialError::Version(chain(&error)),
            other => DialError::Other(chain(&other)),
        }
    }
}

impl Peers {
    pub(super) fn new(me: NodeId, members: Members) -> Peers {
        Peers { members, known: BTreeMap::new(), last_serial: 0, me }
    }

    /// What is known of a node.
    pub(super) fn get(&self, id: NodeId) -> Option<&Peer> {
        self.known.get(&id)
    }

    /// What is known of a node, to be changed.
    pub(super) fn entry(&mut self, id: NodeId) -> &mut Peer {
        let smaller = id < self.me;
        self.known.entry(id).or_insert_with(|| Peer::new(smaller))
    }

    /// Takes a new connection; its serial number if it is to be used.
    ///
    /// When both sides dialled at once, both keep the connection that the node of the smaller id dialled. Later the new
    /// one wins: a node dials only if it has none, so the old one is of a former agent.
    pub(super) fn connected(
        &mut self,
        (id, name): (NodeId, &str),
        connection: &Connection,
        dialled: bool,
    ) -> Option<u64> {
        let ours_wins = self.me < id;
        self.last_serial += 1;
        let serial = self.last_serial;
        let peer = self.entry(id);
        peer.dialling = false;
        peer.name = Some(name.to_owned());
        if let Some(old) = &peer.connection {
            let at_once = old.since.elapsed() < DIALLED_AT_ONCE;
            let keep_old = at_once && old.dialled == ours_wins && dialled != ours_wins;
            let loser = if keep_old { connection } else { &old.connection };
            loser.close(CODE_DONE, "there is another connection of this pair");
            if keep_old {
                return None;
            }
        }
        peer.connection =
            Some(Line { connection: connection.clone(), serial, dialled, since: Instant::now() });
        (peer.error, peer.backoff) = (None, BACKOFF_MIN);
        Some(serial)
    }

    /// Notes the end of a connection; true if it was the one in use.
    pub(super) fn closed(&mut self, id: NodeId, serial: u64) -> bool {
        let smaller = id < self.me;
        let peer = self.entry(id);
        let Some(line) = peer.connection.take_if(|line| line.serial == serial) else { return false };
        // Were both to dial at once, each would close the other's connection, and again a millisecond later.
        let first = if smaller { DIAL_LATER } else { Duration::ZERO };
        let short_lived = line.since.elapsed() < DIALLED_AT_ONCE;
        peer.dial_at = Instant::now() + first + if short_lived { DIAL_LATER } else { Duration::ZERO };
        true
    }

    /// Notes that a node could not be reached; it is dialled again, less and less often. True if the reason is news.
    pub(super) fn unreachable(&mut self, id: NodeId, error: DialError) -> bool {
        let peer = self.entry(id);
        let news = peer.error.as_ref() != Some(&error);
        peer.dialling = false;
        peer.error = Some(error);
        peer.dial_at = Instant::now() + peer.backoff;
        peer.backoff = (peer.backoff * 2).min(BACKOFF_MAX);
        news
    }

    /// Forgets a node that was removed from the cluster, and hangs up; true if it was known.
    pub(super) fn forget(&mut self, id: NodeId) -> bool {
        if let Some(line) = self.known.remove(&id).and_then(|peer| peer.connection) {
            line.connection.close(CODE_DONE, "this node was removed from the cluster");
        }
        self.members.forget(id)
    }

    /// When [`Peers::dial`] has somebody to dial next.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        let waiting = self.known.values().filter(|peer| peer.connection.is_none() && !peer.dialling);
        waiting.map(|peer| peer.dial_at).min()
    }

    /// Dials whoever is due.
    pub(super) fn dial(&mut self, endpoint: &Arc<AgentEndpoint>, events: &mpsc::Sender<Event>) {
        let now = Instant::now();
        for Member { id, addr, .. } in self.members.iter().cloned().collect::<Vec<_>>() {
            let peer = self.entry(id);
            if peer.connection.is_some() || peer.dialling || peer.dial_at > now {
                continue;
            }
            peer.dialling = true;
            let (endpoint, events) = (Arc::clone(endpoint), events.clone());
            tokio::spawn(async move {
                let event = match endpoint.connect(addr, Some(id)).await {
                    Ok(connection) => Event::PeerConnected { connection, dialled: true },
                    Err(error) => Event::PeerUnreachable { id, error: error.into() },
                };
                // Without an agent there is nobody to tell.
                let _ = events.send(event).await;
            });
        }
    }

    /// The connection to a node, or why there is none.
    pub(super) fn line(&self, id: NodeId) -> Result<Connection, Refusal> {
        let peer = self.known.get(&id);
        if let Some(line) = peer.and_then(|peer| peer.connection.as_ref()) {
            return Ok(line.connection.clone());
        }
        Err(match peer.and_then(|peer| peer.error.clone()) {
            Some(DialError::Version(reason)) => Refusal::Version { reason },
            Some(DialError::Other(reason)) => Refusal::Unreachable { reason },
            None => Refusal::Unreachable { reason: "it is not connected".into() },
        })
    }

    /// All connections.
    pub(super) fn lines(&self) -> impl Iterator<Item = (NodeId, &Connection)> {
        self.known.iter().filter_map(|(id, peer)| Some((*id, &peer.connection.as_ref()?.connection)))
    }

    /// The name of a node of this machine, by its network namespace.
    pub(super) fn in_namespace(&self, boot_id: &str, network_namespace: u64) -> Option<String> {
        let is_it =
            |machine: &Machine| machine.boot_id == boot_id && machine.network_namespace == network_namespace;
        let (id, _) = self.known.iter().find(|(_, peer)| peer.machine.as_ref().is_some_and(is_it))?;
        Some(self.members.get(*id)?.name.clone())
    }
}

impl Peer {
    /// The side with the greater id lets the other dial first, so that two connections are rare.
    fn new(dial_later: bool) -> Peer {
        let wait = if dial_later { DIAL_LATER } else { Duration::ZERO };
        Peer {
            connection: None,
            dialling: false,
            dial_at: Instant::now() + wait,
            backoff: BACKOFF_MIN,
            error: None,
            heard_at: None,
            name: None,
            heard_at_unix_ms: None,
            machine: None,
            report: None,
            load_history: Vec::new(),
        }
    }

    /// Takes in a report.
    pub(super) fn heard(&mut self, report: Report, unix_ms: u64) {
        self.heard_at = Some(Instant::now());
        self.heard_at_unix_ms = Some(unix_ms);
        remember(&mut self.load_history, report.sample.cpu_percent);
        self.report = Some(report);
    }

    /// Whether it answers.
    pub(super) fn state(&self) -> NodeState {
        match self.heard_at.map(|at| at.elapsed()) {
            Some(silence) if silence <= SUSPECT_AFTER && self.connection.is_some() => NodeState::Ok,
            Some(silence) if silence <= LOST_AFTER => NodeState::Suspect,
            None if self.connection.is_some() => NodeState::Suspect,
            _ => NodeState::Lost,
        }
    }

    /// The round trip to it.
    pub(super) fn rtt_ms(&self) -> Option<f32> {
        self.connection.as_ref().map(|line| line.connection.rtt().as_secs_f32() * 1000.0)
    }
}

/// Asks another agent.
///
/// # Errors
/// A refusal that says why there is no answer.
pub(super) async fn ask(connection: &Connection, request: &PeerRequest) -> Result<PeerResponse, Refusal> {
    let exchange = async {
        let (mut sender, mut receiver) = connection.open(Channel::Agent).await?;
        sender.send(request, &[]).await?;
        sender.finish();
        receiver.recv::<PeerResponse>().await
    };
    let reason = match timeout(ASK_MAX, exchange).await {
        Ok(Ok(Some((response, _)))) => return Ok(response),
        Ok(Ok(None)) => "it closed the stream".into(),
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("no answer for {} s", ASK_MAX.as_secs()),
    };
    Err(Refusal::Unreachable { reason })
}

/// Reads what the other agent asks on this connection, until it is over.
pub(super) async fn serve(
    connection: Connection,
    id: NodeId,
    serial: u64,
    part: Part,
    events: mpsc::Sender<Event>,
) {
    while let Some((channel, mut sender, mut receiver)) = connection.accept().await {
        if channel == Channel::Cluster {
            tokio::spawn(part.clone().converse(id, sender, receiver));
            continue;
        }
        if channel != Channel::Agent {
            sender.reset(CODE_DONE);
            continue;
        }
        let events = events.clone();
        tokio::spawn(async move {
            let Ok(Ok(Some((request, _)))) = timeout(ASK_MAX, receiver.recv::<PeerRequest>()).await else {
                return sender.reset(CODE_DONE);
            };
            let (reply, response) = oneshot::channel();
            let asked = events.send(Event::PeerAsked { id, request, reply }).await;
            if let (Ok(()), Ok(response)) = (asked, response.await)
                && sender.send(&response, &[]).await.is_ok()
            {
                sender.finish();
            }
        });
    }
    // Without an agent there is nobody to tell.
    let _ = events.send(Event::PeerClosed { id, serial }).await;
}

/// Appends a load and drops the oldest.
pub(super) fn remember(history: &mut Vec<f32>, cpu_percent: f32) {
    if history.len() >= tui::model::HISTORY_MAX {
        history.remove(0);
    }
    history.push(cpu_percent);
}

/// An answer may include the start of a warden.
const ASK_MAX: Duration = Duration::from_secs(5);

const BACKOFF_MIN: Duration = Duration::from_millis(500);

const BACKOFF_MAX: Duration = Duration::from_secs(10);

const DIAL_LATER: Duration = Duration::from_millis(300);

/// Two connections of a pair that are made within this time were dialled by both sides at once.
const DIALLED_AT_ONCE: Duration = Duration::from_secs(1);

/// Three reports are missing.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

const LOST_AFTER: Duration = Duration::from_secs(10);
