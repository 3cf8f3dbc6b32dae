//! A cluster of servers in one thread and in virtual time, for tests: the same seed gives the same run.
//!
//! Messages are lost, delayed, reordered and doubled; servers crash at any message and come back with what their disks
//! kept; disks fail with or without having written; the network is cut. Checked all the time: no two leaders in a term,
//! one history everywhere without gaps, one outcome for each request. Clients repeat each command, at any server, until
//! its outcome is seen.

use std::collections::{BTreeMap, BTreeSet};

use transport::NodeId;
use transport::identity::TokenRecord;

use super::membership::{self, Node, Role, Token};
use super::raft::{Core, Out, Pace, TICK_MS, founded};
use super::request::{Proposal, Request};
use super::rows::{Batch, Disk, Message, Saved};
use super::state::{Command, Outcome, State};

/// The cluster, the network between, and what has been seen of them.
pub(super) struct World {
    random: Random,
    pub(super) now_ms: u64,
    pub(super) servers: BTreeMap<u64, Server>,
    on_the_way: BTreeMap<(u64, u64), Message>,
    sent: u64,
    pub(super) faults: Faults,
    /// Servers that hear nobody outside.
    pub(super) cut: BTreeSet<u64>,
    leaders: BTreeMap<u64, u64>,
    history: BTreeMap<u64, Option<Proposal>>,
    pub(super) outcomes: BTreeMap<Request, Outcome>,
    waiting: BTreeMap<Request, (Command, u64)>,
    commands: u128,
    pub(super) snapshots: u64,
}

/// What the network and the disks do to messages and writes, per mille.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) delay_ms: u64,
    pub(super) write_fails: u64,
}

/// One server.
pub(super) struct Server {
    /// None while it is down.
    pub(super) core: Option<Core>,
    pub(super) disk: Plate,
    applied: u64,
    next_tick_ms: u64,
    starts: u64,
}

/// A disk that outlives its server.
pub(super) struct Plate {
    saved: Saved,
    random: Random,
    pub(super) write_fails: u64,
}

impl Disk for Plate {
    fn write(&mut self, batch: &Batch) -> Result<(), String> {
        if self.random.chance(self.write_fails) {
            // It may have been written or not; nobody knows but the disk.
            if self.random.chance(500) {
                self.saved.write(batch);
            }
            return Err("no space left on device".into());
        }
        self.saved.write(batch);
        Ok(())
    }
}

/// SplitMix64 by Steele, Lea and Flood (OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound.max(1)
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

pub(super) fn node_id(number: u64) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    NodeId(id)
}

fn token(number: u32, role: Role) -> Token {
    let record = TokenRecord { id: number.to_le_bytes(), tag: [0; 32], expires_s: u64::MAX, used: false };
    Token { record, role }
}

/// Tokens below this make servers, those above plain nodes.
const SERVER_TOKENS: u32 = 32;

impl World {
    /// A cluster whose first server is number 1.
    pub(super) fn new(seed: u64) -> World {
        let tokens = (0..1024)
            .map(|number| token(number, if number < SERVER_TOKENS { Role::Server } else { Role::Node }));
        let node = Node { name: "s1".into(), addr: None, role: Role::Server };
        let state = State::founded(vec![(node_id(1), node)], tokens.collect());
        let mut world = World {
            random: Random::new(seed),
            now_ms: 0,
            servers: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            faults: Faults::default(),
            cut: BTreeSet::new(),
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            commands: 0,
            snapshots: 0,
        };
        let mut saved = Saved::nothing();
        saved.write(&founded(1, &state).unwrap());
        world.add(1, saved);
        world
    }

    /// A cluster of this many servers that all vote or follow.
    pub(super) fn of(seed: u64, servers: u64) -> World {
        let mut world = World::new(seed);
        (2..=servers).for_each(|id| world.join(id));
        let voters = match servers {
            1 | 2 => 1,
            3 | 4 => 3,
            _ => 5,
        };
        world.until(60_000, "all servers are in", |world| {
            world.waiting.is_empty()
                && world.leader().is_some_and(|leader| {
                    let status = world.core(leader).status();
                    status.conf.voters.len() == voters
                        && status.conf.voters_outgoing.is_empty()
                        && status.conf.voters.len() + status.conf.learners.len() == world.servers.len()
                })
        });
        // So that everybody, and not the leader alone, knows that the voters' change is over.
        world.pass(1_000);
        world
    }

