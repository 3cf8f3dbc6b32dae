//! Jobs as they are shown.

use super::Agent;
use super::room;
use crate::agent::access::Caller;
use crate::api::jobs::{JobResponse, JobRow, ROWS_MAX};
use crate::exit::Failure;
use crate::proc;
use crate::queue::{Job, ProgramSpec, State, Task};
use crate::view;
use transport::NodeId;

impl Agent {
    /// All jobs, or all tasks of one.
    pub(super) fn job_rows(
        &self,
        caller: Caller,
        job: Option<&str>,
        all: bool,
    ) -> Result<JobResponse, Failure> {
        let agreed = self.jobs.agreed();
        let (mut rows, count) = match job {
            None => {
                let shown: Vec<&Job> = agreed.queue.jobs().filter(|job| all || !job.is_over()).collect();
                let skipped = shown.len().saturating_sub(ROWS_MAX);
                // The newest matter most.
                let rows: Vec<JobRow> =
                    shown.iter().skip(skipped).map(|job| self.row(caller, job, None)).collect();
                (rows, shown.len())
            }
            Some(text) => {
                let (job, index) = self.find_job(caller, text)?;
                match (index, job.spec.array) {
                    (None, Some(array)) => {
                        let indices = std::iter::successors(Some(array.first()), |index| array.next(*index));
                        let rows = indices.take(ROWS_MAX).map(|index| self.row(caller, &job, Some(index)));
                        (rows.collect(), job.count() as usize)
                    }
                    _ => (vec![self.row(caller, &job, index)], 1),
                }
            }
        };
        rows.truncate(ROWS_MAX);
        let more = u32::try_from(count - rows.len()).unwrap_or(u32::MAX);
        Ok(JobResponse::Rows { rows, more })
    }

    pub(super) fn job_row(&self, caller: Caller, job: &Job, index: Option<u32>) -> JobResponse {
        JobResponse::Row(Box::new(self.row(caller, job, index)))
    }

    fn row(&self, caller: Caller, job: &Job, index: Option<u32>) -> JobRow {
        // One task speaks for itself; an array is shown by its counts.
        let one = index.or_else(|| job.spec.array.is_none().then_some(0));
        let task = one.and_then(|index| job.touched(index));
        let end = one.map_or_else(|| job.end(), |index| job.end_of(index));
        let home = task.and_then(node_of);
        let pid = match task.map(|task| &task.state) {
            Some(State::Running { pid, .. }) => Some(*pid),
            _ => None,
        };
        let (started_unix_ms, ended_unix_ms) = times(job, one, task);
        JobRow {
            id: index.map_or_else(|| job.id.to_string(), |index| job.label(index)),
            name: job.spec.name.clone(),
            command: command(job, one, caller.may_touch(job.owner.uid)),
            user: proc::user_name(job.owner.uid),
            state: self.word(job, one, task).into(),
            home: home.map(|home| self.name_of(home)),
            at: home.zip(pid).map(|(home, pid)| self.job_at(home, pid)),
            pid,
            array: job.spec.array.filter(|_| index.is_none()).map(|array| array.to_string()),
            waiting: job.waiting_count(),
            running: job.active_count(),
            done: job.ended_count() - job.failed_count(),
            failed: job.failed_count(),
            priority: job.spec.priority,
            cpus: job.spec.cpus,
            memory_bytes: job.spec.memory_bytes,
            attempt: task.map_or(0, |task| task.attempt),
            code: end.map(|end| end.code()),
            note: self.note_of(job, one, task),
            submitted_unix_ms: job.at_unix_ms,
            started_unix_ms,
            ended_unix_ms,
        }
    }

    fn word(&self, job: &Job, one: Option<u32>, task: Option<&Task>) -> &'static str {
        let end = one.map_or_else(|| job.end(), |index| job.end_of(index));
        match (end, task.map(|task| &task.state)) {
            (Some(end), _) => end.word(),
            (None, Some(state @ (State::Starting { .. } | State::Running { .. }))) => state.word(),
            (None, _) if one.is_none() && job.active_count() > 0 => "running",
            (None, _) if job.held => "held",
            (None, _) => "waiting",
        }
    }

    /// Why it waits, or how it ended.
    fn note_of(&self, job: &Job, one: Option<u32>, task: Option<&Task>) -> String {
        let end = one.map_or_else(|| job.end(), |index| job.end_of(index));
        if let Some(end) = end {
            return if end.is_success() { String::new() } else { end.to_string() };
        }
        if task.is_some_and(|task| task.cancel.is_some()) {
            return "it is being ended".into();
        }
        if task.is_some_and(|task| task.state.node().is_some()) {
            return String::new();
        }
        let before = task.and_then(|task| task.last_end.as_ref());
        let before = before.map(|end| format!("; the last attempt: {end}")).unwrap_or_default();
        format!("{}{before}", self.why_it_waits(job))
    }

    fn why_it_waits(&self, job: &Job) -> String {
        if job.waiting_count() == 0 {
            return String::new();
        }
        if job.held {
            return "held".into();
        }
        if !job.waits_for.is_empty() {
            let jobs: Vec<String> =
                job.waits_for.iter().take(JOBS_NAMED_MAX).map(ToString::to_string).collect();
            return format!("waits for job {}", jobs.join(", "));
        }
        if job.startable() == 0 {
            return format!("{} at a time", job.active_count());
        }
        let mut rooms = self.rooms(&self.jobs.agreed());
        room::take(&job.spec, &mut rooms).err().unwrap_or_else(|| "it is its turn".into())
    }

    /// Where the body of a process is, as far as its home has told.
    fn job_at(&self, home: NodeId, pid: u32) -> String {
        if home == self.me.id {
            return self.residence(pid);
        }
        let report = self.peers.get(home).and_then(|peer| peer.report.as_ref());
        let process = report.and_then(|report| report.processes.iter().find(|process| process.pid == pid));
        process.map_or_else(|| self.name_of(home), |process| process.at.clone())
    }
}

fn node_of(task: &Task) -> Option<NodeId> {
    match &task.state {
        State::Ended { node, .. } => *node,
        state => state.node(),
    }
}

fn times(job: &Job, one: Option<u32>, task: Option<&Task>) -> (Option<u64>, Option<u64>) {
    match task.map(|task| &task.state) {
        Some(State::Running { at_unix_ms, .. }) => (Some(*at_unix_ms), None),
        Some(State::Ended { at_unix_ms, .. }) => (None, Some(*at_unix_ms)),
        _ if one.is_none() => (None, job.over_at_unix_ms),
        _ => (None, None),
    }
}

fn command(job: &Job, one: Option<u32>, in_full: bool) -> String {
    let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
    let words = match &job.spec.program {
        ProgramSpec::Command(words) => words.iter().map(text).collect::<Vec<_>>(),
        ProgramSpec::Lines(lines) => {
            let index = one.and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
            lines.get(index).map(text).into_iter().collect()
        }
    };
    if in_full {
        return view::shorten(&words.join(" "));
    }
    // Arguments can hold secrets.
    let first = words.first().and_then(|word| word.split_whitespace().next()).unwrap_or_default();
    view::shorten(first.rsplit('/').next().unwrap_or(first))
}

/// Jobs that a note names.
const JOBS_NAMED_MAX: usize = 5;
