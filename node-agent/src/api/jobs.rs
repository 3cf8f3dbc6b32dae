//! What is asked about submitted jobs.

use serde::{Deserialize, Serialize};

use crate::job::output::{Piece, Stream};
use crate::queue::{Bytes, Owner, Spec};

/// A question or an order about jobs. A job is named by its number, by `JOB_INDEX` or by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobRequest {
    /// Queue a job; answered by `Submitted`.
    Submit(Box<NewJob>),
    /// Jobs, or the tasks of one; answered by `Rows`.
    List {
        /// Only this one, task by task.
        job: Option<String>,
        /// Also those that are over.
        all: bool,
    },
    /// One job or task in one row; answered by `Row`.
    Find {
        /// Which.
        job: String,
    },
    /// A piece of a task's output; answered by `Output`.
    Output {
        /// Which.
        job: String,
        /// Which output.
        stream: Stream,
        /// From this byte on.
        offset: u64,
    },
    /// Send a signal to what runs of a job; answered by `Done`.
    Kill {
        /// Which.
        job: String,
        /// As in signal(7).
        signal: i32,
    },
    /// Nothing more of it is to start; answered by `Done`.
    Hold {
        /// Which.
        job: String,
    },
    /// It may start again; answered by `Done`.
    Resume {
        /// Which.
        job: String,
    },
    /// It is not wanted any more; answered by `Done`.
    Cancel {
        /// Which.
        job: String,
    },
    /// Something has happened to a job of this node: look at the records; answered by `Done`.
    Look,
}

/// A job as a user describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Chosen at random: the same one twice is one job.
    pub request: u128,
    /// Whatever stands here is replaced by what the kernel says of the client; so are the limits in `spec`.
    pub owner: Owner,
    /// What to run. An empty home is the node where it is submitted.
    pub spec: Spec,
    /// What must have succeeded before.
    pub after: Vec<String>,
    /// What must be over before.
    pub after_any: Vec<String>,
}

/// An answer about jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResponse {
    /// The job has this number.
    Submitted {
        /// Never used again.
        job: u64,
    },
    /// Jobs or tasks.
    Rows {
        /// Oldest first.
        rows: Vec<JobRow>,
        /// How many more there are.
        more: u32,
    },
    /// One job or task.
    Row(Box<JobRow>),
    /// Output.
    Output(Box<Output>),
    /// Done.
    Done,
}

/// A piece of a task's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The bytes.
    pub piece: Piece,
    /// Of which attempt.
    pub attempt: u32,
    /// True if there will be no more of it.
    pub over: bool,
    /// The user's own file, where homing keeps nothing.
    pub file: Option<Bytes>,
    /// What the disk did not take.
    pub dropped_bytes: u64,
}

/// A job, or a task of it, as tables and `--json` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// `71`, or `71_3`.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The command line; the program's name alone for others than owner and root.
    pub command: String,
    /// Whose it is.
    pub user: String,
    /// In one word.
    pub state: String,
    /// Its home node, if it is chosen.
    pub home: Option<String>,
    /// Where its body is, if it runs.
    pub at: Option<String>,
    /// Its pid at home, if it runs.
    pub pid: Option<u32>,
    /// The array, as it was written.
    pub array: Option<String>,
    /// Tasks that wait.
    pub waiting: u32,
    /// Tasks that start or run.
    pub running: u32,
    /// Tasks that ended with status 0.
    pub done: u32,
    /// Tasks that ended otherwise.
    pub failed: u32,
    /// Greater goes first.
    pub priority: u8,
    /// Cores that a task needs.
    pub cpus: u32,
    /// Memory that a task needs; 0 if that is not known.
    pub memory_bytes: u64,
    /// Which attempt, from 0.
    pub attempt: u32,
    /// The exit status, once it is over.
    pub code: Option<u8>,
    /// Why it waits, or how it ended.
    pub note: String,
    /// In milliseconds since 1970-01-01 UTC.
    pub submitted_unix_ms: u64,
    /// The same.
    pub started_unix_ms: Option<u64>,
    /// The same.
    pub ended_unix_ms: Option<u64>,
}

/// Rows of one answer; they fit into a frame.
pub const ROWS_MAX: usize = 1200;
