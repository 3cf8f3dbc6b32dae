//! What can be asked of the queue.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use transport::NodeId;

use super::job::{End, Owner, TaskId};
use super::spec::Spec;
use super::{QUEUED_PER_UID_MAX, SPEC_BYTES_MAX};

/// A change of the queue. Times are those of the proposing node, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A user submits a job.
    Submit(Box<Submission>),
    /// A home is chosen for a task.
    Place {
        /// Which.
        task: TaskId,
        /// The attempt that is to begin.
        attempt: u32,
        /// Its home.
        node: NodeId,
        /// Now.
        at_unix_ms: u64,
    },
    /// The home has started it.
    Started {
        /// Which.
        task: TaskId,
        /// The attempt.
        attempt: u32,
        /// The home.
        node: NodeId,
        /// Its pid there.
        pid: u32,
        /// Now.
        at_unix_ms: u64,
    },
    /// The home says how it ended.
    Ended {
        /// Which.
        task: TaskId,
        /// The attempt.
        attempt: u32,
        /// The home.
        node: NodeId,
        /// How.
        end: End,
        /// Now.
        at_unix_ms: u64,
    },
    /// Nothing more of a job is to start.
    Hold {
        /// Which.
        job: u64,
        /// The user who asks.
        by: u32,
    },
    /// It may start again.
    Resume {
        /// Which.
        job: u64,
        /// The user who asks.
        by: u32,
    },
    /// A job, or one task of it, is not wanted any more.
    Cancel {
        /// Which.
        job: u64,
        /// Only this task.
        index: Option<u32>,
        /// The user who asks.
        by: u32,
        /// Now.
        at_unix_ms: u64,
    },
    /// A node has left the cluster for good.
    NodeGone {
        /// Which.
        node: NodeId,
        /// Now.
        at_unix_ms: u64,
    },
}

/// A job as it is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Chosen at random by whoever submits: the same one twice is one job.
    pub request: u128,
    /// Who submits.
    pub owner: Owner,
    /// Where.
    pub origin: NodeId,
    /// What.
    pub spec: Spec,
    /// Now.
    pub at_unix_ms: u64,
}

/// What a change has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The job has this number.
    Submitted {
        /// Never used again.
        job: u64,
    },
    /// Nothing more to say.
    Done,
}

/// Why the queue did not change.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refused {
    /// Nobody knows it.
    #[error("there is no job {job}")]
    NoSuchJob {
        /// The number.
        job: u64,
    },
    /// It has no such task.
    #[error("job {job} has no task {index}")]
    NoSuchTask {
        /// The job.
        job: u64,
        /// The index.
        index: u32,
    },
    /// It belongs to somebody else.
    #[error("job {job} belongs to somebody else")]
    NotYours {
        /// The job.
        job: u64,
    },
    /// Another job of the user has the name.
    #[error("your job {job} is named {name} and is not over")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        job: u64,
    },
    /// The user has submitted too much.
    #[error("a user has at most {QUEUED_PER_UID_MAX} jobs that are not over")]
    TooMany,
    /// Everybody has.
    #[error("the cluster's queue is full")]
    Full,
    /// The description is too long.
    #[error("the description of a job takes at most {SPEC_BYTES_MAX} bytes, this one {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The description makes no sense.
    #[error("{0}")]
    Senseless(String),
    /// A job that it is to wait for has failed.
    #[error("job {job}, which it is to wait for, {how}")]
    AfterFailed {
        /// Which.
        job: u64,
        /// In words.
        how: String,
    },
    /// It is over.
    #[error("job {job} is over")]
    IsOver {
        /// Which.
        job: u64,
    },
    /// Everything of it has been started.
    #[error("nothing of job {job} waits: it has been started")]
    NothingWaits {
        /// Which.
        job: u64,
    },
    /// The report is of another attempt, another node, or comes when it cannot be.
    #[error("task {task} is not in attempt {attempt} there: it is {state}")]
    Stale {
        /// Which.
        task: TaskId,
        /// The attempt that the report is of.
        attempt: u32,
        /// In one word.
        state: String,
    },
}
