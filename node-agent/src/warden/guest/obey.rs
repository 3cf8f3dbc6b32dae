//! What home asks for, done when and as often as the [`Keeper`](migration::handoff::Keeper) says.

use bytes::Bytes;
use migration::handoff::{Action, Answer, Ask, Digest, Event, State};
use migration::image::FamilyImage;
use transport::{Epoch, wire};

use super::build::Preparation;
use super::clocks::Estimate;
use super::lease::Contact;
use super::{Arrival, GuestWarden, Stage};
use crate::warden::bulk::Sent;
use crate::warden::fail;
use crate::warden::handoff::{OTHER, ToGuest, ToHome};

/// What may have to wait until the family is ready for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Every thread shall stop.
    Stop {
        /// In which epoch.
        epoch: Epoch,
        /// The family comes home.
        to_home: bool,
    },
    /// What is missing at the next seat shall be sent.
    Take {
        /// In which epoch.
        epoch: Epoch,
        /// Stands in every frame.
        transfer: u64,
    },
}

impl Wanted {
    pub(super) fn ask(self) -> Ask {
        match self {
            Wanted::Stop { epoch, .. } => Ask::Stop(epoch),
            Wanted::Take { epoch, .. } => Ask::Take(epoch),
        }
    }
}

/// What goes with an answer, also when that is given again.
#[derive(Default)]
pub(super) struct Words {
    copied: Option<(u64, Sent)>,
    taken: Option<(FamilyImage, Sent)>,
    trouble: String,
}

impl GuestWarden {
    /// A word of home's.
    pub(super) fn control(&mut self, message: ToGuest) {
        tracing::debug!(step = message.name(), "from home");
        fail::pass("guest", message.name());
        let Some(ask) = message.ask() else {
            self.contact(Contact::Kept);
            return self.hear(message);
        };
        // What is to end does not go on before that.
        if !matches!(ask, Ask::Discard(_)) {
            self.contact(Contact::Kept);
        }
        let actions = self.keeper.step(Event::Asked(ask));
        self.act(actions, Some(message));
    }

    /// Something that is no part of the handoff.
    fn hear(&mut self, message: ToGuest) {
        match message {
            ToGuest::Clocks { question, clocks } => self.heard_clocks(question, clocks),
            ToGuest::NewProgram { image, transfer, digest } => {
                self.await_memory(Arrival::Program { image, transfer, digest }, transfer);
            }
            ToGuest::End { pid, transfer } => self.end(pid, transfer),
            // `Here` says no more than that home is there; the others are asks.
            _ => {}
        }
    }

    /// Its hands have done it, with this result if there is one.
    pub(super) fn did(&mut self, ask: Ask, result: Option<Digest>) {
        let actions = self.keeper.step(Event::Did(ask, result));
        self.act(actions, None);
    }

    /// They could not.
    pub(super) fn could_not(&mut self, ask: Ask, reason: String) {
        tracing::error!(?ask, %reason, "a step of the handoff failed");
        let actions = self.keeper.step(Event::CouldNot(ask));
        if !actions.is_empty() {
            self.words.trouble = reason;
        }
        self.act(actions, None);
    }

    fn act(&mut self, actions: Vec<Action>, message: Option<ToGuest>) {
        let mut message = message;
        for action in actions {
            match action {
                Action::Do(ask) => {
                    if let Some(message) = message.take()
                        && let Err(reason) = self.begin(message)
                    {
                        self.could_not(ask, reason);
                    }
                }
                Action::Say(answer) => self.say(answer),
                Action::End => self.is_over = true,
            }
        }
    }

    fn begin(&mut self, message: ToGuest) -> Result<(), String> {
        match message {
            ToGuest::Prepare { epoch, foothold, transfer, pages_from, lease } => {
                let clocks = Estimate::default();
                return self.ask_clocks(Preparation { epoch, foothold, transfer, pages_from, lease, clocks });
            }
            ToGuest::Context { epoch, digest, family, transfer } => {
                self.await_memory(Arrival::Family(Ask::Accept(epoch, digest), family), transfer);
            }
            ToGuest::Start { .. } => {
                if let Some(guest) = self.guest() {
                    guest.start();
                }
            }
            ToGuest::Copy { epoch, pages, key, transfer, rounds } => {
                return self.copy(epoch, (pages, key), transfer, rounds);
            }
            ToGuest::Freeze { epoch, to_home } => self.want(Wanted::Stop { epoch, to_home }),
            ToGuest::SendRest { epoch, transfer } => self.want(Wanted::Take { epoch, transfer }),
            ToGuest::Thaw { .. } => {
                if let Some(wanted) = self.wanted {
                    let standings = self.guest().map(|guest| guest.standings());
                    tracing::warn!(?wanted, ?standings, "this could not be done");
                }
                self.go_on();
            }
            // Home does not have these done, or they end everything at once.
            ToGuest::Discard { .. }
            | ToGuest::NewProgram { .. }
            | ToGuest::End { .. }
            | ToGuest::Here
            | ToGuest::Clocks { .. } => {}
        }
        Ok(())
    }

    fn say(&mut self, answer: Answer) {
        let message = match answer {
            Answer::Prepared(epoch) => {
                let (Stage::Building(family) | Stage::Living(family)) = &self.stage else { return };
                ToHome::Prepared { epoch, pages: family.bulk.addr() }
            }
            Answer::Copied(epoch) => {
                let (transfer, sent) = self.words.copied.unwrap_or_default();
                ToHome::Copied { epoch, transfer, sent }
            }
            Answer::Stopped(epoch) => ToHome::Still { epoch },
            Answer::Taken(epoch, digest) => {
                let (family, sent) = self.words.taken.clone().unwrap_or_default();
                ToHome::Captured { epoch, digest, family, sent }
            }
            Answer::Accepted(epoch, digest) => ToHome::Ready { epoch, digest },
            Answer::Runs(epoch) => ToHome::Running { epoch },
            Answer::Failed(ask) => {
                let reason = std::mem::take(&mut self.words.trouble);
                ToHome::Failed { ask, reason: if reason.is_empty() { OTHER.to_owned() } else { reason } }
            }
        };
        self.control.send(message, Bytes::new());
    }

    pub(super) fn has_copied(&mut self, ask: Ask, transfer: u64, sent: Sent) {
        self.words.copied = Some((transfer, sent));
        self.did(ask, None);
    }

    pub(super) fn has_taken(&mut self, ask: Ask, taken: (FamilyImage, Sent), digest: Digest) {
        // What home cannot read would end this connection, and so the family.
        let message = ToHome::Captured { epoch: self.epoch(), digest, family: taken.0, sent: taken.1 };
        if let Err(error) = wire::check(&message) {
            return self.could_not(ask, format!("the family is too large to be moved ({error})"));
        }
        if let ToHome::Captured { family, sent, .. } = message {
            self.words.taken = Some((family, sent));
        }
        self.did(ask, Some(digest));
    }

    /// What is of no use any more once the family goes on.
    pub(super) fn forget_taken(&mut self) {
        self.words.taken = None;
    }

    /// The epoch of what is here.
    pub(super) fn epoch(&self) -> Epoch {
        self.keeper.epoch().unwrap_or(Epoch(0))
    }

    /// Whether the family is not to be stopped by anybody but home: it has yet to run here, or home wants it to stop, or
    /// has stopped it.
    pub(super) fn is_moving(&self) -> bool {
        !matches!(self.keeper.state(), State::Runs(_)) || self.wanted.is_some()
    }
}
