//! A home warden: the real [`Residence`], which it drives as the product does, one deed after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ipc_home::replies::Replies;
use ipc_home::residence::{Action, Event, Residence};
use migration::handoff::{Answer, Ask, Incarnation, Seat};
use node_agent::warden::control::{FromWarden, MoveReport, ToWarden};
use node_agent::warden::lease::keep_alive;
use transport::Epoch;

use super::agent;
use super::body::{Body, Reply};
use super::plant::Bug;
use super::points::{Deed, Point};
use super::stage::{Stage, Time, Wish};
use super::witness::Job;
use super::word::{Address, Call, Timer, Word};

/// What stands under the program's pid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Original {
    Runs(Body),
    Stands(Body),
    Deputy,
    Ended,
}

/// A guest warden that home has to do with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) heard: Instant,
    pub(super) heard_at: Time,
}

/// Whoever waits for the end of an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) agent: Address,
    pub(super) ticket: u64,
}

/// A family was given up since this seat is no more, of which nothing was heard for so long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    pub(super) seat: Seat,
    pub(super) silence: Time,
}

#[derive(Debug)]
pub(super) struct Home {
    pub(super) family: usize,
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) residence: Residence,
    pub(super) original: Original,
    pub(super) loss: Option<Loss>,
    pub(super) replies: Vec<Replies<Reply>>,
    pub(super) under_way: Vec<Option<Call>>,
    /// Counts how often the original was let go.
    pub(super) run: u64,
    pub(super) arrived: Option<Body>,
    /// The record that survives the warden.
    pub(super) disk: Epoch,
    /// The last one that a seat has sent.
    pub(super) image: Option<Body>,
    pub(super) peers: BTreeMap<u64, Peer>,
    /// Who is to end, until that is known of it, and since when.
    pub(super) dismissed: BTreeMap<u64, (Epoch, Instant)>,
    /// Guests that a former life of this warden had to do with: for them it is dead.
    pub(super) former: BTreeSet<u64>,
    pub(super) telling: Option<(Seat, Ask)>,
    pub(super) step: u64,
    pub(super) asker: Option<Asker>,
    pub(super) is_pulsing: bool,
}

impl Home {
    pub(super) fn new(family: usize, node: usize, threads: usize) -> Home {
        Home {
            family,
            node,
            life: 0,
            residence: Residence::at_home(Epoch(0)),
            original: Original::Runs(Body::new(threads)),
            loss: None,
            replies: vec![Replies::default(); threads],
            under_way: vec![None; threads],
            run: 0,
            arrived: None,
            disk: Epoch(0),
            image: None,
            peers: BTreeMap::new(),
            dismissed: BTreeMap::new(),
            former: BTreeSet::new(),
            telling: None,
            step: 0,
            asker: None,
            is_pulsing: false,
        }
    }

    /// Its program has ended and nobody is left to be told.
    pub(super) fn is_gone(&self) -> bool {
        self.original == Original::Ended && self.dismissed.is_empty()
    }

    pub(super) fn hear(&mut self, stage: &mut Stage, from: Address, word: Word) {
        if let Address::Guest(incarnation) = from {
            if self.former.contains(&incarnation) {
                return stage.send(from, Word::Nobody(Address::Home(self.family)));
            }
            self.heard(stage, incarnation);
        }
        match word {
            Word::Kill => self.end(stage, Job::Killed),
            Word::ToWarden { ticket, message } => self.asked(stage, Asker { agent: from, ticket }, &message),
            Word::Answer(answer, image) => {
                let Address::Guest(incarnation) = from else { return };
                self.image = image.or(self.image.take());
                self.decide(stage, Event::Heard(Seat::Guest(Incarnation(incarnation)), answer));
            }
            Word::Call(call) => {
                let Address::Guest(incarnation) = from else { return };
                self.serve(stage, incarnation, call);
            }
            // Whoever was placed and never called upon hears nothing.
            Word::Ping if matches!(from, Address::Guest(guest) if self.peers.contains_key(&guest)) => {
                stage.send(from, Word::Ping);
            }
            Word::Nobody(Address::Guest(incarnation)) => self.gone(stage, incarnation),
            _ => {}
        }
    }

    pub(super) fn ring(&mut self, stage: &mut Stage, timer: Timer) {
        match timer {
            Timer::Recorded(epoch, is_written) => {
                if is_written && !stage.has(Bug::EpochIsNotRecorded) {
                    self.disk = self.disk.max(epoch);
                }
                self.decide(stage, if is_written { Event::Recorded } else { Event::NotRecorded });
            }
            Timer::TimeUp(step) if step == self.step => {
                self.time_is_up(stage, step);
                self.decide(stage, Event::TimeUp);
            }
            Timer::Retry(step) if step == self.step => {
                if let Some((Seat::Guest(Incarnation(incarnation)), ask)) = self.telling {
                    self.say(stage, incarnation, ask);
                    stage.after(RETRY, Timer::Retry(step));
                }
            }
            Timer::Hands(ask) if self.telling == Some((Seat::Home, ask)) => {
                let fails = stage.hits(Point::HandsFail);
                let answer = if fails { Some(Answer::Failed(ask)) } else { self.come_of(stage, ask) };
                if let Some(answer) = answer {
                    self.decide(stage, Event::Heard(Seat::Home, answer));
                }
            }
            Timer::Pulse => self.pulse(stage),
            Timer::Compute { thread, run } if run == self.run => self.call_natively(stage, thread),
            Timer::CallDone { thread, seq } => self.call_done(stage, thread, seq),
            _ => {}
        }
    }

