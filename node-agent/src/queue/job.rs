//! A job and its tasks, as the cluster remembers them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use transport::NodeId;

use super::spec::Spec;
use crate::exit::JOB_LOST;

/// Who submitted a job, as the kernel said it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// A task of a job: `71`, or `71_3` in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job.
    pub job: u64,
    /// Its index in the array; 0 without one.
    pub index: u32,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number, never used again.
    pub id: u64,
    /// Who submitted it.
    pub owner: Owner,
    /// Where.
    pub origin: NodeId,
    /// What is to be run.
    pub spec: Spec,
    /// When it was submitted, in milliseconds since 1970-01-01 UTC.
    pub at_unix_ms: u64,
    /// Nothing more of it starts.
    pub held: bool,
    /// Jobs that must be over before.
    pub waits_for: BTreeSet<u64>,
    /// When its last task ended.
    pub over_at_unix_ms: Option<u64>,
    /// Tasks that are not as they were at the beginning; all others wait for their first attempt.
    pub(super) tasks: BTreeMap<u32, Task>,
    /// The first task that was never started, if there is one; those behind it may have been cancelled.
    pub(super) next: Option<u32>,
    /// How those that were never started ended, all at once, and when.
    pub(super) rest: Option<(End, u64)>,
    /// Tasks that wait for another attempt.
    pub(super) again: BTreeSet<u32>,
    pub(super) active_count: u32,
    pub(super) ended_count: u32,
    pub(super) failed_count: u32,
    pub(super) request: u128,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Which attempt this is, from 0.
    pub attempt: u32,
    /// How many of them were never started in truth.
    pub false_starts: u32,
    /// What it does.
    pub state: State,
    /// Why it is to end, if it is.
    pub cancel: Option<String>,
    /// How the attempt before this one ended.
    pub last_end: Option<End>,
}

/// What a task does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It waits for its turn.
    Waiting,
    /// Its home is chosen, and is to start it.
    Starting {
        /// Its home.
        node: NodeId,
        /// Since when.
        at_unix_ms: u64,
    },
    /// It runs.
    Running {
        /// Its home.
        node: NodeId,
        /// Its pid there.
        pid: u32,
        /// Since when.
        at_unix_ms: u64,
    },
    /// It will never run again.
    Ended {
        /// Where it ran, if it did.
        node: Option<NodeId>,
        /// How it ended.
        end: End,
        /// When.
        at_unix_ms: u64,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It ended by itself.
    Exit(u8),
    /// A signal ended it.
    Signal(i32),
    /// Its time was over.
    TimeLimit,
    /// It could not be started: `homing run` would have ended with this status.
    NotStarted {
        /// 125, 126 or 127.
        code: u8,
        /// Why.
        reason: String,
    },
    /// It was placed, but the agent died before anything was started. It does not count as an attempt.
    FalseStart,
    /// The user did not want it any more, or it could never start.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// Nobody knows how it ended.
    Lost {
        /// Why.
        reason: String,
    },
}

