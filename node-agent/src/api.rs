//! What the command line asks its agent, and what it hears, over the agent's socket.
//!
//! Both sides first send a [`Greeting`]. Then the client asks one [`Request`] at a time and reads [`Response`]s up to
//! the one that ends the request; only `Progress` does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tui::model::{LoggedEvent, View};

use crate::exit::Failure;
use crate::warden::control::MoveReport;
use jobs::{JobRequest, JobResponse};

pub mod client;
pub mod jobs;

/// The version of these types. Both ends are the same binary, except while it is being replaced.
pub const VERSION: u32 = 1;

/// The first frame each way; this type never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The sender's program version, for messages.
    pub program: String,
}

impl Greeting {
    /// What this binary says.
    #[must_use]
    pub fn ours() -> Greeting {
        Greeting { version: VERSION, program: env!("CARGO_PKG_VERSION").into() }
    }
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Nodes, processes, flows, events; answered by `View`.
    View {
        /// Also the processes that are not in homing's care.
        all: bool,
    },
    /// Take the asking process into care, before it becomes the user's program; answered by `Registered`.
    Register,
    /// Move a process; answered by `Moved`, `Plan` or `Started`, with `Progress` before.
    Move(MoveRequest),
    /// Where a process can move; answered by `Why`.
    Why {
        /// The pid at home.
        pid: u32,
        /// Only this node.
        node: Option<String>,
    },
    /// What happened since; answered by `Events`.
    Events {
        /// The number that the last answer gave; 0 for all that is kept.
        after: u64,
    },
    /// Make a join token; answered by `Token`.
    TokenCreate {
        /// How long it holds.
        ttl: Duration,
    },
    /// The tokens that can be used; answered by `Tokens`.
    TokenList,
    /// Make a token useless; answered by `Revoked`.
    TokenRevoke {
        /// Its id.
        id: String,
    },
    /// About submitted jobs; answered by `Job`.
    Job(JobRequest),
}

/// Which process goes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRequest {
    /// The pid at home.
    pub pid: u32,
    /// Where to.
    pub to: Target,
    /// Only check.
    pub dry_run: bool,
    /// Answer when the move is done, not when it began.
    pub wait: bool,
}

/// A destination as the user names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The process's home node, whichever it is.
    Home,
    /// This node.
    Node(String),
}

impl Target {
    /// Understands `home` and node names.
    #[must_use]
    pub fn parse(text: &str) -> Target {
        if text == "home" { Target::Home } else { Target::Node(text.into()) }
    }
}

/// What an agent answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To `View`.
    View(Box<View>),
    /// To `Register`.
    Registered,
    /// To `Move`, while it is under way.
    Progress {
        /// Pre-copy round, from 1; 0 before the first.
        round: u32,
        /// Bytes sent so far.
        bytes_sent: u64,
    },
    /// To `Move`: done.
    Moved {
        /// Where the process was.
        from: String,
        /// In figures.
        report: MoveReport,
    },
    /// To `Move`: the process is there already, nothing was done.
    AlreadyThere {
        /// Where.
        at: String,
    },
    /// To `Move` with `dry_run`: it would be done.
    Plan(Plan),
    /// To `Move` without `wait`: it began.
    Started {
        /// Where the process is.
        from: String,
        /// Where it goes.
        to: String,
    },
    /// To `Why`.
    Why(WhyReport),
    /// To `Events`.
    Events {
        /// Oldest first.
        events: Vec<LoggedEvent>,
        /// What to ask after the next time.
        next: u64,
    },
    /// To `TokenCreate`.
    Token {
        /// The token, shown once.
        token: String,
        /// The address that a joiner dials.
        addr: String,
    },
    /// To `TokenList`.
    Tokens(Vec<TokenInfo>),
    /// To `TokenRevoke`.
    Revoked,
    /// To anything.
    Failed(Failure),
    /// To `Job`.
    Job(JobResponse),
}

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where the process is.
    pub from: String,
    /// Where it would go.
    pub to: String,
    /// Its resident bytes; `None` for a way home, which is always open.
    pub memory_bytes: Option<u64>,
    /// Processes that would move together.
    pub processes: Option<u32>,
    /// Threads that would move together.
    pub threads: Option<u32>,
}

/// Where a process can move, and what stands against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    /// The pid at home.
    pub pid: u32,
    /// The command name.
    pub command: String,
    /// The home node.
    pub home: String,
    /// Where the body is.
    pub at: String,
    /// What holds it wherever it would go; empty if nothing.
    pub holds: Vec<Reason>,
    /// Node by node.
    pub nodes: Vec<NodeAnswer>,
    /// System calls that the body asked for and that homing refuses away from home, with their count.
    pub refused_calls: Vec<(String, u64)>,
}

/// Whether a node would take a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// The node.
    pub node: String,
    /// Why not; empty if it would.
    pub reasons: Vec<Reason>,
}

/// One thing that stands against a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What it is.
    pub text: String,
    /// What would change it, if anything.
    pub fix: Option<String>,
}

/// A join token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Names it.
    pub id: String,
    /// When it stops to hold, in seconds since 1970-01-01 UTC.
    pub expires_unix_s: u64,
}
