//! One program, its home, and the guest wardens that home has started: the machines are homing's own.
//!
//! The network is a set that only grows: each packet in it is delivered any number of times, in any order, or never.
//! So it loses, repeats, reorders and delays, and is cut for any time. What the machines tell their hands is done at
//! once, unless the budget says that it takes time; the program may end its call at any time.
//!
//! In post-copy a family that leaves home runs before its memory is there: registers hold the call that each thread is
//! in, and whatever else a thread does needs the memory, which comes as one piece when it is asked for.

use ipc_home::replies::Replies;
use ipc_home::residence::Residence;
use migration::handoff::{Answer, Ask, Digest, Incarnation, Keeper, Seat, State};
use transport::Epoch;

use crate::body::{Content, History, THREADS_MAX, Thread};
use crate::weaken::Weakening;

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) threads: u8,
    /// Calls that each thread makes.
    pub(crate) calls: u8,
    /// Orders are given while no more epochs than these were promised.
    pub(crate) epochs: u64,
    pub(crate) guest_crashes: u8,
    pub(crate) home_crashes: u8,
    /// Living wardens that home takes for dead.
    pub(crate) suspicions: u8,
    /// Images that come to something else than was sent.
    pub(crate) damages: u8,
    /// Whether hands and disks take time. If so, as many of their deeds fail.
    pub(crate) failures: Option<u8>,
    /// Whether a family that leaves home runs before its memory is there.
    pub(crate) is_postcopy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Packet {
    Ask(Incarnation, Ask),
    Answer(Incarnation, Answer),
    /// Of a thread, with all that it knows, which no real call carries: for the check.
    Call(Incarnation, Epoch, u8, Thread),
    Return(Incarnation, u8, u8, bool),
    Fenced(Incarnation, Epoch),
    /// A body asks home for its memory.
    Fetch(Incarnation),
    Memory(Incarnation, Content),
    /// It is all there.
    Whole(Incarnation),
}

/// What stands at home under the program's pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Original {
    Runs(Content),
    Stands(Content),
    Deputy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Warden {
    pub(crate) keeper: Keeper,
    pub(crate) body: Content,
    pub(crate) lives: bool,
    /// What its hands are at, where that takes time.
    pub(crate) hands: Option<Ask>,
    /// In post-copy: what the body was when it left home, until that is there.
    pub(crate) missing: Option<Content>,
    /// It gets the family from home in post-copy.
    pub(crate) borrows: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) residence: Residence,
    pub(crate) replies: [Replies<bool>; THREADS_MAX],
    /// What was executed for each thread, at home or for a body.
    pub(crate) log: [History; THREADS_MAX],
    /// The record on home's disk.
    pub(crate) recorded: Epoch,
    /// What is being written there.
    pub(crate) recording: Option<Epoch>,
    pub(crate) original: Original,
    /// What home's hands are at, where that takes time.
    pub(crate) hands: Option<Ask>,
    /// What has come home and does not run yet.
    pub(crate) arrived: Option<Content>,
    /// The memory that home keeps for whom, in post-copy.
    pub(crate) lent: Option<(Incarnation, Content)>,
    /// The n-th one is incarnation n.
    pub(crate) wardens: Vec<Warden>,
    pub(crate) network: Vec<Packet>,
    /// The home warden died while the family was away: its job has ended.
    pub(crate) home_is_gone: bool,
    /// Nothing has gone wrong that could cost a family.
    pub(crate) is_lucky: bool,
    pub(crate) left: Budget,
    pub(crate) weakening: Option<Weakening>,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Order(Seat),
    /// Somebody else has another wish meanwhile.
    Rival(Seat),
    TimeUp,
    Deliver(Packet),
    /// An image that loses what its body did last.
    Damage(Incarnation, Epoch, Digest),
    /// To one for whom it was not meant; only where that is the weakening.
    Mislead(Packet, Incarnation),
    /// A thread's next call, asking for this.
    CallAtHome(u8, bool),
    CallAtGuest(Incarnation, u8, bool),
    /// A body needs its memory.
    Touch(Incarnation),
    Crash(Incarnation),
    CrashHome,
    /// Home hears that a warden is dead, rightly or not.
    Bury(Incarnation),
    /// Hands have done what they were told, or could not.
    Done(Seat, bool),
    /// The record is on disk, or could not be written.
    Written(bool),
}