    fn add(&mut self, id: u64, saved: Saved) {
        let disk = Plate { saved, random: Random::new(self.random.draw()), write_fails: 0 };
        let server = Server { core: None, disk, applied: 0, next_tick_ms: 0, starts: 0 };
        self.servers.insert(id, server);
        self.start(id);
    }

    /// Admits a server and starts it.
    pub(super) fn join(&mut self, id: u64) {
        let token = u32::try_from(id).unwrap().to_le_bytes();
        let admit = membership::Command::Admit { token, id: node_id(id), name: format!("s{id}") };
        self.command(Command::Membership(admit));
        self.add(id, Saved::nothing());
    }

    /// Proposes that a server leaves for good. It is not told, and goes on as if nothing were.
    pub(super) fn remove(&mut self, id: u64) {
        self.command(Command::Membership(membership::Command::Remove { id: node_id(id) }));
    }

    /// Admits a plain node: a command that would be refused if it were applied twice.
    pub(super) fn admit_one(&mut self) -> Request {
        let number = u64::try_from(self.commands).unwrap() + 1000;
        let token = (SERVER_TOKENS + u32::try_from(self.commands).unwrap()).to_le_bytes();
        let admit = membership::Command::Admit { token, id: node_id(number), name: format!("n{number}") };
        self.command(Command::Membership(admit))
    }

    pub(super) fn command(&mut self, command: Command) -> Request {
        self.commands += 1;
        let born = self.servers.values().map(|server| server.applied).max().unwrap_or(0);
        let request = Request::numbered(self.commands, born);
        self.waiting.insert(request, (command, self.now_ms));
        request
    }

    pub(super) fn start(&mut self, id: u64) {
        let jitter = self.random.below(TICK_MS);
        let now = self.now_ms;
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.starts += 1;
        // Another one each time, and no chance inside of the crate: the same seed gives the same run.
        let election_ticks = 10 + usize::try_from((id * 7 + server.starts * 3) % 10).unwrap();
        let pace = Pace { election_ticks, election_ticks_max: election_ticks + 1 };
        let core = Core::open(id, &server.disk.saved, pace).unwrap();
        server.applied = core.state().applied();
        server.core = Some(core);
        server.next_tick_ms = now + jitter;
        self.flush(id);
    }

