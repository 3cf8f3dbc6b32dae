//! The keeper: the process that holds the nodes of `homing dev`; the hidden verb `dev-keeper`.
//!
//! The nodes live in pipes and threads of whoever makes them, and with them the bodies that are away. So that is
//! not the command in the user's terminal, the *front*, but a process in a session of its own, which neither Ctrl-C
//! nor `kill -9` of the front reaches:
//!
//! - The front starts the keeper with one end of a socket pair as its standard input. While that conversation lasts,
//!   the front holds the nodes; [`ToKeeper::Stop`] brings every process home and ends everything.
//! - When the front dies without that word, the keeper keeps everything as it is: bodies run on. The next front
//!   finds it by its socket, hears that it is [`FromKeeper::Orphaned`], and says the word that the dead one did not.
//! - When the keeper itself is killed, the nodes end at once and the bodies in them; the first node's agent and
//!   wardens are ended by the next keeper.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;

use super::cluster::{Cluster, ClusterError};
use super::places::{Places, node_name};
use crate::exit::{ExitCode, Failure};
use front::Front;
use protocol::{FromKeeper, ToKeeper};

mod front;
pub mod protocol;
mod recall;

/// Runs the verb: makes `count` nodes and keeps them until it is told to stop.
///
/// What goes wrong is told to the front, so this needs no standard error.
#[must_use]
pub fn main(places: &Places, count: u8) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let kept = runtime.map_err(KeeperError::Loop).and_then(|runtime| runtime.block_on(keep(places, count)));
    if kept.is_ok() { ExitCode::Done } else { ExitCode::Failed }
}

async fn keep(places: &Places, count: u8) -> Result<(), KeeperError> {
    let front = Front::new(starter()?).map_err(KeeperError::Front)?;
    match make(places, count).await {
        Ok(keeper) => {
            front.tell(FromKeeper::Ready);
            keeper.serve(front).await
        }
        Err(error) => {
            let what = "cannot make the nodes on this machine";
            let failure = Failure::from_error(ExitCode::Failed, what, &error).next("homing doctor");
            front.tell(FromKeeper::Failed(failure));
            front.farewell().await;
            Err(error)
        }
    }
}

async fn make(places: &Places, count: u8) -> Result<Keeper, KeeperError> {
    rustix::process::setsid().map_err(|error| KeeperError::Session(error.into()))?;
    let program = std::env::current_exe().map_err(KeeperError::Program)?;
    let terminate = signal(SignalKind::terminate()).map_err(KeeperError::Loop)?;
    let mut cluster = Cluster::start(&program, places, count)?;
    cluster.ready().await?;
    let listener = listen(&places.keeper_socket()).map_err(KeeperError::Listen)?;
    Ok(Keeper { cluster, places: places.clone(), listener, terminate })
}

struct Keeper {
    cluster: Cluster,
    places: Places,
    listener: UnixListener,
    terminate: Signal,
}

enum Event {
    Wish(ToKeeper),
    FrontGone,
    Caller(UnixStream),
    Second,
}

impl Keeper {
    async fn serve(mut self, front: Front) -> Result<(), KeeperError> {
        let mut front = Some(front);
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            let event = tokio::select! {
                wish = wish(front.as_mut()) => wish.map_or(Event::FrontGone, Event::Wish),
                Ok((caller, _)) = self.listener.accept() => Event::Caller(caller),
                _ = seconds.tick() => Event::Second,
                _ = self.terminate.recv() => Event::Wish(ToKeeper::Stop),
            };
            match event {
                Event::Wish(ToKeeper::Stop) => break,
                Event::FrontGone => front = None,
                Event::Caller(caller) => {
                    // One that has gone already says nothing and needs no answer.
                    let Ok(caller) = Front::new(caller) else { continue };
                    match &front {
                        Some(holder) => caller.tell(FromKeeper::Held { by: holder.pid() }),
                        None => {
                            caller.tell(FromKeeper::Orphaned);
                            front = Some(caller);
                        }
                    }
                }
                Event::Second => {
                    for sentence in self.cluster.ended_agents() {
                        say(front.as_ref(), sentence);
                    }
                }
            }
        }
        self.stop(front).await
    }

    async fn stop(self, front: Option<Front>) -> Result<(), KeeperError> {
        let wardens = self.places.node(&node_name(1)).wardens();
        recall::recall(&wardens, |sentence| say(front.as_ref(), sentence)).await;
        // Before the last word: who hears it may start the next keeper at once.
        drop(self);
        if let Some(front) = front {
            front.tell(FromKeeper::Stopped);
            front.farewell().await;
        }
        Ok(())
    }
}

async fn wish(front: Option<&mut Front>) -> Option<ToKeeper> {
    match front {
        Some(front) => front.wish().await,
        None => std::future::pending().await,
    }
}

fn say(front: Option<&Front>, sentence: String) {
    if let Some(front) = front {
        front.tell(FromKeeper::Said(sentence));
    }
}

/// The conversation with the front that has started this keeper: its standard input.
fn starter() -> Result<UnixStream, KeeperError> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(KeeperError::Front)?;
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).map_err(KeeperError::Front)?;
    UnixStream::from_std(socket).map_err(KeeperError::Front)
}

/// For root alone: whoever talks to a keeper can end every node.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Why nodes are not kept.
#[derive(Debug, Error)]
enum KeeperError {
    #[error("cannot run the keeper's event loop")]
    Loop(#[source] io::Error),
    #[error("cannot talk to the command that asked for the nodes")]
    Front(#[source] io::Error),
    #[error("cannot leave the terminal's session")]
    Session(#[source] io::Error),
    #[error("cannot find the homing program")]
    Program(#[source] io::Error),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("cannot listen for the next `homing dev`")]
    Listen(#[source] io::Error),
}

/// The hidden verb of the `homing` command that runs [`main`].
pub const DEV_KEEPER_VERB: &str = "dev-keeper";
