//! One look at one task: what is, what should be, and the one thing that is to be done about it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Command as Process;
use tokio::time::{Instant, sleep};
use transport::NodeId;

use super::{propose, unix_ms};
use crate::cluster::Handle;
use crate::exit::{ExitCode, Failure, chain};
use crate::job::launch::{Launch, not_started};
use crate::job::parent::{GRACE, PARENT_VERB};
use crate::job::record::{Look, Record, Started, Status};
use crate::queue::{Command, End, State, Task};

/// What is to become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It shall run.
    Start {
        /// Which attempt.
        attempt: u32,
    },
    /// It runs.
    Watch {
        /// Which attempt.
        attempt: u32,
    },
    /// It shall end.
    End {
        /// Which attempt.
        attempt: u32,
    },
}

impl Duty {
    pub(super) fn of(task: &Task) -> Duty {
        let attempt = task.attempt;
        match &task.state {
            _ if task.cancel.is_some() => Duty::End { attempt },
            State::Starting { .. } => Duty::Start { attempt },
            _ => Duty::Watch { attempt },
        }
    }
}

/// All that a look needs.
#[derive(Debug)]
pub(super) struct Tending {
    pub(super) record: Record,
    pub(super) launch: Launch,
    pub(super) duty: Duty,
    pub(super) node: NodeId,
    pub(super) program: PathBuf,
    pub(super) handle: Handle,
    /// It would run as root, and was submitted elsewhere.
    pub(super) foreign_root: bool,
}

impl Tending {
    /// Looks, and does what is to be done; what runs, if anything does.
    pub(super) async fn run(self) -> Option<Started> {
        let record = self.record.clone();
        let look = blocking(move || record.look()).await;
        let look = match look {
            Ok(look) => look,
            Err(error) => {
                tracing::error!("cannot read {}: {error}", self.record.dir().display());
                return None;
            }
        };
        match look {
            Look::Absent => self.begin().await,
            Look::Ended(status) => {
                self.tell_end(status.end).await;
                None
            }
            Look::Alive(started) => {
                if let (Some(started), Duty::Start { .. }) = (&started, &self.duty) {
                    self.tell_start(started).await;
                }
                if let (Some(started), Duty::End { .. }) = (&started, &self.duty) {
                    self.end(started).await;
                }
                started
            }
            Look::Dead(started, lock) => {
                // The output has nobody to go to, and nobody can learn its status any more.
                let end = match started.as_ref().map(|started| (started, started.process())) {
                    None => End::FalseStart,
                    Some((started, Some(_))) => {
                        signal(started, Signal::KILL);
                        gone(started).await;
                        End::Lost { reason: "the process that watched over it was killed, and it with it".into() }
                    }
                    Some((_, None)) => End::Lost {
                        reason: "it ended while nobody watched: its node was restarted, or the process that watched over it was killed".into(),
                    },
                };
                let (record, status) = (self.record.clone(), Status { end: end.clone(), dropped_bytes: 0 });
                match blocking(move || record.write_status(&lock, &status)).await {
                    Ok(()) => self.tell_end(end).await,
                    Err(error) => tracing::error!("cannot write {}: {error}", self.record.dir().display()),
                }
                None
            }
        }
    }

    /// There is no record of the attempt: it has never begun, or the record was taken away.
    async fn begin(&self) -> Option<Started> {
        match self.duty {
            Duty::Start { .. } => {}
            Duty::End { .. } => {
                let reason = "before it was started".into();
                self.tell_end(End::Cancelled { reason }).await;
                return None;
            }
            Duty::Watch { .. } => {
                let reason = "its record is gone from its home node's disk".into();
                self.tell_end(End::Lost { reason }).await;
                return None;
            }
        }
        if self.foreign_root {
            let why = "it would run as root, and was submitted at another node";
            let failure = Failure::new(ExitCode::NotStarted, "this node does not start it", why);
            self.tell_end(not_started(&failure)).await;
            return None;
        }
        let (record, launch) = (self.record.clone(), self.launch.clone());
        let begun = blocking(move || record.create(&launch)).await.and_then(|()| self.start_parent());
        if let Err(error) = begun {
            let failure = Failure::new(ExitCode::NotStarted, "its home node cannot start it", error);
            let record = self.record.clone();
            // A record without a parent would be taken for a false start; without either it is this failure.
            let _ = blocking(move || record.remove()).await;
            self.tell_end(not_started(&failure)).await;
            return None;
        }
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            sleep(START_LOOK).await;
            let record = self.record.clone();
            if let Ok((started, status)) = blocking(move || Ok((record.started()?, record.status()?))).await {
                if let Some(status) = status {
                    self.tell_end(status.end).await;
                    return None;
                }
                if let Some(started) = started {
                    self.tell_start(&started).await;
                    return Some(started);
                }
            }
        }
        // The next look finds what has become of it.
        None
    }

    fn start_parent(&self) -> io::Result<()> {
        let log = File::create(self.record.dir().join(LOG))?;
        let mut command = Process::new(&self.program);
        command.arg(PARENT_VERB).arg(self.record.dir()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn()?;
        // It lives on after its agent, but while the agent lives, it is its parent and must reap it.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }

    /// Ends a program that is not wanted any more.
    async fn end(&self, started: &Started) {
        signal(started, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while started.process().is_some() {
            if Instant::now() > deadline {
                signal(started, Signal::KILL);
                gone(started).await;
                return;
            }
            sleep(END_LOOK).await;
        }
    }

    async fn tell_start(&self, started: &Started) {
        let Launch { task, attempt, .. } = self.launch;
        let (node, pid) = (self.node, started.pid);
        self.tell(Command::Started { task, attempt, node, pid, at_unix_ms: unix_ms() }).await;
    }

    async fn tell_end(&self, end: End) {
        let Launch { task, attempt, .. } = self.launch;
        self.tell(Command::Ended { task, attempt, node: self.node, end, at_unix_ms: unix_ms() }).await;
    }

    /// What the cluster does not hear now it hears after the next look.
    async fn tell(&self, command: Command) {
        if let Err(error) = propose(&self.handle, command).await {
            tracing::warn!("job {}: the cluster was not told: {}", self.launch.task, chain(&error));
        }
    }
}

/// Sends a signal to a program and to what it has started in its group.
pub(super) fn signal(started: &Started, signal: Signal) {
    let Some(process) = started.process() else { return };
    if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
        // It may end just now.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

async fn gone(started: &Started) {
    while started.process().is_some() {
        sleep(END_LOOK).await;
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What a parent has to say for itself.
const LOG: &str = "parent.log";

/// In this time a parent has started its program; later it is found by the next look.
const START_MAX: Duration = Duration::from_secs(5);

const START_LOOK: Duration = Duration::from_millis(5);

const END_LOOK: Duration = Duration::from_millis(20);
