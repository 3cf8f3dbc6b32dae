//! An agent: the real [`Mover`] of each move that it drives, and a nursery of wardens which outlive it.

use std::collections::BTreeMap;
use std::time::Duration;

use migration::cpu::CpuNeeds;
use node_agent::exit::ExitCode;
use node_agent::mover::{Action, Event, Mover, Order, Outcome, Refusal};
use node_agent::warden::control::{Accept, FromWarden, Needs, Offer};
use transport::{Epoch, KeyHash, NodeId, ProcessId};

use super::points::Point;
use super::stage::{Stage, Wish};
use super::word::{Address, Timer, Word};

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) is_up: bool,
    movers: BTreeMap<u64, (Mover, usize)>,
    tickets: u64,
    /// How the last order ended: true if the family is where it was ordered to.
    pub(super) last: Option<bool>,
}

impl Agent {
    pub(super) fn new(node: usize) -> Agent {
        Agent { node, life: 0, is_up: true, movers: BTreeMap::new(), tickets: 0, last: None }
    }

    pub(super) fn die(&mut self) {
        self.is_up = false;
        self.life += 1;
        self.movers.clear();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.movers.is_empty()
    }

    pub(super) fn hear(&mut self, stage: &mut Stage, from: Address, word: Word) {
        match word {
            Word::Order { family, from, to } => self.order(stage, family, from, to),
            Word::Place { ticket, family } => self.place(stage, from, ticket, family),
            Word::Placed { ticket, accepted } => {
                let event = match accepted {
                    Some(incarnation) => Event::Placed(accept(incarnation)),
                    None => Event::Checked(vec![Refusal::Root]),
                };
                self.step(stage, ticket, event);
            }
            Word::FromWarden { ticket, message } => self.step(stage, ticket, Event::WardenSaid(message)),
            Word::WardenLost { ticket } => self.step(stage, ticket, Event::WardenLost("killed".to_owned())),
            // Whoever it has asked is gone.
            Word::Nobody(Address::Home(family)) => {
                let concerned = self.movers.iter().filter(|(_, (_, moved))| *moved == family);
                for ticket in concerned.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
                    self.step(stage, ticket, Event::WardenLost("not there".to_owned()));
                }
            }
            _ => {}
        }
    }

    pub(super) fn ring(&mut self, stage: &mut Stage) {
        for ticket in self.movers.keys().copied().collect::<Vec<_>>() {
            self.step(stage, ticket, Event::Tick);
        }
    }

    fn order(&mut self, stage: &mut Stage, family: usize, from: usize, to: usize) {
        self.last = None;
        if self.movers.values().any(|(_, moved)| *moved == family) {
            // Busy: moving.
            return;
        }
        self.tickets += 1;
        // An agent that was started again begins with other tickets.
        let ticket = self.life << 32 | self.tickets;
        let pid = u32::try_from(family).unwrap_or(0);
        let order = Order { pid, home: name(self.node), from: name(from), to: name(to), dry_run: false };
        let (mover, actions) = Mover::begin(order, now(stage));
        self.movers.insert(ticket, (mover, family));
        self.perform(stage, ticket, actions);
        stage.after(TICK, Timer::Mover);
    }

    fn step(&mut self, stage: &mut Stage, ticket: u64, event: Event) {
        let Some((mover, _)) = self.movers.get_mut(&ticket) else { return };
        let actions = mover.step(now(stage), event);
        let deadline = mover.deadline();
        if !mover.is_over() {
            stage.after(deadline.saturating_sub(now(stage)) + TICK, Timer::Mover);
        }
        self.perform(stage, ticket, actions);
    }

    fn perform(&mut self, stage: &mut Stage, ticket: u64, actions: Vec<Action>) {
        for action in actions {
            let Some((mover, family)) = self.movers.get(&ticket) else { return };
            let family = *family;
            match action {
                Action::FindWarden => self.step(stage, ticket, Event::WardenFound),
                Action::Tell(message) => {
                    let point = Point::AgentDiesAfterMove;
                    let is_move = matches!(message, node_agent::warden::control::ToWarden::Move { .. });
                    stage.send(Address::Home(family), Word::ToWarden { ticket, message });
                    if is_move && stage.hits(point) {
                        stage.wishes.push(Wish::Die);
                    }
                }
                Action::Place { node, .. } => {
                    stage.send(Address::Agent(number(&node)), Word::Place { ticket, family });
                }
                Action::Check { .. } | Action::Progress { .. } => {}
                Action::Finish(outcome) => {
                    let order = mover.order().clone();
                    self.movers.remove(&ticket);
                    self.finish(stage, &order, &outcome);
                }
            }
        }
    }

    fn finish(&mut self, stage: &mut Stage, order: &Order, outcome: &Outcome) {
        self.last = Some(matches!(outcome, Outcome::Moved(_)));
        match outcome {
            Outcome::Moved(report) if report.at != order.to => {
                stage.witness.complain(|| format!("{order:?} was carried out as {report:?}"));
            }
            Outcome::Failed(failure)
                if failure.why.iter().all(String::is_empty) || failure.code == ExitCode::UnderWay =>
            {
                stage.witness.complain(|| format!("{order:?} ends without a reason: {failure}"));
            }
            Outcome::Moved(_) | Outcome::Possible(_) | Outcome::Failed(_) => {}
        }
    }

    /// Another agent wants a warden here.
    fn place(&mut self, stage: &mut Stage, from: Address, ticket: u64, family: usize) {
        if stage.hits(Point::PlaceIsRefused) {
            return stage.send(from, Word::Placed { ticket, accepted: None });
        }
        stage.incarnations += 1;
        let incarnation = stage.incarnations;
        stage.wishes.push(Wish::Spawn(incarnation, family));
        stage.send(from, Word::Placed { ticket, accepted: Some(incarnation) });
        if stage.hits(Point::AgentDiesAfterPlace) {
            stage.wishes.push(Wish::Die);
        }
    }
}

pub(super) fn offer(family: usize) -> FromWarden {
    let pid = u32::try_from(family).unwrap_or(0);
    FromWarden::Offer(Offer {
        process: ProcessId { home: NodeId([0; 32]), pid, start_ticks: 1 },
        home_name: String::new(),
        command: String::new(),
        epoch: Epoch(0),
        home_key: KeyHash([0; 32]),
        needs: Needs { memory_bytes: 0, processes: 1, threads: 1, uid: 1, cpu: CpuNeeds::default() },
    })
}

/// A warden's incarnation is the key that it is known by here.
fn accept(incarnation: u64) -> Accept {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&incarnation.to_le_bytes());
    Accept { addr: ([0, 0, 0, 0], 0).into(), key: KeyHash(key) }
}

pub(super) fn incarnation(accept: &Accept) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&accept.key.0[..8]);
    u64::from_le_bytes(bytes)
}

fn now(stage: &Stage) -> Duration {
    Duration::from_micros(stage.now * stage.rate / 1000)
}

pub(super) fn name(node: usize) -> String {
    format!("n{node}")
}

pub(super) fn number(name: &str) -> usize {
    name.trim_start_matches('n').parse().unwrap_or(0)
}

/// A little behind a deadline.
const TICK: Duration = Duration::from_millis(1);
