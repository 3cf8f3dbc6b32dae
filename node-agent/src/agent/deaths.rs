//! Wardens that are killed: their agent sees it at once, and tells whoever deals with them.
//!
//! Between the two wardens of a family only silence would tell it, and silence may be the network's.

use std::path::{Path, PathBuf};

use migration::sys::{pidfd, readiness};
use tokio::sync::mpsc;
use transport::{KeyHash, NodeId, ProcessId};
use tui::model::EventLevel;

use super::log::About;
use super::peers;
use super::protocol::PeerRequest;
use super::state::{Agent, Event};
use super::wardens::{self, WardenError};
use crate::exit::JOB_LOST;
use crate::warden::control::{WardenRole, WardenStatus};

/// Asks a warden that was just started who it is, so that its end is noticed from now on.
pub(super) async fn introduce(socket: PathBuf, events: mpsc::Sender<Event>) {
    for _ in 0..INTRODUCTIONS_MAX {
        match wardens::status(&socket).await {
            Err(WardenError::Gone) => return,
            // A guest warden answers as soon as the home warden has come.
            Err(_) => {}
            Ok(status) => {
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::WardenAnswered { socket, status: Ok(status) }).await;
                return;
            }
        }
    }
}

impl Agent {
    /// Waits for the end of a warden that has just told who it is.
    pub(super) fn watch_warden(&self, socket: &Path, pid: u32) {
        let watched = pidfd::open(pid).map(readiness::readable);
        let (socket, events) = (socket.to_owned(), self.events.clone());
        tokio::spawn(async move {
            let is_gone = match watched {
                Ok(Ok(watched)) => watched.readable().await.is_ok(),
                // By now already.
                Err(errno) => errno.is_death(),
                Ok(Err(_)) => false,
            };
            if is_gone {
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::WardenEnded { socket, pid }).await;
            }
        });
    }

    pub(super) fn on_warden_ended(&mut self, socket: &Path, pid: u32) {
        let Some(status) = self.families.status(socket).filter(|status| status.pid == pid).cloned() else {
            return;
        };
        self.families.remove(socket);
        // One that ends by itself takes its socket with it, and has told its peer; the next one may be there already.
        if !socket.exists() || wardens::is_served(socket) {
            return;
        }
        self.nursery.sweep(socket);
        let WardenStatus { role, process, key, home_name, at, .. } = status;
        let text = match role {
            WardenRole::Home if at == home_name => {
                format!("{}: its home warden was killed; it goes on at home", process.pid)
            }
            WardenRole::Home => format!("{}: its home warden was killed, and it with it", process.pid),
            WardenRole::Guest => format!("{} of {home_name}: its guest warden was killed", process.pid),
        };
        self.note(EventLevel::Warning, About::process(&home_name, process.pid), text);
        let concerned = self.peers.lines().filter(|(id, _)| role == WardenRole::Home || *id == process.home);
        for (_, connection) in concerned {
            let connection = connection.clone();
            tokio::spawn(async move {
                // A peer that cannot be told finds out by the wardens' own connection.
                let _ = peers::ask(&connection, &PeerRequest::WardenGone { process, key }).await;
            });
        }
    }

    /// A peer's warden of this key was killed: this node's wardens of the family are told. Of families at home elsewhere
    /// only their home has something to say.
    pub(super) fn on_peer_warden_gone(&mut self, from: NodeId, process: ProcessId, key: KeyHash) {
        if ![self.me.id, from].contains(&process.home) {
            tracing::warn!("{from} told of a warden of process {}, which is at home elsewhere", process.pid);
            return;
        }
        if process.home == self.me.id {
            let node = self.peers.members.get(from).map_or("a node", |member| &member.name).to_owned();
            let away = self.families.of_home_pid(process.pid).is_some_and(|family| family.status.at == node);
            let text = if away {
                format!(
                    "{}: its guest warden at {node} was killed; with its body there, it ends with status {JOB_LOST}",
                    process.pid
                )
            } else {
                format!("{}: its guest warden at {node} was killed before it went there", process.pid)
            };
            self.note(EventLevel::Warning, About::process(&self.me.name.clone(), process.pid), text);
        }
        for socket in self.nursery.sockets_of(process) {
            tokio::spawn(async move {
                if let Err(error) = wardens::tell_of_death(&socket, key).await {
                    tracing::debug!("warden {}: {}", socket.display(), error.line());
                }
            });
        }
    }
}

/// Each waits for a second at most.
const INTRODUCTIONS_MAX: u32 = 10;