impl Job {
    /// How many tasks it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.spec.array.map_or(1, |array| array.count())
    }

    /// True if it has a task of this index.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.spec.array.map_or(index == 0, |array| array.contains(index))
    }

    /// What users call a task: `71`, or `71_3` in an array.
    #[must_use]
    pub fn label(&self, index: u32) -> String {
        match self.spec.array {
            Some(_) => TaskId { job: self.id, index }.to_string(),
            None => self.id.to_string(),
        }
    }

    /// How a task ended, if it has.
    #[must_use]
    pub fn end_of(&self, index: u32) -> Option<&End> {
        match self.tasks.get(&index) {
            Some(task) => task.state.end(),
            None => self.rest.as_ref().map(|(end, _)| end),
        }
    }

    /// A task that is not as it was at the beginning.
    #[must_use]
    pub fn touched(&self, index: u32) -> Option<&Task> {
        self.tasks.get(&index)
    }

    /// The tasks that are not as they were at the beginning, in order.
    pub fn all_touched(&self) -> impl Iterator<Item = (u32, &Task)> {
        self.tasks.iter().map(|(index, task)| (*index, task))
    }

    /// How many tasks start or run.
    #[must_use]
    pub fn active_count(&self) -> u32 {
        self.active_count
    }

    /// How many tasks have ended.
    #[must_use]
    pub fn ended_count(&self) -> u32 {
        self.ended_count
    }

    /// How many tasks have ended with anything but status 0.
    #[must_use]
    pub fn failed_count(&self) -> u32 {
        self.failed_count
    }

    /// How many tasks wait for their turn.
    #[must_use]
    pub fn waiting_count(&self) -> u32 {
        self.count() - self.active_count - self.ended_count
    }

    /// True if no task will run any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended_count == self.count()
    }

    /// How many tasks may start now, as far as the array's own limit goes.
    #[must_use]
    pub fn startable(&self) -> u32 {
        let at_once = self.spec.array.and_then(|array| array.at_once()).unwrap_or(u32::MAX);
        at_once.saturating_sub(self.active_count).min(self.waiting_count())
    }

    /// The tasks that wait, in the order in which they start, with the number of their next attempt.
    pub fn waiting(&self) -> impl Iterator<Item = (TaskId, u32)> {
        let again = self.again.iter().copied();
        let follow = |index: &u32| self.spec.array.and_then(|array| array.next(*index));
        let fresh = std::iter::successors(self.next, follow).filter(|index| !self.tasks.contains_key(index));
        again.chain(fresh).map(|index| {
            let attempt = self.tasks.get(&index).map_or(0, |task| task.attempt);
            (TaskId { job: self.id, index }, attempt)
        })
    }

    /// The status of the whole job, once it is over: that of its first task that failed, else 0.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        let rest = || self.rest.iter().map(|(end, _)| end);
        let ends = || self.tasks.values().filter_map(|task| task.state.end()).chain(rest());
        self.is_over().then(|| ends().find(|end| !end.is_success()).or_else(|| ends().next())).flatten()
    }
}

impl Task {
    pub(super) fn fresh() -> Task {
        Task { attempt: 0, false_starts: 0, state: State::Waiting, cancel: None, last_end: None }
    }
}

impl State {
    /// The home of a task that starts or runs.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            State::Starting { node, .. } | State::Running { node, .. } => Some(*node),
            State::Waiting | State::Ended { .. } => None,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        match self {
            State::Ended { end, .. } => Some(end),
            _ => None,
        }
    }

    /// In one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Starting { .. } => "starting",
            State::Running { .. } => "running",
            State::Ended { end, .. } => end.word(),
        }
    }
}

impl End {
    /// True for status 0 alone.
    #[must_use]
    pub fn is_success(&self) -> bool {
        *self == End::Exit(0)
    }

    /// In one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            End::Exit(0) => "done",
            End::Cancelled { .. } => "cancelled",
            End::Lost { .. } => "lost",
            _ => "failed",
        }
    }

    /// The exit status, as a shell has it.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            End::Exit(code) | End::NotStarted { code, .. } => *code,
            End::Signal(signal) => 128_u8.saturating_add(u8::try_from(*signal).unwrap_or(0)),
            End::TimeLimit => TIME_LIMIT_CODE,
            End::FalseStart => NOT_STARTED_CODE,
            End::Cancelled { .. } => CANCELLED_CODE,
            End::Lost { .. } => u8::try_from(JOB_LOST).unwrap_or(1),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(code) => write!(f, "exit status {code}"),
            End::Signal(signal) => write!(f, "ended by signal {signal}"),
            End::TimeLimit => f.write_str("its time limit was over"),
            End::NotStarted { reason, .. } => write!(f, "could not be started: {reason}"),
            End::FalseStart => f.write_str("its agent died before it was started"),
            End::Cancelled { reason } => write!(f, "cancelled: {reason}"),
            End::Lost { reason } => write!(f, "lost: {reason}"),
        }
    }
}

impl fmt::Display for TaskId {
    /// With the index; a job that is no array is shown by its number alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.job, self.index)
    }
}

impl FromStr for TaskId {
    type Err = ();

    fn from_str(text: &str) -> Result<TaskId, ()> {
        let (job, index) = text.split_once('_').ok_or(())?;
        Ok(TaskId { job: job.parse().map_err(drop)?, index: index.parse().map_err(drop)? })
    }
}

/// As of timeout(1).
pub const TIME_LIMIT_CODE: u8 = 124;

const NOT_STARTED_CODE: u8 = 125;

/// As a shell says it of a program that SIGTERM ended.
pub const CANCELLED_CODE: u8 = 143;
