//! Submitted jobs: as a home this node starts what was placed here and tells how it ended, and it finds homes for what
//! waits.
//!
//! The cluster's [queue](crate::queue) says what is to be; the [records](crate::job::record) on disk say what is. Each
//! look compares the two for one task, does at most one thing, and proposes at most one command. So it does not matter
//! when an agent dies in between: the next look begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use transport::NodeId;
use tui::model::EventLevel;

use super::log::About;
use super::state::{Agent, Event, unix_ms};
use super::{AgentError, Options, peers};
use crate::cluster::kept::kept;
use crate::cluster::{Command as ClusterCommand, Handle, ProposeError, State as ClusterState};
use crate::config::{ConfigError, Dirs};
use crate::job::launch::Launch;
use crate::job::record::{Record, Started};
use crate::queue::{Bytes, Command, Job, Task, TaskId};

mod asks;
mod output;
mod placing;
mod room;
mod rows;
mod submit;
mod tend;

use tend::{Duty, Tending};

/// What an agent needs for jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) handle: Handle,
    pub(super) state: watch::Receiver<Arc<ClusterState>>,
    /// Where the records are.
    dir: PathBuf,
    program: PathBuf,
    socket: Bytes,
    /// Tasks that are just being looked at.
    tending: BTreeSet<TaskId>,
    /// What was last done about a task: only what is new is looked at at once, the rest once a second.
    seen: BTreeMap<TaskId, Duty>,
    /// Tasks for which a home was proposed.
    pub(super) placing: BTreeMap<TaskId, NodeId>,
    /// What is known of programs of this node.
    programs: BTreeMap<TaskId, Started>,
}

impl Jobs {
    /// # Errors
    /// When the log of what is agreed cannot be used.
    pub(super) fn new(dirs: &Dirs, options: &Options) -> Result<Jobs, AgentError> {
        // Nodes that were made before there were jobs have no such directory.
        dirs.make_state()?;
        let path = dirs.state.join(LOG_FILE);
        let handle = kept(&path).map_err(|source| ConfigError::Read { path, source })?;
        Ok(Jobs {
            state: handle.state(),
            handle,
            dir: dirs.jobs(),
            program: options.program.clone(),
            socket: options.socket.as_os_str().as_bytes().to_vec(),
            tending: BTreeSet::new(),
            seen: BTreeMap::new(),
            placing: BTreeMap::new(),
            programs: BTreeMap::new(),
        })
    }

    /// What is agreed.
    pub(super) fn agreed(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.borrow())
    }
}

/// Tells the loop of everything that is agreed.
pub(super) async fn listen(mut state: watch::Receiver<Arc<ClusterState>>, events: mpsc::Sender<Event>) {
    while state.changed().await.is_ok() && events.send(Event::Agreed).await.is_ok() {}
}

/// Proposes a command of the queue.
async fn propose(handle: &Handle, command: Command) -> Result<(), ProposeError> {
    handle.propose(ClusterCommand::Queue(command)).await.map(drop)
}

impl Agent {
    pub(super) fn on_agreed(&mut self) {
        self.tend_jobs(false);
        self.place_jobs();
    }

    /// Looks at the tasks whose home this node is: those about which there is news, or all.
    pub(super) fn tend_jobs(&mut self, all: bool) {
        let agreed = self.jobs.agreed();
        let own: Vec<(TaskId, &Job, &Task)> =
            agreed.queue.active().filter(|(_, _, task)| task.state.node() == Some(self.me.id)).collect();
        self.jobs.seen.retain(|id, _| own.iter().any(|(own, _, _)| own == id));
        self.jobs.programs.retain(|id, _| own.iter().any(|(own, _, _)| own == id));
        for (id, job, task) in own {
            let duty = Duty::of(task);
            let is_news = self.jobs.seen.get(&id) != Some(&duty);
            if !(all || is_news) || !self.jobs.tending.insert(id) {
                continue;
            }
            self.jobs.seen.insert(id, duty.clone());
            let launch = Launch::of(job, id.index, task.attempt, self.jobs.socket.clone());
            let foreign_root = job.owner.uid == 0 && job.origin != self.me.id && !self.nursery.allow_root;
            let tending = Tending {
                record: Record::of(&self.jobs.dir, id, task.attempt),
                launch,
                duty,
                node: self.me.id,
                program: self.jobs.program.clone(),
                handle: self.jobs.handle.clone(),
                foreign_root,
            };
            let events = self.events.clone();
            tokio::spawn(async move {
                let program = tending.run().await;
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::JobTended { task: id, program }).await;
            });
        }
        if all {
            self.place_jobs();
            self.forget_records(&agreed);
        }
    }

    pub(super) fn on_tended(&mut self, task: TaskId, program: Option<Started>) {
        self.jobs.tending.remove(&task);
        if let Some(program) = program
            && self.jobs.programs.get(&task) != Some(&program)
            && let Some(process) = program.process()
        {
            // As `homing run` does it.
            self.care.take(&process);
            self.jobs.programs.insert(task, program);
            if let Some(job) = self.jobs.agreed().queue.job(task.job) {
                let text = format!("job {} runs as {}", job.label(task.index), process.pid);
                self.note(EventLevel::Info, About::process(&self.me.name.clone(), process.pid), text);
            }
        }
        self.tend_jobs(false);
    }

    /// Removes the records of jobs that the cluster has forgotten.
    fn forget_records(&self, agreed: &ClusterState) {
        let is_forgotten = |job: u64| agreed.queue.has_given(job) && agreed.queue.job(job).is_none();
        let forgotten: Vec<Record> = records_of(&self.jobs.dir, is_forgotten);
        if !forgotten.is_empty() {
            tokio::task::spawn_blocking(move || {
                for record in forgotten {
                    if let Err(error) = record.remove() {
                        tracing::warn!("{} stays: {error}", record.dir().display());
                    }
                }
            });
        }
    }

    /// The name of a node.
    pub(super) fn name_of(&self, id: NodeId) -> String {
        if id == self.me.id {
            return self.me.name.clone();
        }
        self.peers.members.get(id).map_or_else(|| id.to_string(), |member| member.name.clone())
    }
}

fn records_of(dir: &Path, is_wanted: impl Fn(u64) -> bool) -> Vec<Record> {
    let all = Record::all(dir).into_iter();
    all.filter(|(task, _)| is_wanted(task.job)).map(|(_, record)| record).collect()
}

/// What this node has agreed on.
const LOG_FILE: &str = "agreed.log";
