//! The queue of submitted jobs: a deterministic state machine without clock, agreed upon by the cluster.
//!
//! [`Queue::apply`] is the only way to change it; times travel inside commands. It says *what* is to run and what has
//! become of it; agents look at it and do it. A [job](Job) has one [task](Task), or an array of them:
//!
//! ```text
//!            Place             Started            Ended
//!  waiting ---------> starting -------> running ---------> ended: done, failed, cancelled or lost
//!     ^  \               |  \______________|_____________^
//!     |   \              |                 |
//!     |    \__ Cancel ___|_________________|____________ended: cancelled
//!     |__________________|_________________|
//!          failed, and may be tried again: the next attempt
//! ```
//!
//! What is started has an attempt number; a report of another attempt, or of another node, is refused. So a task is at
//! one node at a time, and the next attempt can only begin when home has said that the last one is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use transport::NodeId;

mod array;
mod command;
mod job;
mod progress;
mod shared;
mod spec;
mod submit;
#[cfg(test)]
mod tests;

pub use array::{ARRAY_TASKS_MAX, Array};
pub use command::{Command, Refused, Reply, Submission};
pub use job::{CANCELLED_CODE, End, Job, Owner, State, TIME_LIMIT_CODE, Task, TaskId};
pub(crate) use spec::check_name;
pub use spec::{After, Bytes, Home, ProgramSpec, ResourceLimit, Setting, Spec};

/// All jobs that the cluster knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Shared between copies of the queue: a copy is made for each change, and most jobs are as they were.
    #[serde(with = "shared")]
    jobs: BTreeMap<u64, Arc<Job>>,
    /// The number of the last job.
    last: u64,
    /// Which submission became which job: a repeated one is answered, not done again.
    requests: BTreeMap<u128, u64>,
    /// Jobs that are not over.
    live: BTreeSet<u64>,
    /// Tasks that are starting or running.
    active: BTreeSet<TaskId>,
    /// Who waits for a job.
    waiting_for: BTreeMap<u64, BTreeSet<u64>>,
    users: BTreeMap<u32, User>,
}

/// What a user has in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    /// Jobs that are not over.
    live: usize,
    /// Their names.
    names: BTreeMap<String, u64>,
    /// Jobs that are over, by the time when they were.
    over: BTreeSet<(u64, u64)>,
}

