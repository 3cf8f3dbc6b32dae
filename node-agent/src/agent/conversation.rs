//! The tasks that talk to wardens while the loop goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::protocol::PeerResponse;
use super::state::Event;
use super::wardens::Nursery;
use crate::mover::{self, PREPARE_MAX, Refusal};
use crate::warden::control::{Offer, ToWarden};

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
    loop {
        let heard = tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(command) => conversation.tell(&command).await.map(|()| None),
            },
            heard = conversation.hear() => heard.map(Some),
        };
        match heard {
            Ok(None) => {}
            Ok(Some(said)) => tell(mover::Event::WardenSaid(said)).await,
            Err(error) => return tell(mover::Event::WardenLost(error.line())).await,
        }
    }
}

/// Answers a node that asks for a warden here.
pub(super) async fn place(nursery: Arc<Nursery>, offer: Box<Offer>) -> PeerResponse {
    let deadline = Instant::now() + GUEST_START_MAX;
    match nursery.guest_warden(&offer, deadline).await {
        Ok(accept) => PeerResponse::Accepted(accept),
        Err(error) => PeerResponse::Refused(vec![Refusal::Warden { reason: error.line() }]),
    }
}

/// Less than the asking node waits, so that the reason arrives there.
const GUEST_START_MAX: Duration = Duration::from_secs(4);
