//! A job comes, a job is over, a job is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use transport::wire;

use super::command::{Refused, Reply, Submission};
use super::job::{End, Job};
use super::{JOBS_MAX, OVER_KEPT_MIN_MS, OVER_PER_UID_MAX, QUEUED_PER_UID_MAX, Queue, SPEC_BYTES_MAX};

impl Queue {
    pub(super) fn submit(&mut self, submission: Submission) -> Result<Reply, Refused> {
        if let Some(&job) = self.requests.get(&submission.request) {
            return Ok(Reply::Submitted { job });
        }
        self.check(&submission)?;
        self.forget(submission.owner.uid, submission.at_unix_ms);
        if self.jobs.len() >= JOBS_MAX {
            return Err(Refused::Full);
        }
        let Submission { request, owner, origin, spec, at_unix_ms } = submission;
        self.last += 1;
        let id = self.last;
        let live = |after: &u64| self.live.contains(after);
        let waits_for: BTreeSet<u64> = spec.after.iter().map(|after| after.job).filter(live).collect();
        for after in &waits_for {
            self.waiting_for.entry(*after).or_default().insert(id);
        }
        let next = Some(spec.array.map_or(0, |array| array.first()));
        let job = Job {
            id,
            owner,
            origin,
            spec,
            at_unix_ms,
            held: false,
            waits_for,
            over_at_unix_ms: None,
            tasks: BTreeMap::new(),
            next,
            rest: None,
            again: BTreeSet::new(),
            active_count: 0,
            ended_count: 0,
            failed_count: 0,
            request,
        };
        let user = self.users.entry(job.owner.uid).or_default();
        user.live += 1;
        if let Some(name) = &job.spec.name {
            user.names.insert(name.clone(), id);
        }
        self.jobs.insert(id, Arc::new(job));
        self.live.insert(id);
        self.requests.insert(request, id);
        Ok(Reply::Submitted { job: id })
    }

    fn check(&self, submission: &Submission) -> Result<(), Refused> {
        let Submission { owner, spec, .. } = submission;
        spec.check().map_err(Refused::Senseless)?;
        let mut bytes = Vec::new();
        if wire::encode(spec, &mut bytes).is_err() || bytes.len() > SPEC_BYTES_MAX {
            return Err(Refused::TooLong { bytes: bytes.len() });
        }
        let user = self.users.get(&owner.uid);
        if user.is_some_and(|user| user.live >= QUEUED_PER_UID_MAX) {
            return Err(Refused::TooMany);
        }
        if let Some(name) = &spec.name
            && let Some(&job) = user.and_then(|user| user.names.get(name))
        {
            return Err(Refused::NameTaken { name: name.clone(), job });
        }
        for after in &spec.after {
            let job = self.own(after.job, owner.uid)?;
            if !after.any_end
                && let Some(end) = job.end().filter(|end| !end.is_success())
            {
                return Err(Refused::AfterFailed { job: job.id, how: failed(job, end) });
            }
        }
        Ok(())
    }

    /// Looks at a job that has just lost a task: if it is over, those that wait for it start, or are cancelled.
    pub(super) fn settle(&mut self, id: u64, at_unix_ms: u64) {
        let mut looked_at = vec![id];
        while let Some(id) = looked_at.pop() {
            let Some(job) = self.job_mut(id).filter(|job| job.is_over()) else { continue };
            if job.over_at_unix_ms.is_some() {
                continue;
            }
            job.over_at_unix_ms = Some(at_unix_ms);
            let bad_end = job.end().filter(|end| !end.is_success()).map(|end| failed(job, end));
            let (uid, name) = (job.owner.uid, job.spec.name.clone());
            self.live.remove(&id);
            if let Some(user) = self.users.get_mut(&uid) {
                user.live -= 1;
                user.over.insert((at_unix_ms, id));
                if let Some(name) = &name {
                    user.names.remove(name);
                }
            }
            for waiting in self.waiting_for.remove(&id).unwrap_or_default() {
                let Some(dependent) = self.job_mut(waiting) else { continue };
                dependent.waits_for.remove(&id);
                let needs_success =
                    dependent.spec.after.iter().any(|after| after.job == id && !after.any_end);
                if let Some(how) = bad_end.as_ref().filter(|_| needs_success) {
                    let reason = format!("job {id}, which it waits for, {how}");
                    self.cancel_waiting(waiting, &reason, at_unix_ms);
                    looked_at.push(waiting);
                }
            }
        }
    }

    /// Ends every task of a job that waits.
    pub(super) fn cancel_waiting(&mut self, id: u64, reason: &str, at_unix_ms: u64) {
        let Some(job) = self.job_mut(id) else { return };
        let end = End::Cancelled { reason: reason.into() };
        for index in std::mem::take(&mut job.again) {
            job.end_task(index, end.clone(), at_unix_ms);
        }
        let fresh = job.waiting_count();
        if fresh > 0 {
            job.rest = Some((end, at_unix_ms));
            job.next = None;
            job.ended_count += fresh;
            job.failed_count += fresh;
        }
        for after in std::mem::take(&mut job.waits_for) {
            if let Some(waiting) = self.waiting_for.get_mut(&after) {
                waiting.remove(&id);
            }
        }
    }

    /// Makes room for a new job: the oldest of the same user that are over go first.
    fn forget(&mut self, uid: u32, at_unix_ms: u64) {
        let Some(user) = self.users.get_mut(&uid) else { return };
        let is_old = |over_at: u64| over_at.saturating_add(OVER_KEPT_MIN_MS) <= at_unix_ms;
        while user.over.len() >= OVER_PER_UID_MAX
            && let Some((_, id)) = user.over.first().copied().filter(|(over_at, _)| is_old(*over_at))
        {
            user.over.pop_first();
            if let Some(job) = self.jobs.remove(&id) {
                self.requests.remove(&job.request);
            }
        }
    }
}

/// How a job went wrong, behind its number.
fn failed(job: &Job, end: &End) -> String {
    match (job.failed_count(), job.count()) {
        (_, 1) => format!("has failed ({end})"),
        (failed, count) => format!("has failed ({failed} of {count} tasks)"),
    }
}
