//! How the rest of the agent proposes commands and reads what is agreed, whatever drives the log.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::request::{Proposal, Request};
use super::state::{Command, Outcome, Refused, Reply, State};

/// The agreed state at this node, and the way to change it. Clones share one driver.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<Arc<State>>,
}

/// What a driver is asked: to bring this proposal into the log, and to say what came of it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) proposal: Proposal,
    /// Dropped by whoever does not wait any more.
    pub(super) reply: oneshot::Sender<Result<Outcome, ProposeError>>,
}

/// A driver's ends of a [`Handle`].
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) state: watch::Sender<Arc<State>>,
}

/// Why a command was not done, or not known to be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// It was agreed on, and changes nothing for this reason.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No majority of the voters answered in time. The command may still be done later; under the same [`Request`] it
    /// can be proposed again and is done once.
    #[error("no majority of the cluster's servers agreed within {} s: {reason}", waited.as_secs())]
    NoQuorum {
        /// How long was waited.
        waited: Duration,
        /// What stands in the way, as far as this node knows.
        reason: String,
    },
    /// The command is larger than an entry of the log may be.
    #[error("the command is larger than {} KiB", COMMAND_BYTES_MAX / 1024)]
    TooLarge,
    /// This node takes no part in agreeing any more.
    #[error("this node takes no part in what the cluster agrees on: {0}")]
    Stopped(String),
}

impl Handle {
    pub(super) fn new(state: State) -> (Handle, Ends) {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (told, state) = watch::channel(Arc::new(state));
        (Handle { asks, state }, Ends { asks: asked, state: told })
    }

    /// Proposes a command and waits until it is agreed on and applied, at any node.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let request = self.request().await?;
        self.propose_as(request, command).await
    }

    /// A name for a command that may have to be proposed more than once. Waits until this node knows what is agreed.
    ///
    /// # Errors
    /// [`ProposeError::NoQuorum`] and [`ProposeError::Stopped`].
    pub async fn request(&self) -> Result<Request, ProposeError> {
        let mut state = self.state();
        let known = state.wait_for(|state| state.applied() > 0);
        match timeout(PROPOSE_MAX, known).await {
            Ok(Ok(state)) => Ok(Request::new(state.applied())),
            Ok(Err(_)) => Err(ProposeError::Stopped("the agent ends".into())),
            Err(_) => {
                let reason = "this node has not heard from any of them yet".into();
                Err(ProposeError::NoQuorum { waited: PROPOSE_MAX, reason })
            }
        }
    }

    /// Proposes a command under a name: however often this is done, the command is done once.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose_as(&self, request: Request, command: Command) -> Result<Reply, ProposeError> {
        let ended = || ProposeError::Stopped("the agent ends".into());
        let (reply, outcome) = oneshot::channel();
        let ask = Ask { proposal: Proposal { request, command }, reply };
        let exchange = async {
            self.asks.send(ask).await.map_err(|_| ended())?;
            outcome.await.map_err(|_| ended())?
        };
        // The driver knows better why it takes so long, and is given the time to say so.
        match timeout(PROPOSE_MAX + Duration::from_secs(1), exchange).await {
            Ok(answer) => Ok(answer??),
            Err(_) => {
                Err(ProposeError::NoQuorum { waited: PROPOSE_MAX, reason: "this node is too busy".into() })
            }
        }
    }

    /// What is agreed, as far as this node has heard.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }
}

/// How long a proposal waits for a majority: more than the time that servers need to find a new leader.
pub const PROPOSE_MAX: Duration = Duration::from_secs(6);

/// Longest encoded command. What is larger than this is no record but data.
pub const COMMAND_BYTES_MAX: usize = 512 * 1024;

/// Proposals that wait for the driver; whoever brings more waits.
const ASKS_MAX: usize = 256;
