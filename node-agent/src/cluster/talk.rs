//! What another agent says about agreement on a stream that it opened, and what it is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use transport::NodeId;
use transport::endpoint::CODE_DONE;
use transport::frame::{FrameError, FrameReceiver, FrameSender};
use transport::wire::{self, LONG_BYTES_MAX};

use super::driver::Input;
use super::handle::{Handle, ProposeError};
use super::lines::Talk;
use super::membership::{Role, log_number};
use super::raft::Agreed;
use super::request::Proposal;
use super::rows::Message;
use super::send::send_pieces;
use super::state::{Refused, State};

/// What a server needs to answer others.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) handle: Handle,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) agreed: broadcast::Sender<Arc<Agreed>>,
}

/// Answers one stream that node `from` opened; `desk` is none at a node that is no server.
pub(super) async fn serve(
    from: NodeId,
    mut sender: FrameSender,
    mut receiver: FrameReceiver,
    desk: Option<Desk>,
) {
    let Ok(Ok(Some((first, _)))) = timeout(FIRST_MAX, receiver.recv::<Talk>()).await else {
        return sender.reset(CODE_DONE);
    };
    let Some(desk) = desk else {
        // Whoever asks tries another node.
        let _ = sender.send(&Talk::NoServer, &[]).await;
        return sender.finish();
    };
    // A stream that breaks is opened again by whoever needs it.
    let _ = match first {
        Talk::Message(message) => desk.hear(from, *message, sender, receiver).await,
        Talk::Propose(proposal) => {
            let answer = desk.propose(from, *proposal).await;
            let sent = sender.send(&answer, &[]).await;
            sender.finish();
            sent
        }
        Talk::Follow => desk.feed(from, sender).await,
        _ => {
            sender.reset(CODE_DONE);
            Ok(())
        }
    };
}

impl Desk {
    fn state(&self) -> Arc<State> {
        self.handle.state().borrow().clone()
    }

    /// Whether a node may speak as a server. One that this server has not heard of yet may be a server that was
    /// admitted lately, and may even lead.
    fn is_server(&self, from: NodeId) -> bool {
        let state = self.state();
        let known = state.membership.nodes().get(&from);
        !state.membership.gone().contains(&from) && known.is_none_or(|node| node.role == Role::Server)
    }

    async fn hear(
        &self,
        from: NodeId,
        first: Message,
        mut sender: FrameSender,
        mut receiver: FrameReceiver,
    ) -> Result<(), FrameError> {
        let mut message = first;
        loop {
            if message.from != log_number(from) || !self.is_server(from) {
                sender.reset(CODE_DONE);
                return Ok(());
            }
            let is_snapshot = message.snapshot.is_some();
            if let Some(snapshot) = &mut message.snapshot {
                snapshot.state = receive_pieces(&mut receiver).await?;
            }
            if self.inputs.send(Input::Message(Box::new(message))).await.is_err() {
                sender.reset(CODE_DONE);
                return Ok(());
            }
            if is_snapshot {
                sender.send(&Talk::Taken, &[]).await?;
            }
            match receiver.recv::<Talk>().await? {
                Some((Talk::Message(next), _)) => message = *next,
                _ => {
                    sender.finish();
                    return Ok(());
                }
            }
        }
    }

    async fn propose(&self, from: NodeId, Proposal { request, command }: Proposal) -> Talk {
        if !self.state().may_propose(from, &command) {
            return Talk::Done(Err(Refused::NotAllowed));
        }
        match self.handle.propose_as(request, command).await {
            Ok(reply) => Talk::Done(Ok(reply)),
            Err(ProposeError::Refused(refused)) => Talk::Done(Err(refused)),
            Err(ProposeError::NoQuorum { reason, .. }) => Talk::NoQuorum(reason),
            Err(ProposeError::TooLarge | ProposeError::Stopped(_)) => Talk::NoServer,
        }
    }

    /// Tells all that is agreed, and then what is more.
    async fn feed(&self, from: NodeId, mut sender: FrameSender) -> Result<(), FrameError> {
        let known_gone = |state: &State| state.membership.gone().contains(&from);
        'anew: loop {
            let mut agreed = self.agreed.subscribe();
            let state = self.state();
            if known_gone(&state) {
                sender.reset(CODE_DONE);
                return Ok(());
            }
            let mut bytes = Vec::new();
            wire::encode_long(&*state, &mut bytes).map_err(FrameError::Message)?;
            let mut told = state.applied();
            sender.send(&Talk::State(told), &[]).await?;
            send_pieces(&mut sender, &bytes).await?;
            loop {
                match agreed.recv().await {
                    Ok(next) if next.index <= told => {}
                    Ok(next) if next.index == told + 1 => {
                        told = next.index;
                        let proposal = next.proposal.clone().map(Box::new);
                        sender.send(&Talk::Entry(told, proposal), &[]).await?;
                    }
                    // It is too slow, or this server got a snapshot itself.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => continue 'anew,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                }
            }
        }
    }
}

/// Receives what [`send_pieces`] sent.
pub(super) async fn receive_pieces(receiver: &mut FrameReceiver) -> Result<Vec<u8>, FrameError> {
    let mut all = Vec::new();
    loop {
        match receiver.recv::<Talk>().await? {
            Some((Talk::Piece, tail)) if all.len() + tail.len() <= LONG_BYTES_MAX => {
                all.extend_from_slice(&tail)
            }
            Some((Talk::Taken, _)) => return Ok(all),
            _ => return Err(FrameError::Torn),
        }
    }
}

/// Whoever opens a stream says at once what it is for.
const FIRST_MAX: Duration = Duration::from_secs(5);