impl World {
    pub(crate) fn new(budget: Budget, weakening: Option<Weakening>) -> World {
        World {
            residence: Residence::at_home(Epoch(0)),
            replies: Default::default(),
            log: Default::default(),
            recorded: Epoch(0),
            recording: None,
            original: Original::Runs(Content::default()),
            hands: None,
            arrived: None,
            lent: None,
            wardens: Vec::new(),
            network: Vec::new(),
            home_is_gone: false,
            is_lucky: true,
            left: budget,
            weakening,
        }
    }

    pub(crate) fn warden(&mut self, incarnation: Incarnation) -> &mut Warden {
        &mut self.wardens[usize::try_from(incarnation.0).expect("a number of this world") - 1]
    }

    pub(crate) fn incarnations(&self) -> impl Iterator<Item = (Incarnation, &Warden)> {
        (1..).map(Incarnation).zip(&self.wardens)
    }

    pub(crate) fn send(&mut self, packet: Packet) {
        if let Err(at) = self.network.binary_search(&packet) {
            self.network.insert(at, packet);
        }
    }

    pub(crate) fn threads(&self) -> impl Iterator<Item = u8> + use<> {
        0..self.left.threads
    }

    fn is_without(&self, weakening: Weakening) -> bool {
        self.weakening == Some(weakening)
    }

    fn is_at_work(&self, warden: &Warden, thread: u8) -> bool {
        let stands_still = matches!(warden.keeper.state(), State::Stopped(_) | State::Taken(..));
        let runs_on = match self.weakening {
            Some(Weakening::SourceRunsOn) => true,
            Some(Weakening::OneThreadRunsOn) => thread > 0,
            _ => false,
        };
        warden.keeper.runs_in().is_some() || stands_still && runs_on
    }

