//! What an agent does about what the cluster agreed on.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tui::model::EventLevel;

use super::log::About;
use super::state::{Agent, Event};
use crate::api::{RaftReport, Response};
use crate::cluster::membership::{self, Role, log_number};
use crate::cluster::{Command, Handle, ProposeError, Refused, State};
use crate::exit::{ExitCode, Failure};
use crate::members::Member;

/// Tells the agent whenever there is news.
pub(super) async fn watch(mut state: watch::Receiver<Arc<State>>, events: mpsc::Sender<Event>) {
    // What was agreed before the start is news, too.
    state.mark_changed();
    while state.changed().await.is_ok() && events.send(Event::Agreed).await.is_ok() {}
}

impl Agent {
    /// Takes over who belongs to the cluster and who does not. Without a majority the list on disk stays good.
    pub(super) fn on_agreed(&mut self) {
        let state = self.part.handle().state().borrow().clone();
        let nodes = state.membership.nodes();
        let members = nodes
            .iter()
            .filter_map(|(id, node)| Some(Member { id: *id, name: node.name.clone(), addr: node.addr? }));
        self.learn(members.collect::<Vec<_>>());
        let mut forgotten = false;
        for id in state.membership.gone() {
            let name = self.peers.members.get(*id).map(|member| member.name.clone());
            if self.peers.forget(*id) {
                forgotten = true;
                self.part.lines().remove(*id);
                let name = name.unwrap_or_default();
                let text = format!("{name} was removed from the cluster");
                self.note(EventLevel::Warning, About::node(&name), text);
            }
        }
        if forgotten && let Err(error) = self.peers.members.save(&self.dirs.members_file()) {
            tracing::warn!("members are not remembered over a restart: {error}");
        }
        let listens = nodes.get(&self.me.id).is_some_and(|node| node.addr != Some(self.me.addr));
        if listens && !self.telling {
            self.telling = true;
            let (handle, me, events) = (self.part.handle().clone(), self.me.clone(), self.events.clone());
            tokio::spawn(async move { tell_address(&handle, &me, &events).await });
        }
    }
}

/// Tells the cluster where this node listens, until it knows.
async fn tell_address(handle: &Handle, me: &Member, events: &mpsc::Sender<Event>) {
    let listen = membership::Command::Listen { id: me.id, addr: me.addr };
    while !events.is_closed() {
        match handle.propose(Command::Membership(listen.clone())).await {
            Ok(_) => return,
            Err(ProposeError::NoQuorum { .. }) => {}
            Err(error) => return tracing::warn!("the cluster does not take this node's address: {error}"),
        }
    }
}

/// What `homing raft status` tells.
pub(super) async fn raft_status(part: &crate::cluster::Part) -> Result<Response, Failure> {
    let what = "cannot tell how agreement is";
    let status = part.status().await.map_err(|error| failure(what, &error))?;
    let state = part.handle().state().borrow().clone();
    let names = state.membership.servers().map(|(id, node)| (log_number(id), node.name.clone())).collect();
    Ok(Response::Raft(Box::new(RaftReport { status, applied: state.applied(), servers: names })))
}

/// Removes a node for good.
pub(super) async fn revoke(handle: &Handle, name: &str) -> Result<Response, Failure> {
    let what = format!("cannot revoke {name}");
    let state = handle.state().borrow().clone();
    let Some((id, _)) = state.membership.named(name) else {
        let failure = Failure::new(ExitCode::NotFound, what, "no node of the cluster has this name");
        return Err(failure.next("homing nodes"));
    };
    let remove = Command::Membership(membership::Command::Remove { id });
    handle.propose(remove).await.map_err(|error| failure(&what, &error))?;
    Ok(Response::Revoked)
}

/// Says why something was not agreed on.
pub(super) fn failure(what: &str, error: &ProposeError) -> Failure {
    use membership::Refused as Why;
    let (code, next) = match error {
        ProposeError::Refused(Refused::Membership(Why::UnknownToken)) => {
            (ExitCode::NotFound, "homing token list")
        }
        ProposeError::Refused(Refused::Membership(Why::UnknownNode)) => (ExitCode::NotFound, "homing nodes"),
        ProposeError::Refused(Refused::NotAllowed) => {
            (ExitCode::NotAllowed, "do it at a server: homing raft status")
        }
        ProposeError::Refused(_) | ProposeError::TooLarge => (ExitCode::Failed, ""),
        ProposeError::NoQuorum { .. } | ProposeError::Stopped(_) => {
            (ExitCode::NoAgent, "see which servers are lost: homing nodes, homing raft status")
        }
    };
    let failure = Failure::from_error(code, what, error);
    if next.is_empty() { failure } else { failure.next(next) }
}

/// What a token makes of its user.
pub(super) fn role(server: bool) -> Role {
    if server { Role::Server } else { Role::Node }
}
