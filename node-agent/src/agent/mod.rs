//! The agent: one loop over one closed set of events. It decides; wardens work.
//!
//! Nothing blocks the loop: whatever waits (a dial, a question, the start of a warden) is a task that reports back as
//! an event. The agent may be killed at any time: wardens, and so moved programs, go on without it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, RwLock, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use transport::endpoint::{AgentEndpoint, EndpointError, Peer};
use transport::identity::{IdentityError, NodeIdentity};
use transport::version::Versions;
use tui::model::EventLevel;

use crate::config::{ConfigError, Dirs, NodeFile, Ports, read_json};
use crate::members::{Member, Members};
use crate::mover::place::Reserve;
use admission::Admitter;
use care::Care;
use families::Families;
use log::{About, EventLog};
use peers::Peers;
use protocol::{Machine, NodeSample, Report};
use sample::Sampler;
use state::{Event, unix_ms};
use wardens::Nursery;

mod access;
mod admission;
mod asks;
mod book;
mod care;
mod conversation;
mod deaths;
mod families;
mod local;
mod log;
mod moves;
mod peers;
pub mod protocol;
mod report;
mod sample;
mod state;
mod wardens;
mod welcome;
mod why;

pub use book::{Book, BookError};
pub use state::Agent;
pub use welcome::Welcome;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's directories.
    pub dirs: Dirs,
    /// Where it answers the command line.
    pub socket: PathBuf,
    /// UDP ports of its wardens.
    pub ports: Ports,
    /// Whether processes of uid 0 may move from and to this node.
    pub allow_root: bool,
    /// The lease of its processes that are away, in seconds.
    pub lease_s: u32,
    /// What it does not offer to guests.
    pub reserve: Reserve,
    /// Which protocol versions it speaks with other agents.
    pub versions: Versions,
    /// The `homing` binary, for wardens.
    pub program: PathBuf,
}

/// Serves this node until SIGTERM or SIGINT.
///
/// # Errors
/// When the node is in no cluster, another agent serves it already, or a socket cannot be opened.
pub async fn serve(options: Options) -> Result<(), AgentError> {
    let node: NodeFile = read_json(&options.dirs.node_file())?
        .ok_or_else(|| AgentError::NoNode { state: options.dirs.state.clone() })?;
    let identity = NodeIdentity::load(&options.dirs.identity())?;
    options.dirs.make_run()?;
    let socket = local::bind(&options.socket).await?;
    let endpoint = AgentEndpoint::bind_with(&identity, node.listen, options.versions.clone())
        .map_err(|source| AgentError::Listen { addr: node.listen, source })?;
    let endpoint = Arc::new(endpoint);

    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let mut agent = Agent::new(&options, &node, &identity, events.clone())?;
    tokio::spawn(local::serve(socket, events.clone()));
    tokio::spawn(accept_peers(Arc::clone(&endpoint), events.clone()));
    tokio::spawn(admission::serve(Arc::clone(&endpoint), agent.admitter.clone(), events.clone()));
    let mut stops = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())].into_iter();
    while let Some(mut stop) = stops.next().transpose().map_err(AgentError::Signals)? {
        let events = events.clone();
        tokio::spawn(async move {
            stop.recv().await;
            events.send(Event::Stop).await
        });
    }
    tracing::info!(
        "{} of {} serves at {}, UDP {}",
        node.name,
        node.cluster,
        options.socket.display(),
        node.listen
    );
    agent.run(queue, &endpoint).await;
    // The next agent also removes a socket that nobody serves.
    let _ = std::fs::remove_file(&options.socket);
    endpoint.close().await;
    Ok(())
}

