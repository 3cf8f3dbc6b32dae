//! One run: nodes with their agents and wardens, and the loop that lets one thing happen after the other.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use migration::handoff::{Incarnation, Seat};

use super::agent::Agent;
use super::guest::{End, Guest};
use super::home::{Home, Original};
use super::network::Network;
use super::plan::{self, Fault, Size};
use super::plant::Bug;
use super::points::Points;
use super::random::{Random, mix};
use super::stage::{Due, Stage, Time, Wish};
use super::witness::Job;
use super::word::{Address, Timer, Word};
use super::{Mode, Outcome};

#[derive(Debug)]
struct Node {
    is_up: bool,
    /// In thousandths.
    rate: u64,
}

pub(super) struct World {
    pub(super) stage: Stage,
    nodes: Vec<Node>,
    agents: Vec<Agent>,
    pub(super) homes: Vec<Home>,
    pub(super) guests: BTreeMap<u64, Guest>,
    mode: Mode,
    pub(super) trace: Trace,
    events: u64,
    is_over: bool,
    /// Where each family was ordered last, once all was well.
    last_orders: Vec<Option<usize>>,
}

impl World {
    pub(super) fn new(seed: u64, mode: Mode, bug: Option<Bug>) -> World {
        let mut random = Random::new(seed);
        let nodes = usize::try_from(random.within(2, 5)).unwrap_or(2);
        let size = Size { nodes, families: usize::try_from(random.within(1, 3)).unwrap_or(1) };
        let network = Network::new(nodes, &mut random);
        let points = Points::new(&mut random);
        // One clock of a cluster goes wrong, by up to a tenth.
        let mut rates = vec![1000; nodes];
        if random.in_thousand(500) {
            let node = usize::try_from(random.below(nodes as u64)).unwrap_or(0);
            rates[node] = random.within(900, 1101);
        }
        let faults = plan::draw(&mut random, size, mode == Mode::Liveness);
        let threads: Vec<usize> =
            (0..size.families).map(|_| usize::try_from(random.within(1, 4)).unwrap_or(1)).collect();
        let mut stage = Stage::new(random, points, network, bug);
        let mut homes = Vec::new();
        for (family, threads) in threads.into_iter().enumerate() {
            stage.witness.add(threads);
            homes.push(Home::new(family, family % nodes, threads));
        }
        for (time, fault) in faults {
            stage.put(time, Due::Fault(fault));
        }
        let mut world = World {
            stage,
            nodes: rates.into_iter().map(|rate| Node { is_up: true, rate }).collect(),
            agents: (0..nodes).map(Agent::new).collect(),
            last_orders: vec![None; homes.len()],
            homes,
            guests: BTreeMap::new(),
            mode,
            trace: Trace(seed),
            events: 0,
            is_over: false,
        };
        for family in 0..world.homes.len() {
            world.enter(Address::Home(family));
            world.homes[family].let_go(&mut world.stage);
            world.grant(Address::Home(family));
        }
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        while let Some(due) = self.stage.take() {
            self.events += 1;
            match due {
                Due::Deliver { from, to, word } => self.deliver(from, to, word),
                Due::Ring { at, life, timer } if self.life(at) == Some(life) => self.ring(at, timer),
                Due::Ring { .. } => {}
                Due::Fault(fault) => self.strike(fault),
            }
            if self.stage.witness.wrong.is_some() || self.is_over || self.events > EVENTS_MAX {
                break;
            }
        }
        if self.events > EVENTS_MAX {
            self.stage.witness.complain(|| "the run does not end".to_owned());
        }
        Outcome {
            wrong: self.stage.witness.wrong.map(|wrong| format!("at {} us: {wrong}", self.stage.now)),
            events: self.events,
            hash: self.trace.0,
            calls: self.stage.witness.calls,
            moves: self.stage.witness.moves,
            hits: self.stage.points.hits,
        }
    }

    fn node_of(&self, address: Address) -> usize {
        match address {
            Address::Agent(node) => node,
            Address::Home(family) => self.homes[family].node,
            Address::Guest(incarnation) => self.stage.nodes_of_guests[&incarnation],
        }
    }

    /// `None`: nobody is there.
    fn life(&self, address: Address) -> Option<u64> {
        if !self.nodes[self.node_of(address)].is_up {
            return None;
        }
        match address {
            Address::Agent(node) => {
                Some(&self.agents[node]).filter(|agent| agent.is_up).map(|agent| agent.life)
            }
            Address::Home(family) => {
                Some(&self.homes[family]).filter(|home| !home.is_gone()).map(|home| home.life)
            }
            Address::Guest(incarnation) => {
                self.guests.get(&incarnation).filter(|guest| guest.end.is_none()).map(|_| 0)
            }
        }
    }

    /// What follows happens at this actor's node.
    fn enter(&mut self, address: Address) {
        self.stage.rate = self.nodes[self.node_of(address)].rate;
    }

