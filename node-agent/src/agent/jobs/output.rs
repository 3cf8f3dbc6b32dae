//! Reads the output of tasks and sends signals to them, here or at the node that is their home.

use rustix::process::Signal;
use tokio::sync::oneshot;
use transport::NodeId;

use super::asks::respond;
use super::tend;
use super::{Agent, Record, peers};
use crate::agent::access::Caller;
use crate::agent::protocol::{PeerRequest, PeerResponse};
use crate::agent::state::Reply;
use crate::api::jobs::{JobResponse, Output};
use crate::exit::{ExitCode, Failure};
use crate::job::output::{self, Piece, Stream};
use crate::queue::{Job, State, Task, TaskId};

/// A piece of output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) stream: Stream,
    pub(super) offset: u64,
}

impl Agent {
    pub(super) fn answer_output(&self, caller: Caller, job: &Job, id: TaskId, wanted: Wanted, reply: Reply) {
        let what = format!("cannot read the output of {}", job.label(id.index));
        let task = job.touched(id.index);
        let (attempt, over) = task
            .map_or((0, job.end_of(id.index).is_some()), |task| (task.attempt, task.state.end().is_some()));
        let path = match wanted.stream {
            Stream::Out => &job.spec.setting.stdout,
            Stream::Err => &job.spec.setting.stderr,
        };
        let empty = Output {
            piece: Piece { offset: wanted.offset, bytes: Vec::new() },
            attempt,
            over,
            file: path.clone(),
            dropped_bytes: 0,
        };
        let Some(home) = task.and_then(home_of).filter(|_| path.is_none()) else {
            return respond(&reply, Ok(JobResponse::Output(Box::new(empty))));
        };
        let complete = move |(piece, dropped_bytes): (Piece, u64)| {
            // Asked for before the end was known, it may have grown since.
            let over = over && piece.bytes.is_empty();
            JobResponse::Output(Box::new(Output { piece, over, dropped_bytes, ..empty }))
        };
        if home == self.me.id {
            let record = Record::of(&self.jobs.dir, id, attempt);
            tokio::task::spawn_blocking(move || {
                let read = read(&record, wanted);
                respond(&reply, read.map(complete).map_err(|why| Failure::new(ExitCode::Failed, what, why)));
            });
            return;
        }
        let request = PeerRequest::Output {
            task: id,
            attempt,
            stream: wanted.stream,
            offset: wanted.offset,
            by: caller.uid,
        };
        let (line, name) = (self.peers.line(home), self.name_of(home));
        tokio::spawn(async move {
            let unreachable = |why: String| {
                let failure =
                    Failure::new(ExitCode::NoAgent, what.clone(), format!("its home {name}: {why}"));
                failure.next("wait until it answers again: homing nodes")
            };
            let read = match line {
                Err(refusal) => Err(unreachable(refusal.reason().text)),
                Ok(line) => match peers::ask(&line, &request).await {
                    Ok(PeerResponse::Output(Ok(read))) => Ok(complete(read)),
                    Ok(PeerResponse::Output(Err(why))) => Err(unreachable(why)),
                    Ok(_) => Err(unreachable("it answered something else than was asked".into())),
                    Err(refusal) => Err(unreachable(refusal.reason().text)),
                },
            };
            respond(&reply, read);
        });
    }

    pub(in crate::agent) fn on_peer_output(
        &self,
        (task, attempt): (TaskId, u32),
        (stream, offset): (Stream, u64),
        by: u32,
        reply: oneshot::Sender<PeerResponse>,
    ) {
        let allowed = self.check_owner(task, by);
        let record = Record::of(&self.jobs.dir, task, attempt);
        tokio::task::spawn_blocking(move || {
            let read = allowed.and_then(|()| read(&record, Wanted { stream, offset }));
            // The peer may be gone; then nobody waits for the answer.
            let _ = reply.send(PeerResponse::Output(read));
        });
    }

    /// Sends a signal to everything of a job that runs.
    pub(super) fn kill_job(&self, caller: Caller, job: &Job, index: Option<u32>, signal: i32, reply: Reply) {
        let what =
            format!("cannot send a signal to {}", index.map_or(job.id.to_string(), |index| job.label(index)));
        let running: Vec<(TaskId, u32, NodeId)> = job
            .all_touched()
            .filter(|(at, _)| index.is_none_or(|index| index == *at))
            .filter_map(|(index, task)| match task.state {
                State::Running { node, .. } => Some((TaskId { job: job.id, index }, task.attempt, node)),
                _ => None,
            })
            .collect();
        if running.is_empty() {
            let (why, next) = if job.is_over() {
                ("it is over", "see homing jobs --all")
            } else {
                ("nothing of it runs", "end what waits: homing cancel")
            };
            return respond(&reply, Err(Failure::new(ExitCode::Refused, what, why).next(next)));
        }
        let mut failures = Vec::new();
        let mut asked = Vec::new();
        for (task, attempt, node) in running {
            if node == self.me.id {
                failures.extend(self.signal_here(task, attempt, signal, caller.uid).err());
            } else {
                let request = PeerRequest::Signal { task, attempt, signal, by: caller.uid };
                asked.push((self.peers.line(node), self.name_of(node), request));
            }
        }
        tokio::spawn(async move {
            for (line, name, request) in asked {
                let done = match line {
                    Err(refusal) => Err(refusal.reason().text),
                    Ok(line) => match peers::ask(&line, &request).await {
                        Ok(PeerResponse::Signalled(done)) => done,
                        Ok(_) => Err("it answered something else than was asked".into()),
                        Err(refusal) => Err(refusal.reason().text),
                    },
                };
                failures.extend(done.err().map(|why| format!("{name}: {why}")));
            }
            let failure = Failure::new(ExitCode::Failed, what, "");
            respond(
                &reply,
                if failures.is_empty() {
                    Ok(JobResponse::Done)
                } else {
                    Err(Failure { why: failures, ..failure })
                },
            );
        });
    }

    /// Sends a signal to a task whose home this node is.
    pub(in crate::agent) fn signal_here(
        &self,
        task: TaskId,
        attempt: u32,
        signal: i32,
        by: u32,
    ) -> Result<(), String> {
        self.check_owner(task, by)?;
        let signal = Signal::from_named_raw(signal).ok_or_else(|| format!("there is no signal {signal}"))?;
        let record = Record::of(&self.jobs.dir, task, attempt);
        let started = record.started().map_err(|error| format!("cannot read its record: {error}"))?;
        let started = started.filter(|started| started.process().is_some()).ok_or("it does not run")?;
        tend::signal(&started, signal);
        Ok(())
    }

    fn check_owner(&self, task: TaskId, by: u32) -> Result<(), String> {
        let agreed = self.jobs.agreed();
        let job = agreed.queue.job(task.job).ok_or("its home does not know it")?;
        if by == 0 || by == job.owner.uid { Ok(()) } else { Err("it belongs to somebody else".into()) }
    }
}

/// Where a task runs or ran.
fn home_of(task: &Task) -> Option<NodeId> {
    match task.state {
        State::Ended { node, .. } => node,
        _ => task.state.node(),
    }
}

fn read(record: &Record, wanted: Wanted) -> Result<(Piece, u64), String> {
    let dropped_bytes = match record.status() {
        Ok(status) => status.map_or(0, |status| status.dropped_bytes),
        Err(error) => return Err(error.to_string()),
    };
    let piece =
        output::read(record.dir(), wanted.stream, wanted.offset).map_err(|error| error.to_string())?;
    Ok((piece, dropped_bytes))
}
