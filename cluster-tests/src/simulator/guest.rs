//! A guest warden: the real [`Keeper`] and the real rule of the lease, around a simulated body.

use std::time::{Duration, Instant};

use migration::handoff::{Action, Ask, Digest, Event, Keeper, State};
use node_agent::warden::lease::{self, Contact, Hold, Signs, Turn, Unborn};

use super::body::{Body, Reply};
use super::plant::Bug;
use super::points::{Deed, Point};
use super::stage::{Stage, Time, Wish};
use super::word::{Address, Call, Timer, Word};

/// How a guest warden came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Crashed,
    /// Home was silent for the whole lease, or nothing has ever run here.
    Alone,
    /// Home said so.
    Told,
    /// Home is no more.
    Orphaned,
}

#[derive(Debug)]
pub(super) struct Guest {
    pub(super) incarnation: u64,
    pub(super) node: usize,
    pub(super) family: usize,
    pub(super) keeper: Keeper,
    pub(super) body: Body,
    pub(super) end: Option<End>,
    /// When it heard of home last.
    pub(super) heard: Time,
    hands: Option<Ask>,
    image: Option<Body>,
    /// Its threads stand still for a move.
    pub(super) stopped: bool,
    pub(super) hold: Hold,
    /// Counts how often its threads were let go.
    run: u64,
    bytes: u64,
    signs: Signs,
    last: Instant,
    unborn: Unborn,
}

impl Guest {
    pub(super) fn new(stage: &mut Stage, incarnation: u64, node: usize, family: usize) -> Guest {
        let now = stage.clock();
        stage.after(lease::pause(Contact::Kept, stage.lease), Timer::Look);
        Guest {
            incarnation,
            node,
            family,
            keeper: Keeper::default(),
            body: Body::default(),
            end: None,
            heard: stage.now,
            hands: None,
            image: None,
            stopped: false,
            hold: Hold::default(),
            run: 0,
            bytes: 0,
            signs: Signs::new(0, now),
            last: now,
            unborn: Unborn::default(),
        }
    }

    pub(super) fn is_computing(&self) -> bool {
        self.end.is_none() && self.keeper.runs_in().is_some() && !self.stopped && self.hold != Hold::Holds
    }

    /// Home has begun to move the family: it stands still, or will.
    pub(super) fn is_moving(&self) -> bool {
        self.keeper.runs_in().is_none() || matches!(self.hands, Some(Ask::Stop(_)))
    }

    pub(super) fn hear(&mut self, stage: &mut Stage, word: Word) {
        self.bytes += 1;
        (self.heard, self.last) = (stage.now, stage.clock());
        self.contact(stage, Contact::Kept);
        match word {
            Word::Ask(ask, image) => {
                self.image = image.or(self.image.take());
                let event = Event::Asked(self.misheard(stage, ask));
                if !(stage.has(Bug::GoOnIsForgotten) && matches!(ask, Ask::GoOn { .. })) {
                    self.step(stage, event);
                }
            }
            Word::Return { thread, seq, reply } => self.learn(stage, thread, seq, reply),
            Word::Fenced(epoch) => self.step(stage, Event::Fenced(epoch)),
            Word::Ping => stage.send(Address::Home(self.family), Word::Pong),
            Word::Nobody(_) => self.end = Some(End::Orphaned),
            _ => {}
        }
    }

    pub(super) fn ring(&mut self, stage: &mut Stage, timer: Timer) {
        match timer {
            Timer::Hands(ask) if self.hands == Some(ask) => self.done(stage, ask),
            Timer::Look => self.look(stage),
            Timer::Compute { thread, run } if run == self.run && self.may_go_on(stage, thread) => {
                let asked = stage.random.next();
                self.body.threads[thread].outstanding = Some(asked);
                self.call(stage, thread);
            }
            Timer::Resend { thread, seq, run } if run == self.run => {
                let waits = self.body.threads.get(thread).is_some_and(|thread| thread.seq() == seq);
                if waits && !stage.has(Bug::CallsAreSentOnce) {
                    self.call(stage, thread);
                }
            }
            _ => {}
        }
    }

    fn misheard(&self, stage: &Stage, ask: Ask) -> Ask {
        match (ask, self.keeper.state()) {
            (Ask::Stop(_), State::Runs(present)) if stage.has(Bug::LateStopIsObeyed) => Ask::Stop(present),
            _ => ask,
        }
    }

    fn may_go_on(&self, stage: &Stage, thread: usize) -> bool {
        let is_last = thread + 1 == self.body.threads.len();
        let escapes =
            stage.has(Bug::SourceRunsOn) || stage.has(Bug::OneThreadRunsOn) && is_last && thread > 0;
        !self.stopped && self.hold != Hold::Holds || escapes && self.stopped
    }

    fn step(&mut self, stage: &mut Stage, event: Event) {
        for action in self.keeper.step(event) {
            match action {
                Action::Do(ask) => self.begin(stage, ask),
                Action::Say(answer) => {
                    let image =
                        matches!(answer, migration::handoff::Answer::Taken(..)).then(|| self.body.clone());
                    stage.send(Address::Home(self.family), Word::Answer(answer, image));
                }
                Action::End => self.end = Some(End::Told),
            }
        }
        if stage.has(Bug::StartOnAccepted)
            && let State::Accepted(epoch, _) = self.keeper.state()
        {
            self.step(stage, Event::Asked(Ask::Start(epoch)));
        }
    }

