//! What agents say to each other: one request and one response per stream.

use serde::{Deserialize, Serialize};
use tui::model::{Flow, LoggedEvent, MoveInProgress, Process};

use crate::job::output::{Piece, Stream};
use crate::members::Member;
use crate::mover::Refusal;
use crate::proc;
use crate::queue::TaskId;
use crate::warden::control::{Accept, Offer};
use transport::{KeyHash, ProcessId};

/// What an agent asks another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Who I am and whom I know; answered by `Hello`.
    Hello(Hello),
    /// What is going on at my node; answered by `Noted`.
    Report(Box<Report>),
    /// Would you take this body? Answered by `Refused`, empty if so.
    Check(Box<Offer>),
    /// Take this body: start a warden; answered by `Accepted` or `Refused`.
    Place(Box<Offer>),
    /// My warden of this key, of the family of this process, was killed; answered by `Noted`.
    WardenGone {
        /// The family's first process.
        process: ProcessId,
        /// The warden.
        key: KeyHash,
    },
    /// A piece of the output of a task whose home you are, for this user; answered by `Output`.
    Output {
        /// Which task.
        task: TaskId,
        /// Which attempt.
        attempt: u32,
        /// Which output.
        stream: Stream,
        /// From this byte on.
        offset: u64,
        /// The user who asks.
        by: u32,
    },
    /// Send a signal to a task whose home you are, for this user; answered by `Signalled`.
    Signal {
        /// Which task.
        task: TaskId,
        /// Which attempt.
        attempt: u32,
        /// As in signal(7).
        signal: i32,
        /// The user who asks.
        by: u32,
    },
}

/// What the other answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerResponse {
    /// To `Hello`.
    Hello(Hello),
    /// To `Report` and `WardenGone`.
    Noted,
    /// To `Place`: this warden waits.
    Accepted(Accept),
    /// To `Check` and `Place`: why not.
    Refused(Vec<Refusal>),
    /// To `Output`: the bytes and what the disk did not take, or why not.
    Output(Result<(Piece, u64), String>),
    /// To `Signal`: done, or why not.
    Signalled(Result<(), String>),
}

/// An agent introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender. Its id and name must be those of its certificate.
    pub member: Member,
    /// Where it runs.
    pub machine: Machine,
    /// Whom else it knows.
    pub members: Vec<Member>,
}

/// Tells nodes that share one machine apart: a process belongs to the node in whose network namespace it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The same on all nodes of one machine.
    pub boot_id: String,
    /// The node's network namespace there.
    pub network_namespace: u64,
}

impl Machine {
    /// Where this agent runs.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn of_this_process() -> std::io::Result<Machine> {
        Ok(Machine { boot_id: proc::boot_id(), network_namespace: proc::network_namespace(0)? })
    }
}

/// What is going on at one node, sent once a second. A lost one is made good by the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When the agent was started, in milliseconds since 1970-01-01 UTC: a greater one numbers its events anew.
    pub incarnation: u64,
    /// The node itself.
    pub sample: NodeSample,
    /// The processes in care whose home it is, with names only: command lines stay at home.
    pub processes: Vec<Process>,
    /// The bodies that it holds for other homes.
    pub bodies: Vec<BodySample>,
    /// Traffic of its processes.
    pub flows: Vec<Flow>,
    /// Moves of its processes.
    pub moves: Vec<MoveInProgress>,
    /// Its latest events with their numbers, oldest first.
    pub events: Vec<(u64, LoggedEvent)>,
}

/// A node's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeSample {
    /// Busy share of all processors, 0 to 100.
    pub cpu_percent: f32,
    /// Processors.
    pub cpus: u32,
    /// Memory in use.
    pub mem_used_bytes: u64,
    /// Memory it has.
    pub mem_total_bytes: u64,
}

/// A body's use of its guest node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BodySample {
    /// The family's first process.
    pub family: ProcessId,
    /// This process's pid at home.
    pub pid: u32,
    /// Processor time, 100 for one whole processor.
    pub cpu_percent: f32,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u32,
}
