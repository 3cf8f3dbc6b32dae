//! What each step changes, and what must hold while it does.

use ipc_home::replies::{Asked, Replies};
use ipc_home::residence::{self, Residence, Verdict};
use migration::handoff::{self, Answer, Ask, Incarnation, Seat};
use transport::Epoch;

use crate::body::Content;
use crate::weaken::Weakening;
use crate::world::{Original, Packet, Step, Warden, World};

impl World {
    pub(crate) fn happen(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Order(to) => {
                if let Seat::Guest(_) = to {
                    self.wardens.push(Warden {
                        keeper: handoff::Keeper::default(),
                        body: Content::default(),
                        lives: true,
                    });
                }
                self.decide(residence::Event::Ordered(to));
            }
            Step::TimeUp => self.decide(residence::Event::TimeUp),
            Step::CallAtHome(choice) => return self.call_at_home(choice),
            Step::CallAtGuest(incarnation, choice) => {
                self.warden(incarnation).body.outstanding = Some(choice);
                self.call(incarnation);
            }
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
                Packet::Return(_, seq, choice) => return self.learn(to, seq, choice),
                Packet::Fenced(_, epoch) => self.obey(to, handoff::Event::Fenced(epoch), false),
                Packet::Answer(_, answer) => self.decide(residence::Event::Heard(Seat::Guest(to), answer)),
                Packet::Call(_, epoch, content) => return self.serve(to, epoch, content),
            },
        }
        Ok(())
    }

    fn deliver(&mut self, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Ask(to, ask) => self.obey(to, handoff::Event::Asked(ask), false),
            Packet::Fenced(to, epoch) => self.obey(to, handoff::Event::Fenced(epoch), false),
            Packet::Return(to, seq, choice) => return self.learn(to, seq, choice),
            Packet::Answer(from, answer) => self.decide(residence::Event::Heard(Seat::Guest(from), answer)),
            Packet::Call(from, epoch, content) => return self.serve(from, epoch, content),
        }
        Ok(())
    }

    /// Home decides something, and its hands and its voice do what follows.
    fn decide(&mut self, event: residence::Event) {
        if !self.home_is_gone {
            let actions = self.residence.step(event);
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<residence::Action>) {
        for action in actions {
            match action {
                residence::Action::Record(epoch) => {
                    self.recorded = epoch;
                    self.decide(residence::Event::Recorded);
                }
                residence::Action::Tell(Seat::Guest(to), ask) => self.tell(to, ask),
                residence::Action::Tell(Seat::Home, ask) => {
                    if let Some(answer) = self.do_at_home(ask) {
                        self.decide(residence::Event::Heard(Seat::Home, answer));
                    }
                }
                residence::Action::Moved | residence::Action::NotMoved(_) | residence::Action::Lost(_) => {}
            }
        }
    }

    fn tell(&mut self, to: Incarnation, ask: Ask) {
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

    fn do_at_home(&mut self, ask: Ask) -> Option<Answer> {
        Some(match (ask, self.original) {
            (Ask::Prepare(epoch), _) => Answer::Prepared(epoch),
            (Ask::Copy(epoch), _) => Answer::Copied(epoch),
            (Ask::Stop(epoch), Original::Runs(content)) => {
                self.original = Original::Stands(content);
                Answer::Stopped(epoch)
            }
            (Ask::Take(epoch), Original::Stands(content)) => Answer::Taken(epoch, content.digest()),
            (Ask::Accept(epoch, digest), Original::Deputy) => {
                self.arrived = Some(Content::of(digest));
                Answer::Accepted(epoch, digest)
            }
            (Ask::Start(epoch), Original::Deputy) => {
                let mut content = self.arrived.take()?;
                // A call that was executed ends now; one that was not is made natively.
                if let Some(choice) = self.log.choice(content.seq()) {
                    content.learn(choice);
                }
                self.original = Original::Runs(content);
                Answer::Runs(epoch)
            }
            (Ask::GoOn { epoch, .. }, Original::Stands(content) | Original::Runs(content)) => {
                self.original = Original::Runs(content);
                Answer::Runs(epoch)
            }
            (Ask::Discard(_), Original::Deputy) => {
                self.arrived = None;
                return None;
            }
            (Ask::Discard(_), _) => {
                self.original = Original::Deputy;
                return None;
            }
            _ => return Some(Answer::Failed(ask)),
        })
    }

    /// A guest warden hears something, and its hands and its voice do what follows.
    fn obey(&mut self, incarnation: Incarnation, event: handoff::Event, is_damaged: bool) {
        let weakening = self.weakening;
        let warden = self.warden(incarnation);
        if !warden.lives {
            return;
        }
        let mut actions =
            warden.keeper.step(weakening.map_or(event, |weakening| weakening.misheard(warden, event)));
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    handoff::Action::Do(ask) => {
                        let warden = self.warden(incarnation);
                        let result = match ask {
                            Ask::Take(_) => Some(warden.body.digest()),
                            Ask::Accept(_, digest) => {
                                warden.body = Content::of(digest);
                                if is_damaged {
                                    warden.body = warden.body.damaged();
                                }
                                let seen = match weakening {
                                    Some(Weakening::DamageIsAccepted) => digest,
                                    _ => warden.body.digest(),
                                };
                                if weakening == Some(Weakening::CallsStayBehind) {
                                    warden.body.outstanding = None;
                                }
                                Some(seen)
                            }
                            _ => None,
                        };
                        next.extend(warden.keeper.step(handoff::Event::Did(ask, result)));
                        if matches!(ask, Ask::Start(_) | Ask::GoOn { .. }) {
                            self.call(incarnation);
                        }
                    }
                    handoff::Action::Say(answer) => self.send(Packet::Answer(incarnation, answer)),
                    handoff::Action::End => {}
                }
            }
            actions = next;
        }
    }

    /// The call that a body is in goes to home, again after a move.
    fn call(&mut self, incarnation: Incarnation) {
        let Warden { keeper, body, .. } = self.warden(incarnation);
        let epoch = match keeper.state() {
            // Only where standing still is left out.
            handoff::State::Runs(epoch)
            | handoff::State::Stopped(epoch)
            | handoff::State::Taken(epoch, _) => epoch,
            _ => return,
        };
        if body.outstanding.is_some() {
            let packet = Packet::Call(incarnation, epoch, *body);
            self.send(packet);
        }
    }

    fn serve(&mut self, from: Incarnation, epoch: Epoch, caller: Content) -> Result<(), String> {
        if self.home_is_gone {
            return Ok(());
        }
        let before = self.residence.clone();
        let (verdict, actions) = self.residence.called(Seat::Guest(from), epoch);
        if self.weakening == Some(Weakening::TakenBackAfterCalls) {
            self.residence = before;
        } else {
            self.act(actions);
        }
        match self.weakening.map_or(verdict, |weakening| weakening.misjudged(verdict)) {
            Verdict::Fence => {
                self.send(Packet::Fenced(from, epoch));
                return Ok(());
            }
            Verdict::Execute => {}
        }
        let Some(choice) = caller.outstanding else { return Ok(()) };
        let seq = caller.seq();
        if self.weakening == Some(Weakening::RepliesAreForgotten) {
            self.replies = Replies::default();
        }
        let reply = match self.replies.asked(u64::from(seq), false) {
            Asked::Answered(reply) => *reply,
            Asked::UnderWay | Asked::Stale => return Ok(()),
            Asked::New => {
                if caller.history != self.log {
                    return Err(format!("a call was executed for {:?} after {:?}", caller.history, self.log));
                }
                self.log.push(choice);
                self.replies.answered(u64::from(seq), choice);
                choice
            }
        };
        self.send(Packet::Return(from, seq, reply));
        Ok(())
    }

    fn learn(&mut self, incarnation: Incarnation, seq: u8, reply: bool) -> Result<(), String> {
        let log = self.log;
        let Warden { keeper, body, lives } = self.warden(incarnation);
        let can_hear = matches!(keeper.state(), handoff::State::Runs(_) | handoff::State::Stopped(_));
        if !*lives || !can_hear || body.seq() != seq {
            return Ok(());
        }
        let Some(asked) = body.outstanding else { return Ok(()) };
        if log.choice(seq) != Some(reply) {
            return Err(format!("a body learns {reply} of call {seq}, which never happened: {log:?}"));
        }
        if asked != reply {
            return Err(format!("a body asks for {asked} in call {seq} and is answered for {reply}"));
        }
        body.learn(reply);
        Ok(())
    }

    fn call_at_home(&mut self, choice: bool) -> Result<(), String> {
        let Original::Runs(mut content) = self.original else { return Ok(()) };
        if content.history != self.log {
            return Err(format!("a call was executed for {:?} after {:?}", content.history, self.log));
        }
        // One that it was in while it was away is the one that it makes.
        let choice = content.outstanding.unwrap_or(choice);
        self.log.push(choice);
        self.replies.answered(u64::from(content.seq()), choice);
        content.learn(choice);
        self.original = Original::Runs(content);
        Ok(())
    }

    /// The home warden dies. A program that is still whole heals itself and goes on; a deputy dies with it.
    fn crash_home(&mut self) {
        self.left.home_crashes -= 1;
        self.is_lucky = false;
        match self.original {
            Original::Runs(content) | Original::Stands(content) => {
                let recorded =
                    if self.weakening == Some(Weakening::EpochsAreReused) { Epoch(0) } else { self.recorded };
                self.original = Original::Runs(content);
                self.residence = Residence::at_home(recorded);
                self.replies = Replies::default();
                self.arrived = None;
            }
            Original::Deputy => self.home_is_gone = true,
        }
    }
}