impl Agent {
    fn new(
        options: &Options,
        node: &NodeFile,
        identity: &NodeIdentity,
        events: mpsc::Sender<Event>,
    ) -> Result<Agent, AgentError> {
        let dirs = options.dirs.clone();
        let me = Member { id: identity.id(), name: node.name.clone(), addr: node.listen };
        let nursery = Nursery {
            program: options.program.clone(),
            dir: dirs.wardens(),
            ip: node.listen.ip(),
            ports: options.ports.clone(),
            node_name: node.name.clone(),
            node_id: me.id,
            allow_root: options.allow_root,
            lease_s: options.lease_s,
            guest_memory_bytes: options.reserve.guest_memory_bytes,
            starting: Mutex::new(()),
            births: RwLock::new(()),
        };
        let report = Report {
            incarnation: unix_ms(),
            sample: NodeSample::default(),
            processes: Vec::new(),
            bodies: Vec::new(),
            flows: Vec::new(),
            moves: Vec::new(),
            events: Vec::new(),
        };
        let members = Members::load(&dirs.members_file())?;
        Ok(Agent {
            cluster: node.cluster.clone(),
            machine: Machine::of_this_process().map_err(AgentError::Machine)?,
            nursery: Arc::new(nursery),
            reserve: options.reserve.clone(),
            admitter: Admitter::load(&dirs, &node.cluster, me.clone(), &members)?,
            peers: Peers::new(me.id, members),
            families: Families::default(),
            care: Care::load(dirs.run.join("care.json"))?,
            moves: std::collections::BTreeMap::new(),
            last_ticket: 0,
            log: EventLog::default(),
            sampler: Sampler::new().map_err(AgentError::Sampler)?,
            report,
            load_history: Vec::new(),
            started: Instant::now(),
            me,
            dirs,
            events,
        })
    }

    async fn run(&mut self, mut queue: mpsc::Receiver<Event>, endpoint: &Arc<AgentEndpoint>) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.next_deadline().into_iter().chain(self.peers.next_dial()).min();
            let overdue = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = queue.recv() => event.unwrap_or(Event::Stop),
                _ = seconds.tick() => Event::Second,
                () = overdue => Event::Due,
            };
            if matches!(event, Event::Stop) {
                return;
            }
            self.handle(event);
            self.peers.dial(endpoint, &self.events);
        }
    }

    /// Takes in what happened: the only place where an agent changes.
    fn handle(&mut self, event: Event) {
        match event {
            Event::Second => self.on_second(),
            Event::Due => self.tick_moves(),
            Event::Asked { caller, request, reply } => self.on_asked(caller, request, reply),
            Event::PeerConnected { connection, dialled } => self.on_connected(&connection, dialled),
            Event::PeerUnreachable { id, error } => self.on_unreachable(id, error),
            Event::PeerClosed { id, serial } => self.on_closed(id, serial),
            Event::PeerGreeted { id, hello } => self.on_hello(id, hello),
            Event::PeerAsked { id, request, reply } => self.on_peer_asked(id, request, reply),
            Event::JoinerAnswered { name, from, result } => self.on_joiner(&name, from, result),
            Event::WardenAnswered { socket, status } => self.on_warden_answered(&socket, status),
            Event::WardenEnded { socket, pid } => self.on_warden_ended(&socket, pid),
            Event::Move { ticket, event } => self.on_move(ticket, event),
            Event::Stop => {}
        }
    }

    fn on_joiner(&mut self, name: &str, from: SocketAddr, result: Result<(), String>) {
        match result {
            Ok(()) => {
                let text = format!("{name} joined from {}", from.ip());
                self.note(EventLevel::Info, About::node(name), text);
            }
            Err(reason) => {
                let text = format!("{} asked to join and was refused: {reason}", from.ip());
                self.note(EventLevel::Warning, About::default(), text);
            }
        }
    }

    fn note(&mut self, level: EventLevel, about: About, text: impl Into<String>) {
        self.log.note(unix_ms(), level, about, text);
    }
}

async fn accept_peers(endpoint: Arc<AgentEndpoint>, events: mpsc::Sender<Event>) {
    while let Some(connection) = endpoint.accept().await {
        if matches!(connection.peer(), Peer::Node { .. })
            && events.send(Event::PeerConnected { connection, dialled: false }).await.is_err()
        {
            return;
        }
    }
}

/// Why an agent cannot serve.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The machine is in no cluster.
    #[error("this machine is in no cluster: {} holds no node", state.display())]
    NoNode {
        /// The state directory.
        state: PathBuf,
    },
    /// A file of the node cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's key or certificate cannot be used.
    #[error("cannot use the node's identity")]
    Identity(#[from] IdentityError),
    /// Another agent serves this node.
    #[error("an agent already answers at {}", socket.display())]
    AlreadyServed {
        /// Where.
        socket: PathBuf,
    },
    /// The local socket cannot be opened.
    #[error("cannot open {}", socket.display())]
    Socket {
        /// Which.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The UDP port cannot be opened.
    #[error("cannot listen at UDP {addr}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: EndpointError,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// `/proc` does not tell where this process is.
    #[error("cannot read /proc/self/ns/net")]
    Machine(#[source] io::Error),
    /// `/proc` does not tell the load.
    #[error("cannot read the load of this machine")]
    Sampler(#[source] sysinfo::Error),
}

/// Events that wait for the loop; whoever brings more waits.
const EVENTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
