//! Finds homes for tasks that wait.
//!
//! A job with a home of its own is placed by that home, a job that may be anywhere by the node where it was submitted,
//! or in its absence by the first one that answers. Two who place one task at once do no harm: the queue takes the first.

use transport::NodeId;
use tui::model::NodeState;

use super::room::{self, Room};
use super::{Agent, Event, propose, unix_ms};
use crate::cluster::State as ClusterState;
use crate::exit::chain;
use crate::queue::{Command, Home, Job, TaskId};

impl Agent {
    /// Proposes a home for every task that may start and for which there is room.
    pub(super) fn place_jobs(&mut self) {
        let agreed = self.jobs.agreed();
        self.jobs.placing.retain(|id, _| agreed.queue.job(id.job).is_some_and(|job| !job.is_over()));
        let mut rooms = self.rooms(&agreed);
        let mut chosen: Vec<(TaskId, u32, NodeId)> = Vec::new();
        for (job, count) in agreed.queue.ready() {
            let mut left = usize::try_from(count).unwrap_or(usize::MAX);
            let own = self.is_placed_here(job, &rooms);
            for (id, attempt) in job.waiting() {
                if left == 0 || chosen.len() >= PLACED_AT_ONCE_MAX {
                    break;
                }
                left -= 1;
                if self.jobs.placing.contains_key(&id) {
                    continue;
                }
                // What others are about to place takes its room here, too: it goes first if it matters more.
                let Ok(home) = room::take(&job.spec, &mut rooms) else { break };
                if own {
                    chosen.push((id, attempt, home));
                }
            }
        }
        for (task, attempt, node) in chosen {
            self.jobs.placing.insert(task, node);
            let (handle, events) = (self.jobs.handle.clone(), self.events.clone());
            tokio::spawn(async move {
                let command = Command::Place { task, attempt, node, at_unix_ms: unix_ms() };
                if let Err(error) = propose(&handle, command).await {
                    tracing::debug!("job {task} was not placed: {}", chain(&error));
                }
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::JobPlaced { task }).await;
            });
        }
    }

    pub(in crate::agent) fn on_placed(&mut self, task: TaskId) {
        self.jobs.placing.remove(&task);
    }

    /// The nodes, without the room that tasks take.
    pub(super) fn rooms(&self, agreed: &ClusterState) -> Vec<Room> {
        let own = Room {
            id: self.me.id,
            name: self.me.name.clone(),
            is_up: true,
            is_known: true,
            cores: self.report.sample.cpus.max(1),
            cores_free: i64::from(self.report.sample.cpus.max(1)),
            memory_bytes: self.report.sample.mem_total_bytes,
            memory_free_bytes: free(self.report.sample.mem_total_bytes, self.report.sample.mem_used_bytes),
        };
        let others = self.peers.members.iter().map(|member| {
            let peer = self.peers.get(member.id);
            let sample = peer.and_then(|peer| peer.report.as_ref()).map(|report| report.sample);
            let heard = sample.filter(|sample| sample.cpus > 0);
            let sample = sample.unwrap_or_default();
            Room {
                id: member.id,
                name: member.name.clone(),
                is_up: heard.is_some() && peer.is_some_and(|peer| peer.state() == NodeState::Ok),
                is_known: heard.is_some(),
                cores: sample.cpus,
                cores_free: i64::from(sample.cpus),
                memory_bytes: sample.mem_total_bytes,
                memory_free_bytes: free(sample.mem_total_bytes, sample.mem_used_bytes),
            }
        });
        let mut rooms: Vec<Room> = std::iter::once(own).chain(others).collect();
        for (_, job, task) in agreed.queue.active() {
            if let Some(home) = task.state.node() {
                room::take_at(home, &job.spec, &mut rooms);
            }
        }
        for (id, home) in &self.jobs.placing {
            let is_counted = agreed.queue.active().any(|(active, _, _)| active == *id);
            if let Some(job) = agreed.queue.job(id.job).filter(|_| !is_counted) {
                room::take_at(*home, &job.spec, &mut rooms);
            }
        }
        rooms
    }

    fn is_placed_here(&self, job: &Job, rooms: &[Room]) -> bool {
        let is_up = |id: NodeId| rooms.iter().any(|room| room.id == id && room.is_up);
        match &job.spec.home {
            Home::Node(name) => *name == self.me.name,
            Home::Any if is_up(job.origin) => job.origin == self.me.id,
            Home::Any => rooms.iter().filter(|room| room.is_up).map(|room| room.id).min() == Some(self.me.id),
        }
    }
}

fn free(total_bytes: u64, used_bytes: u64) -> u64 {
    total_bytes.saturating_sub(used_bytes)
}

/// Tasks that are placed in one go; the rest follows when these are agreed.
const PLACED_AT_ONCE_MAX: usize = 64;