    /// Whoever has ended hears nothing any more.
    fn is_heard(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Ask(to, _) | Packet::Return(to, ..) | Packet::Fenced(to, _) | Packet::Memory(to, _) => {
                let mut wardens = self.incarnations();
                wardens.any(|(incarnation, warden)| {
                    incarnation == *to
                        && warden.lives
                        && (warden.keeper.state() != State::Ended || self.hears_in_vain())
                        && !self.waits_for_memory(warden, packet)
                })
            }
            Packet::Answer(..) | Packet::Call(..) | Packet::Fetch(_) | Packet::Whole(_) => {
                !self.home_is_gone && (!self.residence.is_lost() || self.hears_in_vain())
            }
        }
    }

    /// Whether also those are told something who only pass it over, so that it is seen that they do.
    fn hears_in_vain(&self) -> bool {
        self.left.failures.is_some()
    }

    /// Only what is whole is sent on.
    fn waits_for_memory(&self, warden: &Warden, packet: &Packet) -> bool {
        matches!(packet, Packet::Ask(_, Ask::Take(_)))
            && warden.missing.is_some()
            && !self.is_without(Weakening::TakenWithHoles)
    }

    /// Threads that have calls left to make.
    fn calls_left(&self, content: Content) -> impl Iterator<Item = u8> {
        let calls = self.left.calls;
        self.threads().filter(move |thread| content.threads[usize::from(*thread)].history.calls < calls)
    }

    fn steps_at_home(&self, steps: &mut Vec<Step>) {
        if self.residence.is_settled() && self.residence.promised().0 < self.left.epochs {
            let next = Incarnation(self.wardens.len() as u64 + 1);
            steps.extend([Step::Order(Seat::Guest(next)), Step::Order(Seat::Home)]);
        }
        if !self.residence.is_settled() {
            steps.push(Step::TimeUp);
        }
        if !self.residence.is_settled() && self.hears_in_vain() {
            steps.extend([Step::Rival(Seat::Home), Step::Rival(Seat::Guest(Incarnation(1)))]);
        }
        if let Original::Runs(content) = self.original {
            steps.extend(
                self.calls_left(content)
                    .flat_map(|thread| [false, true].map(|choice| Step::CallAtHome(thread, choice))),
            );
        }
        if self.left.home_crashes > 0 {
            steps.push(Step::CrashHome);
        }
        let may_fail = self.left.failures.is_some_and(|failures| failures > 0);
        let ends = || [true, false].into_iter().filter(move |is_done| *is_done || may_fail);
        if self.hands.is_some() {
            steps.extend(ends().map(|is_done| Step::Done(Seat::Home, is_done)));
        }
        if self.recording.is_some() {
            steps.extend(ends().map(Step::Written));
        }
    }

    fn steps_at_guest(&self, incarnation: Incarnation, warden: &Warden, steps: &mut Vec<Step>) {
        let is_busy = warden.keeper.state() != State::Ended;
        if !warden.lives {
            steps.push(Step::Bury(incarnation));
            if self.is_without(Weakening::NobodyEndsTheFamily) && warden.keeper.runs_in().is_some() {
                steps.push(Step::Touch(incarnation));
            }
            return;
        }
        if !is_busy {
            return;
        }
        if warden.missing.is_some() && warden.keeper.runs_in().is_some() {
            steps.push(Step::Touch(incarnation));
        }
        for thread in self.calls_left(warden.body) {
            let waits = warden.body.threads[usize::from(thread)].outstanding.is_some();
            let can_think = warden.missing.is_none() || self.is_without(Weakening::TakenWithHoles);
            if self.is_at_work(warden, thread) && !waits && can_think {
                steps.extend([false, true].map(|choice| Step::CallAtGuest(incarnation, thread, choice)));
            }
        }
        if self.left.guest_crashes > 0 {
            steps.push(Step::Crash(incarnation));
        }
        if self.left.suspicions > 0 {
            steps.push(Step::Bury(incarnation));
        }
        if warden.hands.is_some() {
            steps.push(Step::Done(Seat::Guest(incarnation), true));
            if self.left.failures.is_some_and(|failures| failures > 0) {
                steps.push(Step::Done(Seat::Guest(incarnation), false));
            }
        }
    }
}

impl crate::explore::Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.home_is_gone {
            self.steps_at_home(&mut steps);
        }
        for (incarnation, warden) in self.incarnations() {
            self.steps_at_guest(incarnation, warden, &mut steps);
        }
        steps.extend(
            self.network.iter().filter(|packet| self.is_heard(packet)).map(|packet| Step::Deliver(*packet)),
        );
        if self.left.damages > 0 {
            steps.extend(self.network.iter().filter(|packet| self.is_heard(packet)).filter_map(|packet| {
                match packet {
                    Packet::Ask(to, Ask::Accept(epoch, digest)) => Some(Step::Damage(*to, *epoch, *digest)),
                    _ => None,
                }
            }));
        }
        if self.is_without(Weakening::AnyIncarnationHears) {
            let all = self.incarnations().map(|(incarnation, _)| incarnation);
            steps
                .extend(all.flat_map(|to| self.network.iter().map(move |packet| Step::Mislead(*packet, to))));
        }
        steps
    }

    fn take(&self, step: Step) -> Result<World, String> {
        let mut next = self.clone();
        next.happen(step)?;
        next.check()
    }

    fn is_done(&self) -> bool {
        let knows_all = |content: Content| self.calls_left(content).next().is_none();
        let is_over = match (self.residence.seat(), self.original) {
            (Seat::Home, Original::Runs(content)) => knows_all(content),
            (Seat::Guest(incarnation), _) => self
                .incarnations()
                .any(|(other, warden)| other == incarnation && warden.lives && knows_all(warden.body)),
            _ => false,
        };
        self.home_is_gone || self.residence.is_lost() || self.residence.is_settled() && is_over
    }
}