    fn deliver(&mut self, from: Address, to: Address, word: Word) {
        (self.stage.now, 0u8, from, to, &word).hash(&mut self.trace);
        let node = self.node_of(to);
        let to = self.misled(to);
        if self.life(to).is_none() {
            let is_question = !matches!(word, Word::Nobody(_));
            if self.nodes[node].is_up && self.agents[node].is_up && is_question {
                // Its agent says that there is nobody.
                self.transmit(node, to, from, Word::Nobody(to));
            }
            return;
        }
        self.enter(to);
        match to {
            Address::Agent(node) => self.agents[node].hear(&mut self.stage, from, word),
            Address::Home(family) => self.homes[family].hear(&mut self.stage, from, word),
            Address::Guest(incarnation) => {
                if let Some(guest) = self.guests.get_mut(&incarnation) {
                    guest.hear(&mut self.stage, word);
                }
            }
        }
        self.grant(to);
        self.look_at(to);
    }

    /// Only where it is the bug: to whom a word comes instead.
    fn misled(&self, to: Address) -> Address {
        let Address::Guest(incarnation) = to else { return to };
        if !self.stage.has(Bug::AnyIncarnationHears) || self.life(to).is_some() {
            return to;
        }
        let node = self.stage.nodes_of_guests[&incarnation];
        let present = self.guests.values().rev().find(|guest| guest.node == node && guest.end.is_none());
        present.map_or(to, |guest| Address::Guest(guest.incarnation))
    }

    fn ring(&mut self, at: Address, timer: Timer) {
        (self.stage.now, 1u8, at, timer).hash(&mut self.trace);
        self.enter(at);
        match at {
            Address::Agent(node) => self.agents[node].ring(&mut self.stage),
            Address::Home(family) => self.homes[family].ring(&mut self.stage, timer),
            Address::Guest(incarnation) => {
                if let Some(guest) = self.guests.get_mut(&incarnation) {
                    guest.ring(&mut self.stage, timer);
                }
            }
        }
        self.grant(at);
        self.look_at(at);
    }

    /// Does what an actor has wished for in its step.
    fn grant(&mut self, actor: Address) {
        let node = self.node_of(actor);
        let mut dies = false;
        for wish in std::mem::take(&mut self.stage.wishes) {
            match wish {
                Wish::Send(to, word) => self.transmit(node, actor, to, word),
                Wish::Ring(time, timer) => {
                    if let Some(life) = self.life(actor) {
                        self.stage.put(time, Due::Ring { at: actor, life, timer });
                    }
                }
                Wish::Spawn(incarnation, family) => self.spawn(incarnation, node, family),
                Wish::Die => dies = true,
            }
        }
        if dies {
            self.kill(actor);
        }
    }

    fn transmit(&mut self, node: usize, from: Address, to: Address, word: Word) {
        let target = self.node_of(to);
        let Stage { network, random, now, .. } = &mut self.stage;
        let now = *now;
        for delay in network.carry(node, target, random).into_iter().flatten() {
            self.stage.put(now + delay, Due::Deliver { from, to, word: word.clone() });
        }
    }

    fn spawn(&mut self, incarnation: u64, node: usize, family: usize) {
        self.stage.nodes_of_guests.insert(incarnation, node);
        let guest = Guest::new(&mut self.stage, incarnation, node, family);
        self.guests.insert(incarnation, guest);
        for wish in std::mem::take(&mut self.stage.wishes) {
            if let Wish::Ring(time, timer) = wish {
                self.stage.put(time, Due::Ring { at: Address::Guest(incarnation), life: 0, timer });
            }
        }
    }

    fn kill(&mut self, actor: Address) {
        self.enter(actor);
        match actor {
            Address::Agent(node) => {
                self.agents[node].die();
                let back = self.stage.now + AGENT_PAUSE_US;
                self.stage.put(back, Due::Fault(Fault::AgentReturns(node)));
            }
            Address::Home(family) => {
                self.homes[family].die(&mut self.stage);
                self.grant(actor);
            }
            Address::Guest(incarnation) => self.end_guest(incarnation),
        }
    }

    /// Its init ends the body when the warden is gone.
    fn end_guest(&mut self, incarnation: u64) {
        let outlives = self.stage.has(Bug::BodyOutlivesWarden);
        if let Some(guest) = self.guests.get_mut(&incarnation) {
            if outlives && guest.is_computing() {
                self.stage
                    .witness
                    .complain(|| format!("the body of warden {incarnation} lives on without it"));
            }
            guest.end.get_or_insert(End::Crashed);
        }
    }