    pub(super) fn crash(&mut self, id: u64) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.core = None;
        }
    }

    pub(super) fn core(&self, id: u64) -> &Core {
        self.servers[&id].core.as_ref().expect("it runs")
    }

    /// The leader of the latest term, if it runs.
    pub(super) fn leader(&self) -> Option<u64> {
        let leaders = self.servers.iter().filter_map(|(id, server)| {
            let core = server.core.as_ref()?;
            core.leads().then(|| (core.status().term, *id))
        });
        leaders.max().map(|(_, id)| id)
    }

    pub(super) fn waits(&self) -> usize {
        self.waiting.len()
    }

    /// Lets time pass until this holds.
    pub(super) fn until(&mut self, limit_ms: u64, what: &str, mut holds: impl FnMut(&World) -> bool) {
        let end = self.now_ms + limit_ms;
        while !holds(self) {
            assert!(self.now_ms < end, "not within {limit_ms} ms: {what}; {}", self.describe());
            self.pass(10);
        }
    }

    pub(super) fn describe(&self) -> String {
        let states = self.servers.values().map(|server| format!("{:?}", server.core));
        format!("{} wait, {}", self.waiting.len(), states.collect::<Vec<_>>().join("\n"))
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let message = self.on_the_way.keys().next().copied();
            let tick = self.servers.iter().filter(|(_, server)| server.core.is_some());
            let tick = tick.map(|(id, server)| (server.next_tick_ms, *id)).min();
            match (message, tick) {
                (Some(key), tick) if key.0 <= end && tick.is_none_or(|(at, _)| key.0 <= at) => {
                    self.now_ms = self.now_ms.max(key.0);
                    let message = self.on_the_way.remove(&key).unwrap();
                    self.deliver(&message);
                }
                (_, Some((at, id))) if at <= end => {
                    self.now_ms = self.now_ms.max(at);
                    self.tick(id);
                }
                _ => break,
            }
        }
        self.now_ms = end;
    }

    fn tick(&mut self, id: u64) {
        let server = self.servers.get_mut(&id).unwrap();
        server.next_tick_ms += TICK_MS;
        server.core.as_mut().unwrap().tick();
        let due: Vec<(Request, Command)> = self
            .waiting
            .iter()
            .filter(|(_, (_, due))| *due <= self.now_ms)
            .map(|(request, (command, _))| (*request, command.clone()))
            .take(16)
            .collect();
        for (request, command) in due {
            if self.random.chance(400) {
                self.waiting.get_mut(&request).unwrap().1 = self.now_ms + 500;
                let mut bytes = Vec::new();
                transport::wire::encode(&Proposal { request, command }, &mut bytes).unwrap();
                self.servers.get_mut(&id).unwrap().core.as_mut().unwrap().propose(bytes);
            }
        }
        self.flush(id);
    }

    fn deliver(&mut self, message: &Message) {
        let is_cut = self.cut.contains(&message.to) != self.cut.contains(&message.from);
        let Some(server) = self.servers.get_mut(&message.to) else { return };
        let is_snapshot = message.snapshot.is_some();
        let arrived = !is_cut && server.core.is_some();
        if arrived {
            server.core.as_mut().unwrap().step(message);
            self.snapshots += u64::from(is_snapshot);
        }
        if let Some(sender) = self.servers.get_mut(&message.from).and_then(|server| server.core.as_mut()) {
            if is_snapshot {
                sender.snapshot_sent(message.to, arrived);
            } else if !arrived {
                sender.unreachable(message.to);
            }
        }
        self.flush(message.to);
        self.flush(message.from);
    }

    fn flush(&mut self, id: u64) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.disk.write_fails = self.faults.write_fails;
        let Some(core) = server.core.as_mut() else { return };
        let Ok(out) = core.ready(&mut server.disk) else {
            // A server that cannot write stops; somebody starts it anew later.
            server.core = None;
            return;
        };
        let (leads, term) = (core.leads(), core.status().term);
        if leads {
            let other = self.leaders.insert(term, id);
            assert!(other.is_none_or(|other| other == id), "{other:?} and {id} lead in term {term}");
        }
        self.notice(id, &out);
        for message in out.messages {
            self.send(message);
        }
    }

    fn notice(&mut self, id: u64, out: &Out) {
        let server = self.servers.get_mut(&id).unwrap();
        let applied = server.core.as_ref().unwrap().state().applied();
        if out.replaced {
            assert!(applied >= server.applied, "{id} went back");
            server.applied = applied - u64::try_from(out.agreed.len()).unwrap();
        }
        for agreed in &out.agreed {
            assert_eq!(agreed.index, server.applied + 1, "{id} left something out");
            server.applied = agreed.index;
            let known = self.history.entry(agreed.index).or_insert_with(|| agreed.proposal.clone());
            assert_eq!(*known, agreed.proposal, "{id} has another entry {}", agreed.index);
            let Some((request, outcome)) = &agreed.outcome else { continue };
            let known = self.outcomes.entry(*request).or_insert_with(|| outcome.clone());
            assert_eq!(known, outcome, "{request:?} gave something else at {id}");
            self.waiting.remove(request);
        }
        assert_eq!(server.applied, applied, "{id} hides something");
    }

    fn send(&mut self, message: Message) {
        let copies = 1 + u64::from(self.random.chance(self.faults.doubled));
        for _ in 0..copies {
            self.sent += 1;
            if self.random.chance(self.faults.lost) {
                let sender = self.servers.get_mut(&message.from).and_then(|server| server.core.as_mut());
                if let Some(sender) = sender.filter(|_| message.snapshot.is_some()) {
                    sender.snapshot_sent(message.to, false);
                }
                continue;
            }
            let at = self.now_ms + 1 + self.random.below(self.faults.delay_ms);
            self.on_the_way.insert((at, self.sent), message.clone());
        }
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Ends all faults and starts whoever is down.
    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.cut.clear();
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            if self.servers[&id].core.is_none() {
                self.start(id);
            }
        }
    }

    /// Waits until every command has its outcome and all servers that belong to the cluster have the same state.
    pub(super) fn settle(&mut self) {
        self.until(120_000, "every command is done everywhere", |world| {
            let states: Vec<&State> =
                world.members().filter_map(|id| Some(world.servers[&id].core.as_ref()?.state())).collect();
            world.leader().is_some()
                && world.waiting.is_empty()
                && states.windows(2).all(|pair| pair[0] == pair[1])
        });
        for (request, outcome) in &self.outcomes {
            assert!(outcome.is_ok(), "{request:?} gave {outcome:?}");
        }
    }

    /// The servers that belong to the cluster, as the leader knows it.
    pub(super) fn members(&self) -> impl Iterator<Item = u64> {
        let leader = self.leader();
        let servers = leader.map(|leader| self.core(leader).state().membership.servers());
        let ids: Vec<u64> = servers.into_iter().flatten().map(|(id, _)| membership::log_number(id)).collect();
        ids.into_iter()
    }
}
