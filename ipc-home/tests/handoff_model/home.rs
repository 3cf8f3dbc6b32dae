//! What each step changes at home, and what must hold while it does.

use ipc_home::replies::Asked;
use ipc_home::residence::{self, Residence, Verdict};
use migration::handoff::{Answer, Ask, Incarnation, Seat};
use transport::Epoch;

use crate::body::{Content, Thread};
use crate::coverage;
use crate::weaken::Weakening;
use crate::world::{Original, Packet, World};

impl World {
    /// Home decides something, and its hands and its voice do what follows.
    pub(crate) fn decide(&mut self, event: residence::Event) {
        if !self.home_is_gone {
            coverage::decided(self.residence.phase(), coverage::Heard::Event(event));
            let actions = self.residence.step(event);
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<residence::Action>) {
        for action in actions {
            match action {
                residence::Action::Record(epoch) if self.left.failures.is_some() => {
                    self.recording = Some(epoch);
                }
                residence::Action::Record(epoch) => {
                    self.recorded = epoch;
                    self.decide(residence::Event::Recorded);
                }
                residence::Action::Tell(Seat::Guest(to), ask) => {
                    self.lend_what_leaves(to, ask);
                    self.tell(to, ask);
                }
                residence::Action::Tell(Seat::Home, ask) => self.begin_at_home(ask),
                residence::Action::Moved | residence::Action::NotMoved(_) | residence::Action::Lost(_) => {}
            }
        }
    }

    /// In post-copy, home keeps the memory for the body until all of it is there.
    fn lend_what_leaves(&mut self, to: Incarnation, ask: Ask) {
        if let (true, Ask::Accept(..), Original::Stands(content)) =
            (self.left.is_postcopy, ask, self.original)
        {
            self.lent = Some((to, content));
            self.warden(to).borrows = true;
        }
    }

    fn begin_at_home(&mut self, ask: Ask) {
        let is_slow = match ask {
            Ask::Prepare(_) | Ask::Copy(_) | Ask::Stop(_) | Ask::Take(_) | Ask::Accept(..) => {
                self.left.failures.is_some()
            }
            Ask::Start(_) | Ask::GoOn { .. } | Ask::Discard(_) => false,
        };
        self.hands = is_slow.then_some(ask);
        if !is_slow {
            self.do_at_home(ask);
        }
    }

    fn do_at_home(&mut self, ask: Ask) {
        if let Some(answer) = self.come_of(ask) {
            self.decide(residence::Event::Heard(Seat::Home, answer));
        }
    }

    pub(crate) fn home_did(&mut self, is_done: bool) {
        let Some(ask) = self.hands.take() else { return };
        if is_done {
            self.do_at_home(ask);
        } else {
            self.left.failures = self.left.failures.map(|failures| failures - 1);
            self.decide(residence::Event::Heard(Seat::Home, Answer::Failed(ask)));
        }
    }

    pub(crate) fn written(&mut self, is_written: bool) {
        let Some(epoch) = self.recording.take() else { return };
        if is_written {
            self.recorded = epoch;
            self.decide(residence::Event::Recorded);
        } else {
            self.left.failures = self.left.failures.map(|failures| failures - 1);
            self.decide(residence::Event::NotRecorded);
        }
    }

    fn come_of(&mut self, ask: Ask) -> Option<Answer> {
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
                for (thread, log) in content.threads.iter_mut().zip(self.log) {
                    if let Some(choice) = log.choice(thread.seq()) {
                        thread.learn(choice);
                    }
                }
                self.original = Original::Runs(content);
                Answer::Runs(epoch)
            }
            (Ask::GoOn { epoch, .. }, Original::Stands(content) | Original::Runs(content)) => {
                self.original = Original::Runs(content);
                if self.weakening != Some(Weakening::MemoryIsLentWhileItChanges) {
                    self.lent = None;
                }
                Answer::Runs(epoch)
            }
            (Ask::Discard(_), Original::Deputy) => {
                self.arrived = None;
                return None;
            }
            (Ask::Discard(_), _) => {
                self.original = Original::Deputy;
                if self.weakening == Some(Weakening::MemoryIsDroppedEarly) {
                    self.lent = self.lent.map(|(to, content)| (to, content.hollow()));
                }
                return None;
            }
            _ => return Some(Answer::Failed(ask)),
        })
    }

    /// A body asks for the memory that it has left here.
    pub(crate) fn lend(&mut self, borrower: Incarnation) {
        if let Some((to, content)) = self.lent.filter(|(to, _)| *to == borrower) {
            let content = match self.original {
                Original::Runs(present) => present,
                Original::Stands(_) | Original::Deputy => content,
            };
            self.send(Packet::Memory(to, content));
        }
    }

    pub(crate) fn serve(
        &mut self,
        from: Incarnation,
        epoch: Epoch,
        thread: u8,
        caller: Thread,
    ) -> Result<(), String> {
        if self.home_is_gone {
            return Ok(());
        }
        let before = self.residence.clone();
        let (verdict, actions) = self.residence.called(Seat::Guest(from), epoch);
        coverage::decided(before.phase(), coverage::Heard::Call(verdict));
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
        self.execute(from, thread, caller)
    }

    fn execute(&mut self, from: Incarnation, thread: u8, caller: Thread) -> Result<(), String> {
        let Some(choice) = caller.outstanding else { return Ok(()) };
        let (seq, number) = (caller.seq(), usize::from(thread));
        if self.weakening == Some(Weakening::RepliesAreForgotten) {
            self.replies = Default::default();
        }
        let kept = if self.weakening == Some(Weakening::RepliesAreShared) { 0 } else { number };
        let reply = match self.replies[kept].asked(u64::from(seq), false) {
            Asked::Answered(reply) => *reply,
            Asked::UnderWay | Asked::Stale => return Ok(()),
            Asked::New => {
                let log = &mut self.log[number];
                if caller.history != *log {
                    return Err(format!("a call was executed for {:?} after {log:?}", caller.history));
                }
                log.push(choice);
                self.replies[kept].answered(u64::from(seq), choice);
                choice
            }
        };
        self.send(Packet::Return(from, thread, seq, reply));
        Ok(())
    }

    pub(crate) fn call_at_home(&mut self, thread: u8, choice: bool) -> Result<(), String> {
        let Original::Runs(mut content) = self.original else { return Ok(()) };
        let number = usize::from(thread);
        let (caller, log) = (&mut content.threads[number], &mut self.log[number]);
        if caller.history != *log {
            return Err(format!("a call was executed for {:?} after {log:?}", caller.history));
        }
        // One that it was in while it was away is the one that it makes.
        let choice = caller.outstanding.unwrap_or(choice);
        log.push(choice);
        self.replies[number].answered(u64::from(caller.seq()), choice);
        caller.learn(choice);
        self.original = Original::Runs(content);
        Ok(())
    }

    /// The home warden dies. A program that is still whole heals itself and goes on; a deputy dies with it.
    pub(crate) fn crash_home(&mut self) {
        self.left.home_crashes -= 1;
        self.is_lucky = false;
        (self.hands, self.recording, self.lent) = (None, None, None);
        match self.original {
            Original::Runs(content) | Original::Stands(content) => {
                let recorded =
                    if self.weakening == Some(Weakening::EpochsAreReused) { Epoch(0) } else { self.recorded };
                self.original = Original::Runs(content);
                self.residence = Residence::at_home(recorded);
                self.replies = Default::default();
                self.arrived = None;
            }
            Original::Deputy => self.home_is_gone = true,
        }
    }
}
