//! What users ask about jobs.

use super::output::Wanted;
use super::{Agent, submit};
use crate::agent::access::Caller;
use crate::agent::moves::answer;
use crate::agent::state::Reply;
use crate::api::Response;
use crate::api::jobs::{JobRequest, JobResponse};
use crate::cluster::Command as ClusterCommand;
use crate::exit::{ExitCode, Failure};
use crate::queue::{Command, Job, TaskId};

use super::unix_ms;

impl Agent {
    pub(in crate::agent) fn on_job_asked(&mut self, caller: Caller, request: JobRequest, reply: Reply) {
        let response = match request {
            JobRequest::Submit(new) => match self.complete(caller, *new) {
                Ok(submission) => {
                    let handle = self.jobs.handle.clone();
                    tokio::spawn(async move {
                        let submitted = submit::submit(&handle, submission).await;
                        respond(&reply, submitted.map(|job| JobResponse::Submitted { job }));
                    });
                    return;
                }
                Err(failure) => Err(failure),
            },
            JobRequest::List { job, all } => self.job_rows(caller, job.as_deref(), all),
            JobRequest::Find { job } => {
                self.find_job(caller, &job).map(|(job, index)| self.job_row(caller, &job, index))
            }
            JobRequest::Output { job, stream, offset } => match self.find_task(caller, &job) {
                Ok((job, id)) => {
                    return self.answer_output(caller, &job, id, Wanted { stream, offset }, reply);
                }
                Err(failure) => Err(failure),
            },
            JobRequest::Kill { job, signal } => match self.find_own(caller, &job) {
                Ok((job, index)) => return self.kill_job(caller, &job, index, signal, reply),
                Err(failure) => Err(failure),
            },
            JobRequest::Hold { job } => {
                let command = |job: &Job, _| Command::Hold { job: job.id, by: caller.uid };
                return self.order(caller, &job, "cannot hold", command, reply);
            }
            JobRequest::Resume { job } => {
                let command = |job: &Job, _| Command::Resume { job: job.id, by: caller.uid };
                return self.order(caller, &job, "cannot resume", command, reply);
            }
            JobRequest::Cancel { job } => {
                let command = |job: &Job, index| Command::Cancel {
                    job: job.id,
                    index,
                    by: caller.uid,
                    at_unix_ms: unix_ms(),
                };
                return self.order(caller, &job, "cannot cancel", command, reply);
            }
            JobRequest::Look => {
                if caller.uid == 0 {
                    self.tend_jobs(true);
                }
                Ok(JobResponse::Done)
            }
        };
        respond(&reply, response);
    }

    /// A job, and the index if one task of it is meant. Whoever asks by name means one of his own.
    pub(super) fn find_job(&self, caller: Caller, text: &str) -> Result<(Job, Option<u32>), Failure> {
        let agreed = self.jobs.agreed();
        let what = || format!("cannot find job {text}");
        let missing = |why: String| {
            Failure::new(ExitCode::NotFound, what(), why).next("see what there is: homing jobs --all")
        };
        let (number, index) = match text.parse::<TaskId>() {
            Ok(TaskId { job, index }) => (Some(job), Some(index)),
            Err(()) => (text.parse().ok(), None),
        };
        let job = match number {
            Some(number) => agreed.queue.job(number),
            None => agreed.queue.named(text, caller.uid),
        };
        let Some(job) = job else {
            let why = match number {
                Some(number) if agreed.queue.has_given(number) => "it is over for long and forgotten".into(),
                Some(_) => "no job has this number".into(),
                None => "none of your jobs has this name".into(),
            };
            return Err(missing(why));
        };
        if let Some(index) = index.filter(|index| job.spec.array.is_none() || !job.has(*index)) {
            return Err(missing(format!("job {} has no task {index}", job.id)));
        }
        Ok((job.clone(), index))
    }

    /// The same, of the caller's own jobs.
    pub(super) fn find_own(&self, caller: Caller, text: &str) -> Result<(Job, Option<u32>), Failure> {
        let (job, index) = self.find_job(caller, text)?;
        if caller.may_touch(job.owner.uid) {
            return Ok((job, index));
        }
        let why = format!("it belongs to {}", crate::proc::user_name(job.owner.uid));
        Err(Failure::new(ExitCode::NotAllowed, format!("cannot use job {text}"), why)
            .next("ask its owner or root"))
    }

    /// One task of the caller's own jobs.
    fn find_task(&self, caller: Caller, text: &str) -> Result<(Job, TaskId), Failure> {
        let (job, index) = self.find_own(caller, text)?;
        if let (Some(array), None) = (job.spec.array, index) {
            let why = format!("it is an array, {array}");
            let next = format!("name one task, such as {}", job.label(array.first()));
            return Err(
                Failure::new(ExitCode::Usage, format!("cannot tell which task of {text}"), why).next(next)
            );
        }
        let id = TaskId { job: job.id, index: index.unwrap_or(0) };
        Ok((job, id))
    }

    /// Proposes a command about a job of the caller's own.
    fn order(
        &self,
        caller: Caller,
        text: &str,
        what: &'static str,
        command: impl FnOnce(&Job, Option<u32>) -> Command,
        reply: Reply,
    ) {
        let command = match self.find_own(caller, text) {
            Ok((job, index)) => ClusterCommand::Queue(command(&job, index)),
            Err(failure) => return respond(&reply, Err(failure)),
        };
        let (handle, what) = (self.jobs.handle.clone(), format!("{what} {text}"));
        tokio::spawn(async move {
            let done = handle.propose(command).await;
            respond(&reply, done.map(|_| JobResponse::Done).map_err(|error| submit::refused(&what, &error)));
        });
    }
}

pub(super) fn respond(reply: &Reply, response: Result<JobResponse, Failure>) {
    answer(reply, response.map(Response::Job).unwrap_or_else(Response::Failed));
}
