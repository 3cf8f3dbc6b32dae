//! What the dashboard shows: plain view types, also what the command line prints with `--json`.
//!
//! They know nothing of the cluster; the agent fills them. Quantities carry their unit in the name and unknown
//! ones are `None`. No field is skipped when it is encoded, so a format without field names can carry them too.

use serde::{Deserialize, Serialize};

/// The version of these types; it changes when a reader of version 1 would misread them.
pub const VIEW_VERSION: u32 = 1;

/// Samples that a load history keeps at most: five minutes at one per second.
pub const HISTORY_MAX: usize = 300;

/// Everything one agent knows at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// [`VIEW_VERSION`].
    pub v: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The node whose agent made this view.
    pub node: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub taken_at_unix_ms: u64,
    /// The members, in the order in which they are to be shown.
    pub nodes: Vec<Node>,
    /// The processes in homing's care.
    pub processes: Vec<Process>,
    /// Traffic between nodes.
    pub flows: Vec<Flow>,
    /// What happened lately, oldest first.
    pub events: Vec<LoggedEvent>,
    /// Moves under way.
    pub moves: Vec<MoveInProgress>,
}

impl Default for View {
    fn default() -> View {
        View {
            v: VIEW_VERSION,
            cluster: String::new(),
            node: String::new(),
            taken_at_unix_ms: 0,
            nodes: Vec::new(),
            processes: Vec::new(),
            flows: Vec::new(),
            events: Vec::new(),
            moves: Vec::new(),
        }
    }
}

/// One machine of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Whether it answers.
    pub state: NodeState,
    /// Busy share of all its processors, 0 to 100; `None` when not known.
    pub cpu_percent: Option<f32>,
    /// Processors.
    pub cpus: u32,
    /// Memory in use; `None` when not known.
    pub mem_used_bytes: Option<u64>,
    /// Memory it has; `None` when not known.
    pub mem_total_bytes: Option<u64>,
    /// Processes that have their home elsewhere and their body here.
    pub guests: u32,
    /// Processes that have their home here and their body elsewhere.
    pub away: u32,
    /// Round trip from this view's node; `None` for the node itself and for silent ones.
    pub rtt_ms: Option<f32>,
    /// When it was last heard of, in milliseconds since 1970-01-01 UTC; `None` if never.
    pub last_seen_unix_ms: Option<u64>,
    /// `cpu_percent` once a second, newest last, at most [`HISTORY_MAX`].
    pub load_history: Vec<f32>,
}

/// Whether a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It answers.
    Ok,
    /// It missed some answers; nothing is decided.
    Suspect,
    /// It does not answer.
    Lost,
}

impl NodeState {
    /// The word that tables show.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Ok => "ok",
            NodeState::Suspect => "suspect",
            NodeState::Lost => "lost",
        }
    }
}

/// One process, named by the pid that everyone knows: that of its home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// The pid at home.
    pub pid: u32,
    /// Its command with arguments, as far as known; may hold any character.
    pub command: String,
    /// The user's name at home, or the number when it has none.
    pub user: String,
    /// The home node.
    pub home: String,
    /// The node where its body is.
    pub at: String,
    /// What it does.
    pub state: ProcessState,
    /// Processor time of the body, 100 for one whole processor; `None` when not known.
    pub cpu_percent: Option<f32>,
    /// Threads.
    pub threads: u32,
    /// Resident memory of the body; `None` when not known.
    pub rss_bytes: Option<u64>,
    /// Forwarded system calls per second.
    pub calls_per_s: f32,
    /// Payload of those calls, both ways.
    pub call_bytes_per_s: f32,
    /// The epoch of its residence; 0 before the first move.
    pub epoch: u64,
    /// How long its last move stopped it, in microseconds; `None` before the first move.
    pub last_pause_us: Option<u64>,
    /// Completed moves.
    pub moves: u32,
}

impl Process {
    /// Its name in the cluster: a pid alone is unique at its home only.
    #[must_use]
    pub fn id(&self) -> ProcessRef {
        ProcessRef { home: self.home.clone(), pid: self.pid }
    }
}