impl Queue {
    /// Changes the queue, or leaves it exactly as it was and says why.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn apply(&mut self, command: Command) -> Result<Reply, Refused> {
        match command {
            Command::Submit(submission) => self.submit(*submission),
            Command::Place { task, attempt, node, at_unix_ms } => self.place(task, attempt, node, at_unix_ms),
            Command::Started { task, attempt, node, pid, at_unix_ms } => {
                self.started(task, (attempt, node), pid, at_unix_ms)
            }
            Command::Ended { task, attempt, node, end, at_unix_ms } => {
                self.ended(task, (attempt, node), end, at_unix_ms)
            }
            Command::Hold { job, by } => self.set_held(job, by, true),
            Command::Resume { job, by } => self.set_held(job, by, false),
            Command::Cancel { job, index, by, at_unix_ms } => self.cancel(job, index, by, at_unix_ms),
            Command::NodeGone { node, at_unix_ms } => Ok(self.node_gone(node, at_unix_ms)),
        }
    }

    /// A job.
    #[must_use]
    pub fn job(&self, id: u64) -> Option<&Job> {
        self.jobs.get(&id).map(Arc::as_ref)
    }

    /// All jobs, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values().map(Arc::as_ref)
    }

    /// Jobs that are not over, oldest first.
    pub fn live(&self) -> impl Iterator<Item = &Job> {
        self.live.iter().filter_map(|id| self.job(*id))
    }

    /// The latest job of this name that `uid` may touch; one that is not over goes first.
    #[must_use]
    pub fn named(&self, name: &str, uid: u32) -> Option<&Job> {
        let is_it = |job: &&Job| job.spec.name.as_deref() == Some(name) && job.owner.uid == uid;
        let live = self.users.get(&uid).and_then(|user| self.job(*user.names.get(name)?));
        live.or_else(|| self.jobs().rev().find(is_it))
    }

    /// True if there was ever such a job: one that is known no more is over for long.
    #[must_use]
    pub fn has_given(&self, id: u64) -> bool {
        (1..=self.last).contains(&id)
    }

    /// Tasks that are starting or running, with their state.
    pub fn active(&self) -> impl Iterator<Item = (TaskId, &Job, &Task)> {
        self.active.iter().filter_map(|id| {
            let job = self.job(id.job)?;
            Some((*id, job, job.tasks.get(&id.index)?))
        })
    }

    /// What may start now, in the order in which it should: by priority, then by age.
    ///
    /// Each entry tells how many of a job's tasks may start at most, and an iterator of them comes from
    /// [`Job::waiting`].
    #[must_use]
    pub fn ready(&self) -> Vec<(&Job, u32)> {
        let mut ready: Vec<(&Job, u32)> = self
            .live()
            .filter(|job| !job.held && job.waits_for.is_empty())
            .filter_map(|job| Some((job, job.startable())).filter(|(_, count)| *count > 0))
            .collect();
        ready.sort_by_key(|(job, _)| (std::cmp::Reverse(job.spec.priority), job.id));
        ready
    }

    fn own(&self, id: u64, by: u32) -> Result<&Job, Refused> {
        let job = self.job(id).ok_or(Refused::NoSuchJob { job: id })?;
        if by != 0 && by != job.owner.uid {
            return Err(Refused::NotYours { job: id });
        }
        Ok(job)
    }

    fn set_held(&mut self, id: u64, by: u32, held: bool) -> Result<Reply, Refused> {
        let job = self.own(id, by)?;
        if job.is_over() {
            return Err(Refused::IsOver { job: id });
        }
        if held && job.waiting_count() == 0 {
            return Err(Refused::NothingWaits { job: id });
        }
        if let Some(job) = self.job_mut(id) {
            job.held = held;
        }
        Ok(Reply::Done)
    }

    fn job_mut(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&id).map(Arc::make_mut)
    }

    /// A node will not come back: what it ran is lost.
    fn node_gone(&mut self, node: NodeId, at_unix_ms: u64) -> Reply {
        let there: Vec<(TaskId, u32, u64)> = self
            .active()
            .filter_map(|(id, _, task)| match task.state {
                State::Starting { node: home, at_unix_ms }
                | State::Running { node: home, at_unix_ms, .. }
                    if home == node =>
                {
                    Some((id, task.attempt, at_unix_ms))
                }
                _ => None,
            })
            .collect();
        for (task, attempt, since_unix_ms) in there {
            let end = End::Lost { reason: "its home node has left the cluster".into() };
            // It is active, at this node, in this attempt.
            let _ = self.ended(task, (attempt, node), end, at_unix_ms.max(since_unix_ms));
        }
        Reply::Done
    }
}

/// Jobs of one user that are not over.
pub const QUEUED_PER_UID_MAX: usize = 10_000;

/// Jobs of all users, with those that are over and still remembered.
pub const JOBS_MAX: usize = 50_000;

/// Jobs of one user that are over and still remembered.
pub const OVER_PER_UID_MAX: usize = 1000;

/// For this long a job that is over is remembered in any case: a submission may still be repeated.
pub const OVER_KEPT_MIN_MS: u64 = 600_000;

/// What the description of one job may take when it is encoded.
pub const SPEC_BYTES_MAX: usize = 256 * 1024;

/// Jobs that one job may wait for.
pub const AFTER_MAX: usize = 64;

/// Attempts that one task may be given.
pub const RETRIES_MAX: u32 = 1000;

/// How often a task is started again that was never started in truth, since an agent died just then.
pub const FALSE_STARTS_MAX: u32 = 5;

/// Bytes of a job's name.
pub const NAME_BYTES_MAX: usize = 64;

/// The most important jobs have this priority.
pub const PRIORITY_MAX: u8 = 100;

/// Unless another one is given.
pub const PRIORITY: u8 = 50;