    fn begin(&mut self, stage: &mut Stage, ask: Ask) {
        if stage.hits(Point::GuestDiesBefore(Deed::of(ask))) {
            stage.wishes.push(Wish::Die);
        }
        match ask {
            Ask::Start(_) | Ask::GoOn { .. } => {
                self.hands = None;
                self.stopped = false;
                self.let_go(stage);
                if stage.hits(Point::GuestDiesAfter(Deed::of(ask))) {
                    stage.wishes.push(Wish::Die);
                }
            }
            _ => {
                self.hands = Some(ask);
                let is_slow = stage.hits(Point::HandsAreSlow);
                let time = if is_slow { stage.while_ms(2_000, 12_000) } else { stage.while_ms(1, 200) };
                stage.after(time, Timer::Hands(ask));
            }
        }
    }

    fn done(&mut self, stage: &mut Stage, ask: Ask) {
        self.hands = None;
        if stage.hits(Point::HandsFail) {
            return self.step(stage, Event::CouldNot(ask));
        }
        let result = match ask {
            Ask::Stop(_) => {
                self.stopped = true;
                if !stage.has(Bug::SourceRunsOn) && !stage.has(Bug::OneThreadRunsOn) {
                    self.run += 1;
                }
                None
            }
            Ask::Take(_) => Some(self.body.digest()),
            Ask::Accept(_, expected) => Some(self.put_together(stage, expected)),
            _ => None,
        };
        self.step(stage, Event::Did(ask, result));
        if stage.hits(Point::GuestDiesAfter(Deed::of(ask))) {
            stage.wishes.push(Wish::Die);
        }
    }

    fn put_together(&mut self, stage: &mut Stage, expected: Digest) -> Digest {
        self.body = self.image.take().unwrap_or_default();
        if stage.hits(Point::ImageIsDamaged)
            && let Some(thread) = self.body.threads.first_mut()
        {
            thread.history ^= 1;
        }
        let digest = self.body.digest();
        for thread in &mut self.body.threads {
            if stage.has(Bug::CallsStayBehind) {
                thread.outstanding = None;
            }
            if stage.has(Bug::SeqRestarts) {
                thread.calls = 0;
            }
        }
        if stage.has(Bug::DamageIsAccepted) { expected } else { digest }
    }

    /// Its threads run, and the calls that they are in are made again.
    fn let_go(&mut self, stage: &mut Stage) {
        if self.hold == Hold::Holds {
            return;
        }
        self.run += 1;
        for thread in 0..self.body.threads.len() {
            if self.body.threads[thread].outstanding.is_some() {
                self.call(stage, thread);
            } else {
                self.compute(stage, thread);
            }
        }
    }

    fn compute(&mut self, stage: &mut Stage, thread: usize) {
        if !self.body.threads[thread].is_over {
            let time = stage.while_ms(1, COMPUTE_MS_MAX);
            stage.after(time, Timer::Compute { thread, run: self.run });
        }
    }

    fn call(&mut self, stage: &mut Stage, thread: usize) {
        let Some(epoch) = self.keeper.epoch() else { return };
        let caller = self.body.threads[thread];
        let Some(asked) = caller.outstanding else { return };
        let (seq, history) = (caller.seq(), caller.history);
        stage.send(Address::Home(self.family), Word::Call(Call { epoch, thread, seq, asked, history }));
        stage.after(RESEND, Timer::Resend { thread, seq, run: self.run });
    }

    fn learn(&mut self, stage: &mut Stage, thread: usize, seq: u64, reply: Reply) {
        if !matches!(self.keeper.state(), State::Runs(_) | State::Stopped(_)) {
            return;
        }
        let thread = if stage.has(Bug::WrongThread) {
            let waits = |thread: &usize| self.body.threads[*thread].outstanding.is_some();
            (0..self.body.threads.len()).find(waits).unwrap_or(thread)
        } else {
            thread
        };
        let seq = if stage.has(Bug::WrongThread) { self.body.threads[thread].seq() } else { seq };
        let before = self.body.threads[thread];
        if self.body.threads[thread].learn(seq, reply) {
            stage.witness.learn(self.family, thread, &before, reply);
            if self.may_go_on(stage, thread) {
                self.compute(stage, thread);
            }
        }
    }

    fn look(&mut self, stage: &mut Stage) {
        let (now, lease) = (stage.clock(), stage.lease);
        let rule = if stage.has(Bug::LeaseIsTooLong) { lease / 2 * 3 } else { lease };
        let contact = self.signs.look(self.bytes, now, rule);
        self.contact(stage, contact);
        let is_over = now.duration_since(self.last) >= rule && !stage.has(Bug::LeaseNeverEnds);
        if is_over || self.unborn.is_forsaken(self.keeper.has_run(), contact, now) {
            self.end = Some(End::Alone);
            return;
        }
        if contact != Contact::Kept {
            stage.send(Address::Home(self.family), Word::Ping);
        }
        stage.after(lease::pause(contact, lease), Timer::Look);
    }

    fn contact(&mut self, stage: &mut Stage, contact: Contact) {
        if contact == Contact::Kept && stage.has(Bug::HoldIsForever) && self.hold == Hold::Holds {
            return;
        }
        let goes_on = self.hold.step(contact) == Some(Turn::GoOn);
        if goes_on && !self.stopped && self.keeper.runs_in().is_some() {
            self.let_go(stage);
        }
        if self.hold == Hold::Due && !self.is_moving() {
            self.hold = Hold::Holds;
            self.run += 1;
        }
    }
}

/// Between two calls of a thread.
pub(super) const COMPUTE_MS_MAX: u64 = 2_000;

/// A call that is not answered is made heard again.
const RESEND: Duration = Duration::from_millis(400);