    fn heard(&mut self, stage: &Stage, incarnation: u64) {
        if let Some(peer) = self.peers.get_mut(&incarnation) {
            *peer = Peer { heard: stage.clock(), heard_at: stage.now };
        }
    }

    fn asked(&mut self, stage: &mut Stage, asker: Asker, message: &ToWarden) {
        if self.original == Original::Ended {
            let reason = "the program has ended".to_owned();
            return answer(stage, asker, FromWarden::Failed { reason, goes_on: false });
        }
        let to = match message {
            ToWarden::Prepare => return answer(stage, asker, agent::offer(self.family)),
            ToWarden::Recall => Seat::Home,
            ToWarden::Move { accept, .. } => {
                let incarnation = agent::incarnation(accept);
                self.peers.insert(incarnation, Peer { heard: stage.clock(), heard_at: stage.now });
                Seat::Guest(Incarnation(incarnation))
            }
            ToWarden::Status | ToWarden::PeerGone { .. } | ToWarden::NodeGone { .. } => return,
        };
        if !std::mem::replace(&mut self.is_pulsing, true) {
            stage.after(keep_alive(stage.lease), Timer::Pulse);
        }
        let actions = self.residence.step(Event::Ordered(to));
        if let [Action::NotMoved(reason)] = actions.as_slice() {
            if let Seat::Guest(Incarnation(unused)) = to {
                self.dismiss(stage, unused, self.residence.promised().next());
            }
            if stage.has(Bug::AskerIsForgotten) && self.asker.is_some() {
                self.asker = Some(asker);
                return;
            }
            return answer(stage, asker, FromWarden::Failed { reason: format!("{reason:?}"), goes_on: true });
        }
        self.asker = Some(asker);
        self.act(stage, actions);
    }

    pub(super) fn decide(&mut self, stage: &mut Stage, event: Event) {
        if self.original != Original::Ended {
            let actions = self.residence.step(event);
            self.act(stage, actions);
        }
    }