    fn strike(&mut self, fault: Fault) {
        (self.stage.now, 2u8).hash(&mut self.trace);
        match fault {
            Fault::Order { family, to } => self.order(family, to),
            Fault::Kill { family } => self.stage_word(Address::Home(family), Word::Kill),
            Fault::AgentDies(node) => self.agents[node].die(),
            Fault::AgentReturns(node) => self.agents[node].is_up = self.nodes[node].is_up,
            Fault::HomeWardenDies { family } => {
                if self.life(Address::Home(family)).is_some() {
                    self.kill(Address::Home(family));
                }
            }
            Fault::GuestWardensDie(node) => self.guests_die(node),
            Fault::NodeDies(node) => self.node_dies(node),
            Fault::NodeReturns(node) => {
                self.nodes[node].is_up = true;
                self.agents[node].is_up = true;
            }
            Fault::Cut { from, to, is_cut } => self.stage.network.cut(from, to, is_cut),
            Fault::Heal => self.heal(),
            Fault::LastOrder => self.last_order(),
            Fault::Enough => self.check_last_orders(),
            Fault::Census => self.census(),
        }
    }

    fn stage_word(&mut self, to: Address, word: Word) {
        let now = self.stage.now;
        self.stage.put(now, Due::Deliver { from: to, to, word });
    }

    fn order(&mut self, family: usize, to: usize) {
        let home = &self.homes[family];
        let from = match home.residence.seat() {
            Seat::Home => home.node,
            Seat::Guest(Incarnation(incarnation)) => self.stage.nodes_of_guests[&incarnation],
        };
        if from != to && self.stage.witness.job(family) == Job::Runs {
            self.stage_word(Address::Agent(home.node), Word::Order { family, from, to });
        }
    }

    fn guests_die(&mut self, node: usize) {
        let there = self.guests.values().filter(|guest| guest.node == node && guest.end.is_none());
        for incarnation in there.map(|guest| guest.incarnation).collect::<Vec<_>>() {
            self.end_guest(incarnation);
        }
    }

    fn node_dies(&mut self, node: usize) {
        self.guests_die(node);
        self.agents[node].die();
        for family in 0..self.homes.len() {
            let home = &mut self.homes[family];
            if home.node != node {
                continue;
            }
            let was_over = home.original == Original::Ended;
            home.vanish();
            if !was_over {
                self.stage.witness.end(family, Job::Lost);
            }
        }
        self.nodes[node].is_up = false;
    }

    fn heal(&mut self) {
        self.stage.points.close();
        self.stage.network.heal();
        self.nodes.iter_mut().for_each(|node| node.is_up = true);
        self.agents.iter_mut().for_each(|agent| agent.is_up = true);
    }

    fn last_order(&mut self) {
        for family in 0..self.homes.len() {
            let at = match self.homes[family].residence.seat() {
                Seat::Home => self.homes[family].node,
                Seat::Guest(Incarnation(incarnation)) => self.stage.nodes_of_guests[&incarnation],
            };
            let to = (at + 1) % self.nodes.len();
            if self.stage.witness.job(family) == Job::Runs {
                self.last_orders[family] = Some(to);
                self.order(family, to);
            }
        }
    }

    /// When all is well, a move is made whatever became of those before.
    fn check_last_orders(&mut self) {
        for family in 0..self.homes.len() {
            let home = &self.homes[family];
            let at = match home.residence.seat() {
                Seat::Home => home.node,
                Seat::Guest(Incarnation(incarnation)) => self.stage.nodes_of_guests[&incarnation],
            };
            let wanted = self.last_orders[family].filter(|_| self.stage.witness.job(family) == Job::Runs);
            if wanted.is_some_and(|to| to != at || !home.residence.is_settled()) {
                let wrong =
                    format!("the last order to n{wanted:?} left the family at n{at}: {:?}", home.residence);
                self.stage.witness.complain(|| wrong);
            }
        }
        self.stage.witness.is_enough = true;
    }

    /// In a run that asks for progress everything is over now.
    fn census(&mut self) {
        self.is_over = true;
        if self.mode == Mode::Safety {
            return;
        }
        for family in 0..self.homes.len() {
            if self.stage.witness.job(family) == Job::Runs {
                let wrong = format!("the job of family {family} does not end: {:?}", self.homes[family]);
                self.stage.witness.complain(|| wrong);
            }
        }
        if let Some(guest) = self.guests.values().find(|guest| guest.end.is_none()) {
            let wrong = format!("a guest warden is left: {guest:?}");
            self.stage.witness.complain(|| wrong);
        }
        if let Some(agent) = self.agents.iter().find(|agent| !agent.is_idle()) {
            let wrong = format!("an order does not end: {agent:?}");
            self.stage.witness.complain(|| wrong);
        }
    }
}

/// Follows everything that happens: equal runs, equal sums.
pub(super) struct Trace(u64);

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = mix(self.0, u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }
}

/// Until an agent that was killed is started again.
const AGENT_PAUSE_US: Time = 2_000_000;

/// Of one run.
const EVENTS_MAX: u64 = 100_000;