/// Which process: the pid at its home.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// The home node.
    pub home: String,
    /// The pid there.
    pub pid: u32,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs at home, untouched.
    Home,
    /// Its body runs at a guest node.
    Away,
    /// A move is under way.
    Moving,
    /// Its body stands still until its guest node answers again.
    Frozen,
}

impl ProcessState {
    /// The word that tables show.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ProcessState::Home => "home",
            ProcessState::Away => "away",
            ProcessState::Moving => "moving",
            ProcessState::Frozen => "frozen",
        }
    }
}

/// Traffic from one node to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The node that sends.
    pub from: String,
    /// The node that receives.
    pub to: String,
    /// What is sent.
    pub kind: FlowKind,
    /// Calls or messages per second; 0 for pages.
    pub calls_per_s: f32,
    /// Payload bytes per second.
    pub bytes_per_s: f32,
}

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// System calls from a body to its deputy, with their results.
    Calls,
    /// Memory of a process on the move.
    Pages,
    /// Mail between ports.
    Mail,
}

impl FlowKind {
    /// The word that tables show.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            FlowKind::Calls => "calls",
            FlowKind::Pages => "pages",
            FlowKind::Mail => "mail",
        }
    }
}

/// Something that happened, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_unix_ms: u64,
    /// How much it matters.
    pub level: EventLevel,
    /// The process it is about, if one.
    pub process: Option<ProcessRef>,
    /// The node it is about, if one.
    pub node: Option<String>,
    /// The whole sentence: what it is about, and its reason.
    pub text: String,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    /// As wanted.
    Info,
    /// Somebody may want to act.
    Warning,
    /// Something was lost or refused.
    Error,
}

/// A move under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveInProgress {
    /// What moves.
    pub process: ProcessRef,
    /// Where the body still is.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// Pre-copy round, from 1; 0 before the first.
    pub round: u32,
    /// Bytes sent so far.
    pub bytes_sent: u64,
    /// Bytes to send in all, by the present estimate; `None` when not known.
    pub bytes_total: Option<u64>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: u64,
}

impl MoveInProgress {
    /// The share that is sent, 0 to 100; `None` when the total is not known. Never more than 99: the commit,
    /// not the last byte, ends a move.
    #[must_use]
    pub fn percent(&self) -> Option<u8> {
        let total = self.bytes_total.filter(|&total| total > 0)?;
        let percent = u128::from(self.bytes_sent) * 100 / u128::from(total);
        Some(u8::try_from(percent).unwrap_or(99).min(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moving(sent: u64, total: Option<u64>) -> MoveInProgress {
        MoveInProgress {
            process: ProcessRef { home: "n1".into(), pid: 7 },
            from: "n1".into(),
            to: "n2".into(),
            round: 1,
            bytes_sent: sent,
            bytes_total: total,
            started_unix_ms: 0,
        }
    }

    #[test]
    fn a_move_is_never_shown_as_complete() {
        for (sent, total, expected) in [
            (0, Some(10), Some(0)),
            (5, Some(10), Some(50)),
            (10, Some(10), Some(99)),
            (u64::MAX, Some(1), Some(99)),
            (5, Some(0), None),
            (5, None, None),
        ] {
            assert_eq!(moving(sent, total).percent(), expected, "{sent} of {total:?}");
        }
    }

    #[test]
    fn json_carries_the_version_and_lower_case_words() {
        let view = View { moves: vec![moving(1, None)], ..View::default() };
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["v"], 1);
        assert_eq!(json["moves"][0]["process"]["pid"], 7);
        assert_eq!(serde_json::to_value(NodeState::Suspect).unwrap(), NodeState::Suspect.word());
        assert_eq!(serde_json::to_value(ProcessState::Frozen).unwrap(), ProcessState::Frozen.word());
        assert_eq!(serde_json::to_value(FlowKind::Pages).unwrap(), FlowKind::Pages.word());
        assert_eq!(serde_json::from_value::<View>(json).unwrap(), view);
    }
}
