//! The tasks that talk to wardens while the loop goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use transport::Epoch;

use super::protocol::PeerResponse;
use super::state::Event;
use super::wardens::Nursery;
use crate::mover::{self, PREPARE_MAX, Refusal};
use crate::warden::control::{Accept, Offer, ToWarden, WardenRole, WardenStatus};

/// Talks to the home warden for one move, starting it if need be.
pub(super) async fn converse(
    nursery: Arc<Nursery>,
    (pid, start_ticks): (u32, u64),
    mut commands: mpsc::Receiver<ToWarden>,
    ticket: u64,
    events: mpsc::Sender<Event>,
) {
    let tell = async |event| {
        // Without an agent there is nobody to tell.
        let _ = events.send(Event::Move { ticket, event }).await;
    };
    let deadline = Instant::now() + PREPARE_MAX;
    let mut conversation = match nursery.home_warden(pid, start_ticks, deadline).await {
        Ok(conversation) => conversation,
        Err(error) => return tell(mover::Event::WardenLost(error.line())).await,
    };
    tell(mover::Event::WardenFound).await;
    // A warden whose family is plain at home ends when nobody asks: it may do so just when somebody does.
    let mut first: Option<ToWarden> = None;
    let mut may_be_ending = true;
    loop {
        let heard = tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(command) => {
                    let told = conversation.tell(&command).await.map(|()| None);
                    first.get_or_insert(command);
                    told
                }
            },
            heard = conversation.hear() => heard.map(Some),
        };
        match heard {
            Ok(None) => {}
            Ok(Some(said)) => {
                may_be_ending = false;
                tell(mover::Event::WardenSaid(said)).await;
            }
            Err(_) if may_be_ending && matches!(first, None | Some(ToWarden::Prepare)) => {
                may_be_ending = false;
                let again = async {
                    conversation = nursery.home_warden(pid, start_ticks, deadline).await?;
                    match &first {
                        Some(prepare) => conversation.tell(prepare).await,
                        None => Ok(()),
                    }
                };
                if let Err(error) = again.await {
                    return tell(mover::Event::WardenLost(error.line())).await;
                }
            }
            Err(error) => return tell(mover::Event::WardenLost(error.line())).await,
        }
    }
}

/// Answers a node that asks for a warden here.
pub(super) async fn place(
    nursery: Arc<Nursery>,
    offer: Box<Offer>,
    events: mpsc::Sender<Event>,
) -> PeerResponse {
    let deadline = Instant::now() + GUEST_START_MAX;
    match nursery.guest_warden(&offer, deadline).await {
        Ok((accept, pid, socket)) => {
            // Its end is noticed from now on, also before it could tell who it is.
            let status = newborn(&nursery, &offer, accept, pid);
            // Without an agent there is nobody to tell.
            let _ = events.send(Event::WardenAnswered { socket, status: Ok(status) }).await;
            PeerResponse::Accepted(accept)
        }
        Err(error) => PeerResponse::Refused(vec![Refusal::Warden { reason: error.line() }]),
    }
}

/// A guest warden as it is before home has told it anything.
fn newborn(nursery: &Nursery, offer: &Offer, accept: Accept, pid: u32) -> WardenStatus {
    WardenStatus {
        pid,
        key: accept.key,
        role: WardenRole::Guest,
        process: offer.process,
        home_name: offer.home_name.clone(),
        at: nursery.node_name.clone(),
        epoch: Epoch(0),
        moving: true,
        processes: Vec::new(),
        calls: 0,
        call_bytes: 0,
        refused_calls: Vec::new(),
    }
}

/// Less than the asking node waits, so that the reason arrives there.
const GUEST_START_MAX: Duration = Duration::from_secs(4);
