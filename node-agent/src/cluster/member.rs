//! This node's part in what the cluster agrees on: a server's, or that of a node that follows.

use std::path::Path;

use tokio::sync::{broadcast, mpsc, oneshot};
use transport::NodeId;
use transport::frame::{FrameReceiver, FrameSender};

use super::driver::{self, Input, Outlets};
use super::handle::{Handle, ProposeError};
use super::lines::Lines;
use super::membership::log_number;
use super::raft::{Broken, Core, Pace, Status, founded};
use super::rows::{Batch, Hard};
use super::state::State;
use super::storage::{Storage, StorageError};
use super::talk::{self, Desk};
use super::{follow, send};

/// This node's part. Clones are the same.
#[derive(Clone, Debug)]
pub struct Part {
    handle: Handle,
    lines: Lines,
    desk: Option<Desk>,
    /// Why a server's part is over, if it is.
    broken: Option<String>,
}

/// Why a server's log cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Its file.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is in it.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Makes the log of the first server of a cluster, with what is agreed from the start.
///
/// # Errors
/// See [`PartError`].
pub fn found(log: &Path, id: NodeId, state: &State) -> Result<(), PartError> {
    Storage::create(log, &founded(log_number(id), state)?)?;
    Ok(())
}

/// Makes the empty log of a server that joins.
///
/// # Errors
/// See [`PartError`].
pub fn join(log: &Path) -> Result<(), PartError> {
    Storage::create(log, &Batch { hard: Some(Hard::default()), ..Batch::default() })?;
    Ok(())
}

impl Part {
    /// Takes part; `log` is where a server keeps its log. Must be called within a tokio runtime.
    ///
    /// A server whose log cannot be used takes no part, and says why: the node serves all the same.
    #[must_use]
    pub fn take(id: NodeId, log: Option<&Path>) -> Part {
        let Some(log) = log else {
            let (handle, ends) = Handle::new(State::default());
            let lines = Lines::default();
            tokio::spawn(follow::run(ends, lines.clone()));
            return Part { handle, lines, desk: None, broken: None };
        };
        Part::serve(id, log).unwrap_or_else(|error| {
            tracing::error!("this server takes no part in agreement: {error}");
            let (handle, _) = Handle::new(State::default());
            Part { handle, lines: Lines::default(), desk: None, broken: Some(error.to_string()) }
        })
    }

    fn serve(id: NodeId, log: &Path) -> Result<Part, PartError> {
        let (disk, saved) = Storage::open(log)?;
        let core = Core::open(log_number(id), &saved, Pace::default())?;
        let (handle, ends) = Handle::new(core.state().clone());
        let (inputs, queue) = mpsc::channel(INPUTS_MAX);
        let (messages, sending) = mpsc::channel(MESSAGES_MAX);
        let (agreed, _) = broadcast::channel(AGREED_MAX);
        let outlets = Outlets { messages, agreed: agreed.clone() };
        let (ended, _) = oneshot::channel();
        let lines = Lines::default();
        tokio::spawn(send::distribute(sending, lines.clone(), inputs.clone()));
        driver::spawn(core, Box::new(disk), ends, queue, outlets, ended)
            .map_err(|error| Broken::Disk(error.to_string()))?;
        let desk = Desk { handle: handle.clone(), inputs, agreed };
        Ok(Part { handle, lines, desk: Some(desk), broken: None })
    }

    /// The way to propose and to read.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The connections that agreement uses.
    #[must_use]
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Answers a stream of [`Channel::Cluster`](transport::channel::Channel) that node `from` opened.
    pub async fn converse(self, from: NodeId, sender: FrameSender, receiver: FrameReceiver) {
        talk::serve(from, sender, receiver, self.desk).await;
    }

    /// How agreement is here; `None` at a node that is no server.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`] if this server takes no part any more.
    pub async fn status(&self) -> Result<Option<Status>, ProposeError> {
        if let Some(broken) = &self.broken {
            return Err(ProposeError::Stopped(broken.clone()));
        }
        let Some(desk) = &self.desk else { return Ok(None) };
        let stopped = || ProposeError::Stopped("see the agent's messages".into());
        let (reply, status) = oneshot::channel();
        desk.inputs.send(Input::Status(reply)).await.map_err(|_| stopped())?;
        status.await.map(Some).map_err(|_| stopped())
    }
}

/// Messages from other servers that wait for the driver.
const INPUTS_MAX: usize = 1024;

/// Messages to other servers that wait to be sorted.
const MESSAGES_MAX: usize = 1024;

/// Entries that a node that follows may lag behind before it is told everything anew.
const AGREED_MAX: usize = 1024;
