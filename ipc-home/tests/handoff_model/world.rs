//! One program, its home, and the guest wardens that home has started: the machines are homing's own.
//!
//! The network is a set that only grows: each packet in it is delivered any number of times, in any order, or never.
//! So it loses, repeats, reorders and delays, and is cut for any time. What the machines tell their hands is done at
//! once; the program may end its call at any time.

use ipc_home::replies::Replies;
use ipc_home::residence::Residence;
use migration::handoff::{Answer, Ask, Digest, Incarnation, Keeper, Seat, State};
use transport::Epoch;

use crate::body::{Content, History};
use crate::explore::Model;
use crate::weaken::Weakening;

/// How much may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Calls that the program makes.
    pub(crate) calls: u8,
    /// Orders are given while no more epochs than these were promised.
    pub(crate) epochs: u64,
    pub(crate) guest_crashes: u8,
    pub(crate) home_crashes: u8,
    /// Living wardens that home takes for dead.
    pub(crate) suspicions: u8,
    /// Images that come to something else than was sent.
    pub(crate) damages: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Packet {
    Ask(Incarnation, Ask),
    Answer(Incarnation, Answer),
    /// With what its body knows, which no real call carries: for the check.
    Call(Incarnation, Epoch, Content),
    Return(Incarnation, u8, bool),
    Fenced(Incarnation, Epoch),
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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) residence: Residence,
    pub(crate) replies: Replies<bool>,
    /// What was executed, at home or for a body.
    pub(crate) log: History,
    /// The record on home's disk.
    pub(crate) recorded: Epoch,
    pub(crate) original: Original,
    /// What has come home and does not run yet.
    pub(crate) arrived: Option<Content>,
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
    TimeUp,
    Deliver(Packet),
    /// An image that loses what its body did last.
    Damage(Incarnation, Epoch, Digest),
    /// To one for whom it was not meant; only where that is the weakening.
    Mislead(Packet, Incarnation),
    /// The program's next call, asking for this.
    CallAtHome(bool),
    CallAtGuest(Incarnation, bool),
    Crash(Incarnation),
    CrashHome,
    /// Home hears that a warden is dead, rightly or not.
    Bury(Incarnation),
}

impl World {
    pub(crate) fn new(budget: Budget, weakening: Option<Weakening>) -> World {
        World {
            residence: Residence::at_home(Epoch(0)),
            replies: Replies::default(),
            log: History::default(),
            recorded: Epoch(0),
            original: Original::Runs(Content::default()),
            arrived: None,
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

    /// What is never true, whatever has happened.
    fn check(self) -> Result<World, String> {
        let present = self.residence.epoch();
        let mut running = self
            .wardens
            .iter()
            .filter(|warden| warden.lives && warden.keeper.runs_in() == Some(present))
            .count();
        if let Original::Runs(_) = self.original {
            if self.residence.seat() != Seat::Home {
                return Err("the original runs although home has given it away".to_owned());
            }
            running += 1;
        }
        if running > 1 {
            return Err(format!("{running} bodies run in epoch {present}"));
        }
        if self.is_lucky && self.residence.is_lost() {
            return Err("a family was lost although nothing has died".to_owned());
        }
        let granted = self.network.iter().filter_map(|packet| match packet {
            Packet::Ask(to, Ask::Start(epoch) | Ask::GoOn { epoch, .. }) => Some((*epoch, *to)),
            _ => None,
        });
        let granted: Vec<_> = granted.collect();
        match granted
            .iter()
            .find(|(epoch, to)| granted.iter().any(|other| other.0 == *epoch && other.1 != *to))
        {
            Some((epoch, _)) => Err(format!("epoch {epoch} was granted twice")),
            None => Ok(self),
        }
    }

    fn is_at_work(&self, warden: &Warden) -> bool {
        let stands_still = matches!(warden.keeper.state(), State::Stopped(_) | State::Taken(..));
        warden.keeper.runs_in().is_some() || stands_still && self.weakening == Some(Weakening::SourceRunsOn)
    }

    /// Whoever has ended hears nothing any more.
    fn is_heard(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Ask(to, _) | Packet::Return(to, ..) | Packet::Fenced(to, _) => {
                let mut wardens = self.incarnations();
                wardens.any(|(incarnation, warden)| {
                    incarnation == *to && warden.lives && warden.keeper.state() != State::Ended
                })
            }
            Packet::Answer(..) | Packet::Call(..) => !self.home_is_gone && !self.residence.is_lost(),
        }
    }

    fn calls_left(&self, content: Content) -> bool {
        content.history.calls < self.left.calls
    }
}

impl Model for World {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.home_is_gone {
            if self.residence.is_settled() && self.residence.promised().0 < self.left.epochs {
                let next = Incarnation(self.wardens.len() as u64 + 1);
                steps.extend([Step::Order(Seat::Guest(next)), Step::Order(Seat::Home)]);
            }
            if !self.residence.is_settled() {
                steps.push(Step::TimeUp);
            }
            if let Original::Runs(content) = self.original
                && self.calls_left(content)
            {
                steps.extend([Step::CallAtHome(false), Step::CallAtHome(true)]);
            }
            if self.left.home_crashes > 0 {
                steps.push(Step::CrashHome);
            }
        }
        for (incarnation, warden) in self.incarnations() {
            if !warden.lives {
                steps.push(Step::Bury(incarnation));
                continue;
            }
            if warden.keeper.state() == State::Ended {
                continue;
            }
            if self.is_at_work(warden) && warden.body.outstanding.is_none() && self.calls_left(warden.body) {
                steps.extend([false, true].map(|choice| Step::CallAtGuest(incarnation, choice)));
            }
            if self.left.guest_crashes > 0 {
                steps.push(Step::Crash(incarnation));
            }
            if self.left.suspicions > 0 {
                steps.push(Step::Bury(incarnation));
            }
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
        if self.weakening == Some(Weakening::AnyIncarnationHears) {
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
        let knows_all = |content: Content| !self.calls_left(content);
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
