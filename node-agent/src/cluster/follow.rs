//! The driver of a node that is no server: it follows one of the servers, and proposes through any of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use transport::NodeId;
use transport::channel::Channel;
use transport::endpoint::Connection;
use transport::frame::FrameError;

use super::handle::{Ask, Ends, PROPOSE_MAX, ProposeError};
use super::lines::{Lines, Talk};
use super::membership::Role;
use super::raft::decode;
use super::request::Proposal;
use super::state::{Outcome, State};
use super::talk::receive_pieces;

/// Follows what is agreed and brings proposals to servers, until nobody needs it any more.
pub(super) async fn run(ends: Ends, lines: Lines) {
    let Ends { mut asks, state } = ends;
    let known = state.subscribe();
    let following = tokio::spawn(follow(state, lines.clone()));
    while let Some(Ask { proposal, mut reply }) = asks.recv().await {
        let (lines, known) = (lines.clone(), known.clone());
        tokio::spawn(async move {
            tokio::select! {
                answer = bring(&proposal, &lines, &known) => drop(reply.send(answer)),
                () = reply.closed() => {}
            }
        });
    }
    following.abort();
}

/// The servers that are connected, or everybody while nobody is known to be one. The first is another one each time.
fn servers(lines: &Lines, state: &State, turn: usize) -> Vec<(NodeId, Connection)> {
    let role = |id: &NodeId| state.membership.nodes().get(id).map(|node| node.role);
    let unknown = state.membership.nodes().is_empty();
    let mut all = lines.all();
    all.retain(|(id, _)| unknown || role(id) == Some(Role::Server));
    if !all.is_empty() {
        let first = turn % all.len();
        all.rotate_left(first);
    }
    all
}

async fn follow(told: watch::Sender<Arc<State>>, lines: Lines) {
    for turn in 0.. {
        let known = told.borrow().clone();
        for (_, connection) in servers(&lines, &known, turn).into_iter().take(1) {
            if let Err(error) = follow_one(&connection, &told).await {
                tracing::debug!("following what is agreed broke off: {error}");
            }
        }
        sleep(AGAIN_AFTER).await;
    }
}

async fn follow_one(connection: &Connection, told: &watch::Sender<Arc<State>>) -> Result<(), FrameError> {
    let (mut sender, mut receiver) = connection.open(Channel::Cluster).await?;
    sender.send(&Talk::Follow, &[]).await?;
    let mut state = State::default();
    while let Some((talk, _)) = receiver.recv::<Talk>().await? {
        match talk {
            Talk::State(index) => {
                let bytes = receive_pieces(&mut receiver).await?;
                let Ok(whole) = decode(index, &bytes) else { return Ok(()) };
                state = whole;
            }
            Talk::Entry(index, proposal) if index == state.applied() + 1 => match proposal {
                // What came of it is the business of whoever proposed it.
                Some(proposal) => drop(state.apply(index, *proposal)),
                None => state.skip_to(index),
            },
            _ => return Ok(()),
        }
        // A server that lags behind what this node knows is not believed to be news.
        if state.applied() >= told.borrow().applied() {
            told.send_replace(Arc::new(state.clone()));
        }
    }
    Ok(())
}

async fn bring(
    proposal: &Proposal,
    lines: &Lines,
    known: &watch::Receiver<Arc<State>>,
) -> Result<Outcome, ProposeError> {
    let deadline = Instant::now() + PROPOSE_MAX;
    let mut reason = "no server is connected".to_owned();
    for turn in 0.. {
        let state = known.borrow().clone();
        for (id, connection) in servers(lines, &state, turn) {
            let left = deadline.saturating_duration_since(Instant::now());
            let exchange = async {
                let (mut sender, mut receiver) = connection.open(Channel::Cluster).await?;
                sender.send(&Talk::Propose(Box::new(proposal.clone())), &[]).await?;
                sender.finish();
                receiver.recv::<Talk>().await
            };
            match timeout(left.min(SERVER_MAX), exchange).await {
                Ok(Ok(Some((Talk::Done(outcome), _)))) => return Ok(outcome),
                Ok(Ok(Some((Talk::NoQuorum(why), _)))) => reason = why,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => reason = format!("server {id}: {error}"),
                Err(_) => reason = format!("server {id} gives no answer"),
            }
        }
        if Instant::now() + AGAIN_AFTER > deadline {
            break;
        }
        sleep(AGAIN_AFTER).await;
    }
    Err(ProposeError::NoQuorum { waited: PROPOSE_MAX, reason })
}

/// A server that cannot be followed, or not be asked, is tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Then another server is asked the same.
const SERVER_MAX: Duration = Duration::from_secs(3);
