//! A move, from the order to its outcome: what [`Residence`](ipc_home::residence) wants is done, one deed after the other.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use ipc_home::protocol::ToBody;
use ipc_home::residence::{Action, Event as Happening, Reason};
use migration::handoff::{Answer, Ask, Incarnation, Seat};
use migration::image::FamilyImage;
use transport::Epoch;

use super::leave::Leaving;
use super::{HomeWarden, Peer};
use crate::warden::bulk::Sent;
use crate::warden::common::describe;
use crate::warden::control::{Accept, MoveReport};
use crate::warden::fail;
use crate::warden::streams::Outbox;

/// A move that is under way.
pub(super) struct Move {
    /// Where to; `None`: home, or not dialled yet.
    pub(super) next: Option<Peer>,
    /// Where from, once the family stands still; `None`: home.
    pub(super) from: Option<Peer>,
    /// Stands in every frame of memory.
    pub(super) transfer: u64,
    /// Where the memory goes.
    pub(super) pages: Option<SocketAddr>,
    /// What was sent so far.
    pub(super) sent: Sent,
    /// What there is of a program that leaves home.
    pub(super) leaving: Leaving,
    /// The family as it was captured.
    pub(super) family: FamilyImage,
    /// Streams to the present guest: what the deputies say is for the next one.
    pub(super) lines: HashMap<u32, Outbox<ToBody>>,
    /// Streams to the next guest, for when the family runs there.
    pub(super) next_lines: HashMap<u32, Outbox<ToBody>>,
    /// The family goes on where it was.
    pub(super) is_called_off: bool,
    /// The next seat is told to let the family run: whose calls count is not known yet.
    pub(super) is_starting: bool,
    /// What is to be done next.
    pub(super) due: VecDeque<Action>,
    /// Why a step failed.
    trouble: String,
    started: Instant,
    /// The family is being stopped.
    stopped: Option<Instant>,
    over: Option<Instant>,
}

impl Peer {
    pub(super) fn seat(&self) -> Seat {
        Seat::Guest(Incarnation(self.number))
    }
}

impl HomeWarden {
    /// Moves the family to a guest, or home; everything else that happens meanwhile is done.
    pub(super) async fn relocate(&mut self, to: Option<(&str, Accept)>) -> Result<MoveReport, String> {
        self.under_way = Some(Move::begin(self.next_transfer()));
        let node = to.as_ref().map_or(self.common.node_name.clone(), |(node, _)| (*node).to_owned());
        let moved = match to {
            None => self.carry_out(Seat::Home).await,
            Some((node, accept)) => match self.dial(node, accept).await {
                Ok(peer) => {
                    let seat = peer.seat();
                    self.under_way()?.next = Some(peer);
                    self.carry_out(seat).await
                }
                Err(reason) => Err(reason),
            },
        };
        if let Some(unused) = self.under_way()?.next.as_ref().map(|next| next.number) {
            // Nobody was told to, if not even the record could be written.
            self.dismiss(unused);
        }
        let done = self.under_way.take();
        self.catch_up();
        moved?;
        let Move { started, stopped, over, sent, .. } = done.ok_or(NOTHING)?;
        let (stopped, over) = (stopped.unwrap_or(started), over.unwrap_or(started));
        Ok(self.report(&node, started, over - stopped, sent))
    }

    async fn carry_out(&mut self, to: Seat) -> Result<(), String> {
        let mut outcome = None;
        let mut happened = vec![Happening::Ordered(to)];
        loop {
            for event in happened {
                let actions = self.residence.step(event);
                self.under_way()?.due.extend(actions);
            }
            happened = match self.under_way()?.due.pop_front() {
                Some(Action::Record(epoch)) => vec![self.record(epoch)],
                Some(Action::Tell(seat, ask)) => self.tell(seat, ask).await,
                Some(Action::Moved) => {
                    outcome = Some(self.arrived().await);
                    Vec::new()
                }
                Some(Action::NotMoved(reason) | Action::Lost(reason)) => {
                    outcome = Some(Err(self.words(reason)));
                    Vec::new()
                }
                None => match outcome {
                    Some(outcome) => return outcome,
                    None if self.residence.is_settled() || self.residence.is_lost() => {
                        return Err(NOTHING.to_owned());
                    }
                    // The seat that it came from is gone, and the next one is all there is.
                    None => vec![Happening::TimeUp],
                },
            };
        }
    }

    /// Has a seat do something; what came of it.
    async fn tell(&mut self, seat: Seat, ask: Ask) -> Vec<Happening> {
        tracing::debug!(?seat, ?ask, "told");
        fail::pass("home", name(ask));
        if let Some(moving) = &mut self.under_way {
            moving.asked(ask);
        }
        if let Ask::Start(epoch) = ask {
            self.commit(epoch);
        }
        let done = match seat {
            Seat::Home => self.at_home(ask).await,
            Seat::Guest(Incarnation(number)) => self.at_guest(number, ask).await,
        };
        match done {
            Ok(None) => Vec::new(),
            Ok(Some(answer)) => {
                if let Some(moving) = &mut self.under_way {
                    moving.answered(answer);
                }
                vec![Happening::Heard(seat, answer)]
            }
            Err(reason) => {
                tracing::info!(?seat, ?ask, reason, "a step of a move failed");
                self.trouble(reason);
                let gone = self.seats_gone();
                match ask {
                    _ if !gone.is_empty() => gone,
                    // Whether it was heard is not known: nothing else will do.
                    Ask::Start(_) | Ask::GoOn { .. } => vec![Happening::TimeUp],
                    Ask::Discard(_) => vec![Happening::Gone(self.residence.seat())],
                    _ => vec![Happening::Heard(seat, Answer::Failed(ask))],
                }
            }
        }
    }

