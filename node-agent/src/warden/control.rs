//! What an agent says to a warden and hears from it, over the warden's socket in the run directory.
//!
//! One frame each way at a time: the agent asks, the warden answers; `Progress` frames may come before the answer
//! of a move. Wardens outlive agents: a restarted agent connects to the sockets that it finds.

use std::net::SocketAddr;

use migration::cpu::CpuNeeds;
use serde::{Deserialize, Serialize};
use transport::{Epoch, KeyHash, ProcessId};

/// What the home warden offers to a guest's agent, which passes it to the guest warden that it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The family's first process.
    pub process: ProcessId,
    /// The home node's name, for messages and events.
    pub home_name: String,
    /// The command name (`/proc/PID/comm`), for messages and events.
    pub command: String,
    /// The epoch that home will grant if the move commits.
    pub epoch: Epoch,
    /// The home warden's key: the guest warden accepts exactly this one.
    pub home_key: KeyHash,
    /// What the body needs from its node.
    pub needs: Needs,
}

/// What a body needs from a guest node, checked before anything is frozen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Needs {
    /// Resident bytes now.
    pub memory_bytes: u64,
    /// Processes of the family.
    pub processes: u32,
    /// Threads of the family.
    pub threads: u32,
    /// The user at home.
    pub uid: u32,
    /// Processor features and state layout.
    pub cpu: CpuNeeds,
}

/// A guest warden is up and waits for the home warden.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// Where it listens (UDP).
    pub addr: SocketAddr,
    /// Its key.
    pub key: KeyHash,
}

/// An agent's request to a home or guest warden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWarden {
    /// Home: look at the process without stopping it; answered by `Offer` or `Refused`.
    Prepare,
    /// Home: move the family to the node whose warden answered `Accept`; answered by `Moved` or `Failed`.
    Move {
        /// The node's name, for messages and events.
        node: String,
        /// Its warden.
        accept: Accept,
    },
    /// Home: bring the family home; answered by `Moved` or `Failed`.
    Recall,
    /// Home and guest: answered by `Status`.
    Status,
    /// Home and guest: the other warden was killed; answered by `Status`.
    PeerGone {
        /// Its key: an earlier or later one is not meant.
        key: KeyHash,
    },
    /// Home and guest: this node has restarted, and nothing of what ran there is left; answered by `Status`.
    NodeGone {
        /// Its name.
        node: String,
    },
}

/// A warden's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromWarden {
    /// To `Prepare`.
    Offer(Offer),
    /// To `Prepare`: what cannot move, with its reasons; the program was not touched.
    Refused(Vec<String>),
    /// While a move is under way.
    Progress {
        /// Pre-copy round, from 1; 0 before the first.
        round: u32,
        /// Bytes sent so far.
        bytes: u64,
    },
    /// The move is done.
    Moved(MoveReport),
    /// The move did not happen.
    Failed {
        /// What failed, where, why, what to do next.
        reason: String,
        /// The program goes on where it was; if not, it has ended.
        goes_on: bool,
    },
    /// To `Status`.
    Status(WardenStatus),
}

/// One completed move in figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MoveReport {
    /// The epoch that began.
    pub epoch: Epoch,
    /// The node the family is at now.
    pub at: String,
    /// Bytes on the wire.
    pub bytes_sent: u64,
    /// Bytes resident at the freeze.
    pub bytes_resident: u64,
    /// Pre-copy rounds.
    pub rounds: u32,
    /// From the first stopped thread to the first running one, in microseconds.
    pub pause_us: u64,
    /// From the request to the end, in microseconds.
    pub total_us: u64,
}

/// A warden's family, as `ps` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WardenStatus {
    /// The warden's own process.
    pub pid: u32,
    /// Its key.
    pub key: KeyHash,
    /// `home` or `guest`.
    pub role: WardenRole,
    /// The family's first process.
    pub process: ProcessId,
    /// The home node's name.
    pub home_name: String,
    /// Where the family is; equals `home_name` when it is at home.
    pub at: String,
    /// Of the current residence.
    pub epoch: Epoch,
    /// True while a move is under way.
    pub moving: bool,
    /// The family's processes, first one first.
    pub processes: Vec<ProcessStatus>,
    /// Calls forwarded since the warden started.
    pub calls: u64,
    /// Payload bytes of those calls, both ways.
    pub call_bytes: u64,
    /// Calls that were refused with ENOSYS, by name with their count: what `why` tells.
    pub refused_calls: Vec<(String, u64)>,
}

/// One process of a family.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The pid at home.
    pub pid: u32,
    /// Its pid as the warden's own node sees it: the deputy at home, the body at the guest.
    pub local_pid: u32,
    /// `/proc/PID/comm`.
    pub command: String,
    /// Threads.
    pub threads: u32,
}

/// Which end of a family a warden keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WardenRole {
    /// Traces the deputy, grants epochs.
    Home,
    /// Traces the body.
    Guest,
}
