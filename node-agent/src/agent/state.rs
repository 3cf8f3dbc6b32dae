//! Everything an agent knows, and the closed set of things that can happen to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use transport::NodeId;
use transport::endpoint::Connection;

use super::access::Caller;
use super::admission::Admitter;
use super::care::Care;
use super::families::Families;
use super::jobs::Jobs;
use super::log::EventLog;
use super::moves::Moving;
use super::peers::{DialError, Peers};
use super::protocol::{Hello, Machine, PeerRequest, PeerResponse, Report};
use super::sample::Sampler;
use super::wardens::{Nursery, WardenError};
use crate::api::{Request, Response};
use crate::config::Dirs;
use crate::job::record::Started;
use crate::members::Member;
use crate::mover;
use crate::mover::place::Reserve;
use crate::queue::TaskId;
use crate::warden::control::WardenStatus;

/// All that can happen to an agent.
#[derive(Debug)]
pub(super) enum Event {
    /// A second is over.
    Second,
    /// A move's deadline is over, or a peer is to be dialled again.
    Due,
    /// A client asks.
    Asked { caller: Caller, request: Request, reply: Reply },
    /// A member is connected; `dialled` if this side did it.
    PeerConnected { connection: Connection, dialled: bool },
    /// A member could not be reached.
    PeerUnreachable { id: NodeId, error: DialError },
    /// A connection with this serial number is over.
    PeerClosed { id: NodeId, serial: u64 },
    /// A member answered our `Hello`.
    PeerGreeted { id: NodeId, hello: Hello },
    /// A member asks.
    PeerAsked { id: NodeId, request: PeerRequest, reply: oneshot::Sender<PeerResponse> },
    /// Somebody asked to join and was given a certificate, or not for this reason.
    JoinerAnswered { name: String, from: SocketAddr, result: Result<(), String> },
    /// A warden was asked how its family is.
    WardenAnswered { socket: PathBuf, status: Result<WardenStatus, WardenError> },
    /// A warden's process is no more.
    WardenEnded { socket: PathBuf, pid: u32 },
    /// Something happened to a move.
    Move { ticket: u64, event: mover::Event },
    /// The cluster has agreed on something.
    Agreed,
    /// A task of this node was looked at, and this process is its program.
    JobTended { task: TaskId, program: Option<Started> },
    /// A home was proposed for a task.
    JobPlaced { task: TaskId },
    /// The agent is told to stop.
    Stop,
}

/// Where the responses to a client go. They are dropped when the client reads too slowly or is gone.
pub(super) type Reply = mpsc::Sender<Response>;

/// One node's agent. It is changed by [`Agent::handle`](super::Agent::handle) alone.
#[derive(Debug)]
pub struct Agent {
    pub(super) cluster: String,
    pub(super) me: Member,
    pub(super) dirs: Dirs,
    pub(super) machine: Machine,
    pub(super) nursery: Arc<Nursery>,
    pub(super) reserve: Reserve,
    pub(super) admitter: Admitter,
    pub(super) peers: Peers,
    pub(super) families: Families,
    pub(super) care: Care,
    pub(super) moves: BTreeMap<u64, Moving>,
    pub(super) last_ticket: u64,
    pub(super) log: EventLog,
    pub(super) sampler: Sampler,
    pub(super) report: Report,
    pub(super) load_history: Vec<f32>,
    pub(super) started: Instant,
    pub(super) jobs: Jobs,
    /// For the tasks that wait for something outside; they report back as events.
    pub(super) events: mpsc::Sender<Event>,
}

/// Now, in milliseconds since 1970-01-01 UTC.
#[must_use]
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