    pub(super) fn act(&mut self, stage: &mut Stage, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Record(epoch) => {
                    let is_slow = stage.hits(Point::RecordIsSlow);
                    let time = if is_slow { stage.while_ms(4_000, 9_000) } else { stage.while_ms(1, 20) };
                    let is_written = !stage.hits(Point::RecordFails);
                    stage.after(time, Timer::Recorded(epoch, is_written));
                    self.next_step(stage, None);
                }
                Action::Tell(seat, ask) => self.tell(stage, seat, ask),
                Action::Moved => {
                    stage.witness.moves += 1;
                    let at = agent::name(self.seat_node(stage));
                    let report = MoveReport { epoch: self.residence.epoch(), at, ..MoveReport::default() };
                    self.order_ends(stage, FromWarden::Moved(report));
                }
                Action::NotMoved(reason) => {
                    let reason = format!("{reason:?}");
                    self.order_ends(stage, FromWarden::Failed { reason, goes_on: true });
                }
                Action::Lost(_) => self.lost(stage),
            }
        }
    }

    fn seat_node(&self, stage: &Stage) -> usize {
        match self.residence.seat() {
            Seat::Home => self.node,
            Seat::Guest(Incarnation(incarnation)) => stage.nodes_of_guests[&incarnation],
        }
    }

    fn next_step(&mut self, stage: &mut Stage, telling: Option<(Seat, Ask)>) {
        self.step += 1;
        self.telling = telling;
        self.time_is_up(stage, self.step);
    }

    /// It will be, once more.
    fn time_is_up(&self, stage: &mut Stage, step: u64) {
        let limit = match self.telling {
            None | Some((_, Ask::Prepare(_))) => Duration::from_secs(5),
            Some((_, Ask::Copy(_))) => Duration::from_secs(10),
            Some(_) => Duration::from_secs(2),
        };
        stage.after(limit, Timer::TimeUp(step));
    }

    fn tell(&mut self, stage: &mut Stage, seat: Seat, ask: Ask) {
        if stage.hits(Point::HomeDiesBefore(Deed::of(ask))) {
            return stage.wishes.push(Wish::Die);
        }
        match (ask, seat) {
            (Ask::Discard(epoch), Seat::Guest(Incarnation(incarnation))) => {
                self.dismiss(stage, incarnation, epoch);
            }
            (Ask::Discard(_), Seat::Home) => {
                self.come_of(stage, ask);
            }
            (_, seat) => {
                if let Ask::Start(epoch) | Ask::GoOn { epoch, .. } = ask {
                    stage.witness.grant(self.family, epoch, seat);
                    self.source_may_go(stage, ask);
                }
                self.next_step(stage, Some((seat, ask)));
                match seat {
                    Seat::Guest(Incarnation(incarnation)) => {
                        self.say(stage, incarnation, ask);
                        stage.after(RETRY, Timer::Retry(self.step));
                    }
                    Seat::Home => {
                        let is_quick = matches!(ask, Ask::Start(_) | Ask::GoOn { .. });
                        let is_slow = !is_quick && stage.hits(Point::HandsAreSlow);
                        let time =
                            if is_slow { stage.while_ms(2_000, 12_000) } else { stage.while_ms(1, 200) };
                        stage.after(time, Timer::Hands(ask));
                    }
                }
                if stage.has(Bug::CommitBeforeAccepted)
                    && let Ask::Accept(epoch, digest) = ask
                {
                    self.decide(stage, Event::Heard(seat, Answer::Accepted(epoch, digest)));
                }
            }
        }
        if stage.hits(Point::HomeDiesAfter(Deed::of(ask))) {
            stage.wishes.push(Wish::Die);
        }
    }

    /// Only where it is the bug: not before the family has begun.
    fn source_may_go(&mut self, stage: &mut Stage, ask: Ask) {
        if let (true, Ask::Start(epoch)) = (stage.has(Bug::DiscardBeforeRuns), ask) {
            let others: Vec<u64> = self.peers.keys().copied().collect();
            let next = self.residence.seat();
            for other in others.into_iter().filter(|other| Seat::Guest(Incarnation(*other)) != next) {
                stage.send(Address::Guest(other), Word::Ask(Ask::Discard(epoch), None));
            }
        }
    }

    fn say(&self, stage: &mut Stage, incarnation: u64, ask: Ask) {
        let image = match ask {
            Ask::Accept(..) => self.image.clone(),
            _ => None,
        };
        stage.send(Address::Guest(incarnation), Word::Ask(ask, image));
    }

    fn come_of(&mut self, stage: &mut Stage, ask: Ask) -> Option<Answer> {
        let original = std::mem::replace(&mut self.original, Original::Deputy);
        let (original, answer) = match (ask, original) {
            (Ask::Prepare(epoch), original) => (original, Some(Answer::Prepared(epoch))),
            (Ask::Copy(epoch), original) => (original, Some(Answer::Copied(epoch))),
            (Ask::Stop(epoch), Original::Runs(body)) => {
                self.run += 1;
                // Nothing of a call that was interrupted has happened.
                self.under_way.fill(None);
                (Original::Stands(body), Some(Answer::Stopped(epoch)))
            }
            (Ask::Take(epoch), Original::Stands(body)) => {
                self.image = Some(body.clone());
                let digest = body.digest();
                (Original::Stands(body), Some(Answer::Taken(epoch, digest)))
            }
            (Ask::Accept(epoch, expected), Original::Deputy) => {
                self.arrived = self.image.take();
                let digest = self.arrived.as_ref().map(Body::digest);
                let is_good = digest == Some(expected);
                let answer = if is_good { Answer::Accepted(epoch, expected) } else { Answer::Failed(ask) };
                (Original::Deputy, Some(answer))
            }
            (Ask::Start(epoch), Original::Deputy) => {
                let body = self.arrived.take();
                let answer = body.is_some().then_some(Answer::Runs(epoch));
                (body.map_or(Original::Deputy, Original::Runs), answer)
            }
            (Ask::GoOn { epoch, .. }, Original::Stands(body) | Original::Runs(body)) => {
                (Original::Runs(body), Some(Answer::Runs(epoch)))
            }
            (Ask::Discard(_), Original::Deputy) => {
                self.arrived = None;
                (Original::Deputy, None)
            }
            (Ask::Discard(_), Original::Runs(_) | Original::Stands(_)) => (Original::Deputy, None),
            (_, Original::Ended) => (Original::Ended, None),
            (_, original) => (original, Some(Answer::Failed(ask))),
        };
        self.original = original;
        if matches!(ask, Ask::Start(_) | Ask::GoOn { .. }) {
            self.let_go(stage);
        }
        answer
    }

    pub(super) fn order_ends(&mut self, stage: &mut Stage, said: FromWarden) {
        self.step += 1;
        self.telling = None;
        if let Some(asker) = self.asker.take() {
            answer(stage, asker, said);
        }
    }
}

fn answer(stage: &mut Stage, Asker { agent, ticket }: Asker, message: FromWarden) {
    stage.send(agent, Word::FromWarden { ticket, message });
}

/// What was asked is asked again.
const RETRY: Duration = Duration::from_millis(300);
