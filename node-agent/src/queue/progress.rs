//! What becomes of a task.

use transport::NodeId;

use super::command::{Refused, Reply};
use super::job::{End, Job, State, Task, TaskId};
use super::{FALSE_STARTS_MAX, Queue};

impl Queue {
    pub(super) fn place(
        &mut self,
        id: TaskId,
        attempt: u32,
        node: NodeId,
        at_unix_ms: u64,
    ) -> Result<Reply, Refused> {
        let job = self.with_task(id)?;
        let task = job.tasks.get(&id.index);
        let state = State::Starting { node, at_unix_ms };
        if task.is_some_and(|task| task.attempt == attempt && task.state == state) {
            return Ok(Reply::Done);
        }
        let is_next = job.again.contains(&id.index) || task.is_none() && job.next.is_some();
        let now = task.map_or(0, |task| task.attempt);
        if !is_next || now != attempt || job.held || !job.waits_for.is_empty() || job.startable() == 0 {
            return Err(stale(job, id, attempt));
        }
        job.again.remove(&id.index);
        job.tasks.entry(id.index).or_insert_with(Task::fresh).state = state;
        job.active_count += 1;
        job.advance();
        self.active.insert(id);
        Ok(Reply::Done)
    }

    pub(super) fn started(
        &mut self,
        id: TaskId,
        (attempt, node): (u32, NodeId),
        pid: u32,
        at_unix_ms: u64,
    ) -> Result<Reply, Refused> {
        let job = self.with_task(id)?;
        match job.tasks.get_mut(&id.index).filter(|task| task.attempt == attempt) {
            Some(task) if matches!(task.state, State::Starting { node: home, .. } if home == node) => {
                task.state = State::Running { node, pid, at_unix_ms };
                Ok(Reply::Done)
            }
            Some(task) if matches!(task.state, State::Running { node: home, pid: known, .. } if (home, known) == (node, pid)) => {
                Ok(Reply::Done)
            }
            _ => Err(stale(job, id, attempt)),
        }
    }

    pub(super) fn ended(
        &mut self,
        id: TaskId,
        (attempt, node): (u32, NodeId),
        end: End,
        at_unix_ms: u64,
    ) -> Result<Reply, Refused> {
        let job = self.with_task(id)?;
        let (retries, index) = (job.spec.retries, id.index);
        let Some(task) = job.tasks.get_mut(&index).filter(|task| task.attempt == attempt) else {
            // The report of the attempt before, which is told again since its first answer was lost.
            let was_told = job.tasks.get(&index).is_some_and(|task| {
                task.attempt == attempt.wrapping_add(1) && task.last_end.as_ref() == Some(&end)
            });
            return if was_told { Ok(Reply::Done) } else { Err(stale(job, id, attempt)) };
        };
        if task.state.node() != Some(node) {
            let is_told = matches!(&task.state, State::Ended { node: Some(home), .. } if *home == node);
            return if is_told { Ok(Reply::Done) } else { Err(stale(job, id, attempt)) };
        }
        let is_false_start = end == End::FalseStart;
        let again = match &end {
            _ if task.cancel.is_some() => false,
            End::Exit(0) | End::Cancelled { .. } => false,
            End::FalseStart => task.false_starts < FALSE_STARTS_MAX,
            _ => attempt - task.false_starts < retries,
        };
        job.active_count -= 1;
        if again {
            task.attempt += 1;
            task.false_starts += u32::from(is_false_start);
            task.state = State::Waiting;
            task.last_end = Some(end);
            job.again.insert(index);
        } else {
            let end = match &task.cancel {
                Some(reason) if !end.is_success() => End::Cancelled { reason: reason.clone() },
                _ => end,
            };
            job.ended_count += 1;
            job.failed_count += u32::from(!end.is_success());
            task.state = State::Ended { node: Some(node), end, at_unix_ms };
        }
        self.active.remove(&id);
        self.settle(id.job, at_unix_ms);
        Ok(Reply::Done)
    }

    pub(super) fn cancel(
        &mut self,
        id: u64,
        index: Option<u32>,
        by: u32,
        at_unix_ms: u64,
    ) -> Result<Reply, Refused> {
        let job = self.own(id, by)?;
        if let Some(index) = index.filter(|index| !job.has(*index)) {
            return Err(Refused::NoSuchTask { job: id, index });
        }
        if job.is_over() || index.is_some_and(|index| job.end_of(index).is_some()) {
            return Err(Refused::IsOver { job: id });
        }
        let reason = format!("by {}", if by == job.owner.uid { "its owner" } else { "root" });
        let Some(job) = self.job_mut(id) else { return Err(Refused::NoSuchJob { job: id }) };
        let active = job.tasks.iter_mut().filter(|(_, task)| task.state.node().is_some());
        for (_, task) in active.filter(|(at, _)| index.is_none_or(|index| index == **at)) {
            task.cancel.get_or_insert_with(|| reason.clone());
        }
        match index {
            None => self.cancel_waiting(id, &reason, at_unix_ms),
            Some(index) if job.tasks.get(&index).is_none_or(|task| task.state == State::Waiting) => {
                job.again.remove(&index);
                job.end_task(index, End::Cancelled { reason }, at_unix_ms);
                job.advance();
            }
            Some(_) => {}
        }
        self.settle(id, at_unix_ms);
        Ok(Reply::Done)
    }

    fn with_task(&mut self, id: TaskId) -> Result<&mut Job, Refused> {
        let job = self.job_mut(id.job).ok_or(Refused::NoSuchJob { job: id.job })?;
        if !job.has(id.index) {
            return Err(Refused::NoSuchTask { job: id.job, index: id.index });
        }
        Ok(job)
    }
}

impl Job {
    /// Ends a task that waits.
    pub(super) fn end_task(&mut self, index: u32, end: End, at_unix_ms: u64) {
        self.ended_count += 1;
        self.failed_count += u32::from(!end.is_success());
        let task = self.tasks.entry(index).or_insert_with(Task::fresh);
        task.state = State::Ended { node: None, end, at_unix_ms };
    }

    /// Looks for the first task that was never started, if the last one has been.
    fn advance(&mut self) {
        let array = self.spec.array;
        while let Some(index) = self.next.filter(|index| self.tasks.contains_key(index)) {
            self.next = array.and_then(|array| array.next(index));
        }
    }
}

fn stale(job: &Job, task: TaskId, attempt: u32) -> Refused {
    let state = match job.tasks.get(&task.index) {
        Some(known) => format!("{} in attempt {}", known.state.word(), known.attempt),
        None if job.rest.is_some() => "cancelled".into(),
        None => "waiting".into(),
    };
    Refused::Stale { task, attempt, state }
}
