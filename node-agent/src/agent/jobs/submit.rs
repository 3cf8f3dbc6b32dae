//! A job is submitted: what is asked for is checked against the cluster before anything is written.

use super::room;
use super::{Agent, unix_ms};
use crate::agent::access::Caller;
use crate::api::jobs::NewJob;
use crate::cluster::{
    Command as ClusterCommand, ProposeError, Refused as ClusterRefused, Reply as ClusterReply,
};
use crate::exit::{ExitCode, Failure, chain};
use crate::queue::{After, Command, Home, Refused, Reply, Submission};

impl Agent {
    /// Completes a job with what this node knows.
    pub(super) fn complete(&self, caller: Caller, new: NewJob) -> Result<Submission, Failure> {
        let NewJob { request, owner, mut spec, after, after_any } = new;
        if let Home::Node(name) = &mut spec.home
            && name.is_empty()
        {
            name.clone_from(&self.me.name);
        }
        for (list, any_end) in [(after, false), (after_any, true)] {
            for job in list {
                let (job, index) = self.find_job(caller, &job)?;
                if index.is_some() {
                    let why = "a job waits for whole jobs, not for one task of an array";
                    return Err(cannot_submit(ExitCode::Usage, why));
                }
                spec.after.push(After { job: job.id, any_end });
            }
        }
        spec.check().map_err(|why| cannot_submit(ExitCode::Usage, why))?;
        let rooms = self.rooms(&self.jobs.agreed());
        let home = match &spec.home {
            Home::Node(name) => Some(name),
            Home::Any => None,
        };
        for name in spec.nodes.iter().chain(&spec.not_nodes).chain(home) {
            if !rooms.iter().any(|room| room.name == *name) {
                let known = rooms.iter().map(|room| room.name.as_str()).collect::<Vec<_>>().join(", ");
                let why = format!("there is no node {name}; there are {known}");
                return Err(cannot_submit(ExitCode::NotFound, why));
            }
        }
        let obstacles = room::obstacles(&spec, &rooms);
        if !obstacles.is_empty() {
            let failure = Failure::new(ExitCode::Refused, "cannot submit: no node could ever run it", "");
            let next = "ask for less, or add a node that has it";
            return Err(Failure { why: obstacles, ..failure }.next(next));
        }
        Ok(Submission { request, owner, origin: self.me.id, spec, at_unix_ms: unix_ms() })
    }
}

/// Brings a submission into the queue; its number.
pub(super) async fn submit(handle: &crate::cluster::Handle, submission: Submission) -> Result<u64, Failure> {
    let what = "cannot submit";
    match handle.propose(ClusterCommand::Queue(Command::Submit(Box::new(submission)))).await {
        Ok(ClusterReply::Queue(Reply::Submitted { job })) => Ok(job),
        Ok(other) => Err(Failure::new(ExitCode::Failed, what, format!("the cluster answered {other:?}"))),
        Err(error) => Err(refused(what, &error)),
    }
}

/// Why a command of the queue was not done, for whoever typed it.
pub(super) fn refused(what: &str, error: &ProposeError) -> Failure {
    let (code, next) = match error {
        ProposeError::Refused(ClusterRefused::Queue(refused)) => match refused {
            Refused::NoSuchJob { .. } | Refused::NoSuchTask { .. } => {
                (ExitCode::NotFound, "see what there is: homing jobs --all")
            }
            Refused::NotYours { .. } => (ExitCode::NotAllowed, "ask its owner or root"),
            Refused::NameTaken { .. } => (ExitCode::Failed, "give another name, or cancel that job first"),
            Refused::TooMany | Refused::Full => {
                (ExitCode::Failed, "wait until some are over, or use an array")
            }
            Refused::TooLong { .. } => (ExitCode::Failed, "put long arguments into a file, or split the job"),
            Refused::NothingWaits { .. } => {
                (ExitCode::Refused, "stop what runs: homing kill -s STOP, and on with -s CONT")
            }
            Refused::Senseless(_) => (ExitCode::Usage, "see homing submit --help"),
            _ => (ExitCode::Failed, "see homing jobs --all"),
        },
        ProposeError::NoQuorum { .. } => {
            (ExitCode::NoAgent, "it may still be done later: look before you ask again; see homing nodes")
        }
        _ => (ExitCode::Failed, "see the agent's messages"),
    };
    Failure::new(code, what, chain(error)).next(next)
}

fn cannot_submit(code: ExitCode, why: impl std::fmt::Display) -> Failure {
    Failure::new(code, "cannot submit", why)
}
