//! What each step changes at the guests and on the way there, and what must hold while it does.

use ipc_home::residence;
use migration::handoff::{self, Ask, Incarnation, Keeper, Seat};

use crate::body::Content;
use crate::coverage;
use crate::weaken::Weakening;
use crate::world::{Packet, Step, Warden, World};

impl World {
    pub(crate) fn happen(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Order(to) => {
                if let Seat::Guest(_) = to {
                    self.wardens.push(Warden {
                        keeper: Keeper::default(),
                        body: Content::default(),
                        lives: true,
                        hands: None,
                        missing: None,
                        borrows: false,
                    });
                }
                self.decide(residence::Event::Ordered(to));
            }
            Step::Rival(to) => self.decide(residence::Event::Ordered(to)),
            Step::TimeUp => self.decide(residence::Event::TimeUp),
            Step::CallAtHome(thread, choice) => return self.call_at_home(thread, choice),
            Step::CallAtGuest(incarnation, thread, choice) => {
                self.warden(incarnation).body.threads[usize::from(thread)].outstanding = Some(choice);
                self.call(incarnation, thread);
            }
            Step::Touch(incarnation) if !self.warden(incarnation).lives => {
                return Err("a body without a warden saw a page of zeros".to_owned());
            }
            Step::Touch(incarnation) => self.send(Packet::Fetch(incarnation)),
            Step::Crash(incarnation) => {
                self.left.guest_crashes -= 1;
                self.is_lucky = false;
                self.warden(incarnation).lives = false;
            }
            Step::CrashHome => self.crash_home(),
            Step::Bury(incarnation) => {
                if self.warden(incarnation).lives {
                    self.left.suspicions -= 1;
                    self.is_lucky = false;
                }
                self.decide(residence::Event::Gone(Seat::Guest(incarnation)));
            }
            Step::Deliver(packet) => return self.deliver(packet),
            Step::Damage(to, epoch, digest) => {
                self.left.damages -= 1;
                self.obey(to, handoff::Event::Asked(Ask::Accept(epoch, digest)), true);
            }
            Step::Mislead(packet, to) => match packet {
                Packet::Ask(_, ask) => self.obey(to, handoff::Event::Asked(ask), false),
                Packet::Return(_, thread, seq, choice) => return self.learn(to, thread, seq, choice),
                Packet::Fenced(_, epoch) => self.obey(to, handoff::Event::Fenced(epoch), false),
                Packet::Answer(_, answer) => self.decide(residence::Event::Heard(Seat::Guest(to), answer)),
                Packet::Call(_, epoch, thread, caller) => return self.serve(to, epoch, thread, caller),
                Packet::Fetch(_) | Packet::Memory(..) | Packet::Whole(_) => {}
            },
            Step::Done(Seat::Home, is_done) => self.home_did(is_done),
            Step::Done(Seat::Guest(incarnation), is_done) => self.guest_did(incarnation, is_done),
            Step::Written(is_written) => self.written(is_written),
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Ask(to, ask) => self.obey(to, handoff::Event::Asked(ask), false),
            Packet::Fenced(to, epoch) => self.obey(to, handoff::Event::Fenced(epoch), false),
            Packet::Return(to, thread, seq, choice) => return self.learn(to, thread, seq, choice),
            Packet::Answer(from, answer) => self.decide(residence::Event::Heard(Seat::Guest(from), answer)),
            Packet::Call(from, epoch, thread, caller) => return self.serve(from, epoch, thread, caller),
            Packet::Fetch(from) => self.lend(from),
            Packet::Memory(to, memory) => return self.fill(to, memory),
            Packet::Whole(from) => self.lent = self.lent.filter(|(borrower, _)| *borrower != from),
        }
        Ok(())
    }

    pub(crate) fn tell(&mut self, to: Incarnation, ask: Ask) {
        if self.weakening == Some(Weakening::SourceForgetsEarly)
            && let Ask::Start(epoch) = ask
        {
            let others: Vec<_> =
                self.incarnations().map(|(other, _)| other).filter(|other| *other != to).collect();
            for other in others {
                self.obey(other, handoff::Event::Asked(Ask::Discard(epoch)), false);
            }
        }
        self.send(Packet::Ask(to, ask));
    }

    /// A guest warden hears something, and its hands and its voice do what follows.
    fn obey(&mut self, incarnation: Incarnation, event: handoff::Event, is_damaged: bool) {
        let weakening = self.weakening;
        let warden = self.warden(incarnation);
        if !warden.lives {
            return;
        }
        let event = weakening.map_or(event, |weakening| weakening.misheard(warden, event));
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let warden = self.warden(incarnation);
            coverage::kept(warden.keeper.state(), event);
            for action in warden.keeper.step(event) {
                match action {
                    handoff::Action::Do(ask) => events.extend(self.begin(incarnation, ask, is_damaged)),
                    handoff::Action::Say(answer) => self.send(Packet::Answer(incarnation, answer)),
                    handoff::Action::End => self.warden(incarnation).hands = None,
                }
            }
        }
    }

    /// What comes of it at once.
    fn begin(&mut self, incarnation: Incarnation, ask: Ask, is_damaged: bool) -> Option<handoff::Event> {
        let takes_time = self.left.failures.is_some();
        let warden = self.warden(incarnation);
        if matches!(ask, Ask::Start(_) | Ask::GoOn { .. }) {
            warden.hands = None;
            for thread in self.threads() {
                self.call(incarnation, thread);
            }
        } else if takes_time {
            warden.hands = Some(ask);
            return None;
        }
        Some(handoff::Event::Did(ask, self.result(incarnation, ask, is_damaged)))
    }

    fn result(&mut self, incarnation: Incarnation, ask: Ask, is_damaged: bool) -> Option<handoff::Digest> {
        let weakening = self.weakening;
        let warden = self.warden(incarnation);
        match ask {
            Ask::Take(_) => {
                if warden.missing.is_some() {
                    warden.body = warden.body.hollow();
                }
                Some(warden.body.digest())
            }
            Ask::Accept(_, digest) => {
                warden.body = Content::of(digest);
                if is_damaged {
                    warden.body = warden.body.damaged();
                }
                warden.missing = warden.borrows.then_some(warden.body);
                let seen = match weakening {
                    Some(Weakening::DamageIsAccepted) => digest,
                    _ => warden.body.digest(),
                };
                if weakening == Some(Weakening::CallsStayBehind) {
                    warden.body.threads.iter_mut().for_each(|thread| thread.outstanding = None);
                }
                Some(seen)
            }
            _ => None,
        }
    }

    fn guest_did(&mut self, incarnation: Incarnation, is_done: bool) {
        let Some(ask) = self.warden(incarnation).hands.take() else { return };
        let event = if is_done {
            handoff::Event::Did(ask, self.result(incarnation, ask, false))
        } else {
            self.left.failures = self.left.failures.map(|failures| failures - 1);
            handoff::Event::CouldNot(ask)
        };
        self.obey(incarnation, event, false);
    }

    /// The call that a thread is in goes to home, again after a move.
    fn call(&mut self, incarnation: Incarnation, thread: u8) {
        let Warden { keeper, body, .. } = self.warden(incarnation);
        let epoch = match keeper.state() {
            // Only where standing still is left out.
            handoff::State::Runs(epoch)
            | handoff::State::Stopped(epoch)
            | handoff::State::Taken(epoch, _) => epoch,
            _ => return,
        };
        let caller = body.threads[usize::from(thread)];
        if caller.outstanding.is_some() {
            self.send(Packet::Call(incarnation, epoch, thread, caller));
        }
    }

    fn learn(&mut self, incarnation: Incarnation, thread: u8, seq: u8, reply: bool) -> Result<(), String> {
        let (weakening, log) = (self.weakening, self.log[usize::from(thread)]);
        let Warden { keeper, body, lives, .. } = self.warden(incarnation);
        let can_hear = matches!(keeper.state(), handoff::State::Runs(_) | handoff::State::Stopped(_));
        if !*lives || !can_hear {
            return Ok(());
        }
        let waits = |learner: &usize| {
            let learner = body.threads[*learner];
            learner.seq() == seq && learner.outstanding.is_some()
        };
        let learner = if weakening == Some(Weakening::RepliesGoAstray) {
            (0..body.threads.len()).find(waits)
        } else {
            Some(usize::from(thread)).filter(waits)
        };
        let Some(learner) = learner else { return Ok(()) };
        if learner != usize::from(thread) {
            return Err(format!("thread {learner} learns what thread {thread} asked for"));
        }
        let asked = body.threads[learner].outstanding;
        if log.choice(seq) != Some(reply) {
            return Err(format!("a body learns {reply} of call {seq}, which never happened: {log:?}"));
        }
        if asked != Some(reply) {
            return Err(format!("a body asks for {asked:?} in call {seq} and is answered for {reply}"));
        }
        body.threads[learner].learn(reply);
        Ok(())
    }

    /// The memory of a body is there.
    fn fill(&mut self, incarnation: Incarnation, memory: Content) -> Result<(), String> {
        let warden = self.warden(incarnation);
        let Some(missing) = warden.missing.filter(|_| warden.lives) else { return Ok(()) };
        if memory != missing {
            return Err(format!("a body that was {missing:?} goes on as {memory:?}"));
        }
        warden.missing = None;
        self.send(Packet::Whole(incarnation));
        Ok(())
    }
}