    /// Those of the two seats of this move that are no more.
    fn seats_gone(&self) -> Vec<Happening> {
        let Some(moving) = &self.under_way else { return Vec::new() };
        let peers = [&self.away, &moving.from, &moving.next].into_iter().flatten();
        let gone = peers.filter(|peer| !self.heard.contains_key(&peer.number));
        gone.map(|peer| Happening::Gone(peer.seat())).collect()
    }

    /// The family counts there from now on; it has not been told yet.
    fn commit(&mut self, epoch: Epoch) {
        if let Err(error) = self.note_commit(epoch) {
            // The record covers the epoch: only whoever reads the file is misled.
            tracing::warn!(error = describe(error), "the record does not tell which epoch counts");
        }
        fail::pass("home", "committed");
    }

    /// It runs there, and nothing is left where it was.
    async fn arrived(&mut self) -> Result<(), String> {
        let moving = self.under_way()?;
        let (next, pages, came_from) = (moving.next.take(), moving.pages, moving.from.take());
        match next {
            None => self.be_home(),
            Some(peer) => {
                let key = peer.accept.key;
                self.be_at(peer);
                let moving = self.under_way()?;
                moving.is_starting = false;
                for (tid, outbox) in std::mem::take(&mut moving.next_lines) {
                    self.attach(tid, outbox);
                }
                self.catch_up();
                if let (Some(_), Some(pages)) = (came_from, pages) {
                    // For the programs that the family will start there.
                    let dialled = self.bulk()?.dial(pages, key);
                    if let Err(reason) = self.meanwhile(dialled).await {
                        tracing::warn!(reason, "new programs of the family will stay at home");
                    }
                }
            }
        }
        Ok(())
    }

    /// The move that is under way.
    pub(super) fn under_way(&mut self) -> Result<&mut Move, String> {
        self.under_way.as_mut().ok_or_else(|| NOTHING.to_owned())
    }

    fn words(&mut self, reason: Reason) -> String {
        if let Some(Move { from, .. }) = &mut self.under_way
            && self.residence.is_lost()
        {
            // Its end is told of the seat where it was.
            self.away = self.away.take().or(from.take());
        }
        let trouble = self.under_way.as_ref().map_or("", |moving| &moving.trouble);
        match reason {
            Reason::Busy => "busy: moving".to_owned(),
            Reason::AlreadyThere => "the family is there already".to_owned(),
            Reason::Lost => "the family is lost".to_owned(),
            _ => trouble.to_owned(),
        }
    }

    /// Keeps what went wrong, for the outcome.
    pub(super) fn trouble(&mut self, reason: String) {
        if let Some(moving) = &mut self.under_way {
            moving.trouble = reason;
        }
    }
}

impl Move {
    fn begin(transfer: u64) -> Move {
        Move {
            next: None,
            from: None,
            transfer,
            pages: None,
            sent: Sent::default(),
            leaving: Leaving::default(),
            family: FamilyImage::default(),
            lines: HashMap::new(),
            next_lines: HashMap::new(),
            is_called_off: false,
            is_starting: false,
            due: VecDeque::new(),
            trouble: String::new(),
            started: Instant::now(),
            stopped: None,
            over: None,
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Stop(_) => self.stopped = Some(Instant::now()),
            Ask::Start(_) => self.is_starting = true,
            // Whatever the next seat has called, it did not count.
            Ask::GoOn { .. } => (self.is_starting, self.is_called_off) = (false, true),
            _ => {}
        }
    }

    fn answered(&mut self, answer: Answer) {
        if let Answer::Runs(_) = answer {
            self.over = Some(Instant::now());
        }
    }

    /// The guest warden of this number is the next one, whose words do not count before the family is there.
    pub(super) fn is_next(&self, number: u64) -> bool {
        self.next.as_ref().is_some_and(|next| next.number == number)
    }

    /// The family goes home.
    pub(super) fn is_homeward(&self) -> bool {
        self.next.is_none()
    }
}

/// For instants at which something can be made to fail.
fn name(ask: Ask) -> &'static str {
    match ask {
        Ask::Prepare(_) => "to prepare",
        Ask::Copy(_) => "to copy",
        Ask::Stop(_) => "to stop",
        Ask::Take(_) => "to take",
        Ask::Accept(..) => "to accept",
        Ask::Start(_) => "to start",
        Ask::GoOn { .. } => "to go on",
        Ask::Discard(_) => "to discard",
    }
}

const NOTHING: &str = "no move is under way";
