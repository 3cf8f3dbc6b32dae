//! How guests, families and the home warden itself come to their end.

use ipc_home::replies::Replies;
use ipc_home::residence::{Event, Residence};
use migration::handoff::{Ask, Incarnation, Seat};
use node_agent::warden::control::FromWarden;
use node_agent::warden::lease::keep_alive;
use transport::Epoch;

use super::home::{Asker, Home, Loss, Original, Peer};
use super::plant::Bug;
use super::stage::Stage;
use super::witness::Job;
use super::word::{Address, Timer, Word};

impl Home {
    /// A guest warden is to end; this is repeated until it is known to have.
    pub(super) fn dismiss(&mut self, stage: &mut Stage, incarnation: u64, epoch: Epoch) {
        self.peers.remove(&incarnation);
        self.dismissed.insert(incarnation, (epoch, stage.clock()));
        stage.send(Address::Guest(incarnation), Word::Ask(Ask::Discard(epoch), None));
    }

    pub(super) fn gone(&mut self, stage: &mut Stage, incarnation: u64) {
        self.dismissed.remove(&incarnation);
        let seat = Seat::Guest(Incarnation(incarnation));
        let Some(peer) = self.peers.remove(&incarnation) else { return };
        let present = self.residence.seat();
        let (seat, silence) = match present {
            Seat::Guest(Incarnation(other)) if stage.has(Bug::AnyDeathCounts) => {
                (present, self.peers.get(&other).map_or(0, |peer| stage.now - peer.heard_at))
            }
            _ => (seat, stage.now - peer.heard_at),
        };
        self.loss = Some(Loss { seat, silence });
        self.decide(stage, Event::Gone(seat));
    }

    pub(super) fn pulse(&mut self, stage: &mut Stage) {
        let (now, lease) = (stage.clock(), stage.lease);
        let silent = |peer: &Peer| now.duration_since(peer.heard) >= lease;
        let lost: Vec<u64> =
            self.peers.iter().filter(|(_, peer)| silent(peer)).map(|(incarnation, _)| *incarnation).collect();
        for incarnation in lost {
            self.gone(stage, incarnation);
        }
        self.peers.keys().for_each(|peer| stage.send(Address::Guest(*peer), Word::Ping));
        // Whoever hears nothing for that long has ended by itself.
        self.dismissed.retain(|_, (_, since)| now.duration_since(*since) < lease * 2);
        for (incarnation, (epoch, _)) in &self.dismissed {
            stage.send(Address::Guest(*incarnation), Word::Ask(Ask::Discard(*epoch), None));
        }
        self.is_pulsing = !(self.peers.is_empty() && self.dismissed.is_empty());
        if self.is_pulsing {
            stage.after(keep_alive(lease), Timer::Pulse);
        }
    }

    pub(super) fn lost(&mut self, stage: &mut Stage) {
        if stage.has(Bug::LossIsSilent) {
            return;
        }
        if stage.has(Bug::SecondBody) {
            self.original = Original::Runs(self.image.clone().unwrap_or_default());
            return self.let_go(stage);
        }
        self.end(stage, Job::Lost);
    }

    pub(super) fn end(&mut self, stage: &mut Stage, job: Job) {
        if self.original == Original::Ended {
            return;
        }
        stage.witness.end(self.family, job);
        self.original = Original::Ended;
        self.run += 1;
        self.under_way.fill(None);
        let epoch = self.residence.promised();
        for incarnation in self.peers.keys().copied().collect::<Vec<_>>() {
            self.dismiss(stage, incarnation, epoch);
        }
        let reason = format!("the program has ended: {job:?}");
        self.order_ends(stage, FromWarden::Failed { reason, goes_on: false });
    }

    /// Its node is gone, and everything on it.
    pub(super) fn vanish(&mut self) {
        self.life += 1;
        self.original = Original::Ended;
        self.asker = None;
        self.peers.clear();
        self.dismissed.clear();
    }

    /// It dies. A program that is whole heals itself and goes on plainly; a deputy dies with it.
    pub(super) fn die(&mut self, stage: &mut Stage) {
        self.life += 1;
        if let Some(Asker { agent, ticket }) = self.asker.take() {
            stage.send(agent, Word::WardenLost { ticket });
        }
        self.is_pulsing = false;
        self.telling = None;
        self.step += 1;
        self.run += 1;
        self.former.extend(self.peers.keys().chain(self.dismissed.keys()));
        self.peers.clear();
        self.dismissed.clear();
        self.under_way.fill(None);
        (self.arrived, self.image) = (None, None);
        match std::mem::replace(&mut self.original, Original::Ended) {
            Original::Runs(body) | Original::Stands(body) => {
                let recorded = if stage.has(Bug::EpochsAreReused) { Epoch(0) } else { self.disk };
                self.residence = Residence::at_home(recorded);
                self.replies.fill(Replies::default());
                self.original = Original::Runs(body);
                self.let_go(stage);
            }
            Original::Deputy => stage.witness.end(self.family, Job::Lost),
            Original::Ended => {}
        }
    }
}
