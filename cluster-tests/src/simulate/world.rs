//! The events of a simulated cluster, in order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use node_agent::balance::{Cause, NodeNumber, Peer, Random, SameDistance, Ties, Tunables};
use node_agent::gossip::{Action, Event as GossipEvent, Gossip, LoadEntry, Settings};

use super::machine::{Job, Machine, Stage};
use super::outcome::Outcome;
use super::policy::Policy;
use super::workload::{Scenario, WARM_UP_S, Workload};
use super::{ideal, migrate, place};

/// What a policy does on a workload.
#[must_use]
pub fn simulate(scenario: &Scenario, workload: &Workload, policy: Policy) -> Outcome {
    if policy == Policy::Ideal {
        return Outcome::new(workload, &ideal::finishes_s(workload));
    }
    simulate_with(scenario, workload, policy, policy.tunables())
}

/// The same with other constants.
#[must_use]
pub fn simulate_with(
    scenario: &Scenario,
    workload: &Workload,
    policy: Policy,
    tunables: Tunables,
) -> Outcome {
    let mut world = World { tunables, ..World::new(scenario, workload, policy) };
    world.run();
    world.outcome()
}

/// One simulated cluster.
#[derive(Debug)]
pub struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) workload: &'a Workload,
    pub(super) policy: Policy,
    pub(super) tunables: Tunables,
    pub(super) distance: SameDistance,
    pub(super) machines: Vec<Machine>,
    pub(super) jobs: Vec<Job>,
    pub(super) random: Random,
    pub(super) now_s: f64,
    events: BinaryHeap<Reverse<Due>>,
    next_arrival: usize,
    unfinished: usize,
    members: Vec<NodeNumber>,
    pub(super) migrations: usize,
    pub(super) returns: usize,
    pub(super) hasty: usize,
    pub(super) left: Vec<Vec<(usize, f64)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Finish { node: usize, version: u64 },
    Start { job: usize },
    Look { node: usize },
    Gossip { node: usize },
    Freeze { job: usize },
    Land { job: usize },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Due {
    at_s: f64,
    event: Event,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> Ordering {
        self.at_s.total_cmp(&other.at_s).then(self.event.cmp(&other.event))
    }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, workload: &'a Workload, policy: Policy) -> World<'a> {
        let mut random = Random::new(scenario.seed ^ SEED_OF_CHANCE);
        let interval = Duration::from_secs_f64(scenario.gossip_s);
        let settings = Settings { interval, ..Settings::default() };
        let nodes = workload.nodes.iter().enumerate();
        let machines = nodes.map(|(number, spec)| {
            let seed = random.bits();
            let gossip = policy.listens().then(|| Gossip::new(settings, node_number(number), 1, seed));
            Machine::new(number, *spec, gossip)
        });
        let machines: Vec<Machine> = machines.collect();
        let job = |work_s| Job {
            stage: Stage::Pending,
            node: 0,
            remaining_s: work_s,
            age_s: 0.0,
            slowdown: 1.0,
            peers: Vec::new(),
            journey: node_agent::balance::journey::Journey::default(),
            cause: Cause::Benefit,
            moved_s: None,
            finished_s: 0.0,
        };
        World {
            scenario,
            workload,
            policy,
            tunables: policy.tunables(),
            distance: SameDistance(RTT_S),
            jobs: workload.jobs.iter().map(|spec| job(spec.work_s)).collect(),
            random,
            now_s: 0.0,
            events: BinaryHeap::new(),
            next_arrival: 0,
            unfinished: workload.jobs.len(),
            members: (0..machines.len()).map(node_number).collect(),
            machines,
            migrations: 0,
            returns: 0,
            hasty: 0,
            left: vec![Vec::new(); workload.jobs.len()],
        }
    }

    fn run(&mut self) {
        for node in 0..self.machines.len() {
            if self.policy.listens() {
                self.gossip(node);
            }
            if self.policy.moves() {
                let at_s = WARM_UP_S + self.random.unit() * self.tunables.tick.as_secs_f64();
                self.schedule(at_s, Event::Look { node });
            }
        }
        while self.unfinished > 0 {
            let arrival_s = self.workload.jobs.get(self.next_arrival).map(|job| job.arrival_s);
            let due_s = self.events.peek().map(|Reverse(due)| due.at_s);
            match (arrival_s, due_s) {
                (Some(arrival_s), due_s) if due_s.is_none_or(|due_s| arrival_s <= due_s) => {
                    self.now_s = arrival_s;
                    self.next_arrival += 1;
                    place::place(self, self.next_arrival - 1);
                }
                _ => match self.events.pop() {
                    Some(Reverse(due)) => {
                        self.now_s = due.at_s;
                        self.handle(due.event);
                    }
                    None => unreachable!("jobs that run have an end"),
                },
            }
        }
    }

    fn outcome(self) -> Outcome {
        let finishes: Vec<f64> = self.jobs.iter().map(|job| job.finished_s).collect();
        let overcommit_s: f64 = self.machines.iter().map(|machine| machine.overcommit_s).sum();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let node_time_s = self.machines.len() as f64 * self.scenario.window_s;
        Outcome {
            migrations: self.migrations,
            returns: self.returns,
            hasty: self.hasty,
            overcommit: overcommit_s / node_time_s,
            ..Outcome::new(self.workload, &finishes)
        }
    }

    pub(super) fn schedule(&mut self, at_s: f64, event: Event) {
        self.events.push(Reverse(Due { at_s, event }));
    }

    /// The time as policies see it.
    pub(super) fn now(&self) -> Duration {
        Duration::from_secs_f64(self.now_s)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Finish { node, version } => {
                if self.machines[node].version == version {
                    self.finish(node);
                }
            }
            Event::Start { job } => {
                let node = self.jobs[job].node;
                let key = (self.home(job), job as u64);
                self.machines[node].desk.release(key);
                self.enter(job, node);
            }
            Event::Look { node } => {
                migrate::look(self, node);
                let jitter = 0.9 + 0.2 * self.random.unit();
                self.schedule(self.now_s + jitter * self.tunables.tick.as_secs_f64(), Event::Look { node });
            }
            Event::Gossip { node } => self.gossip(node),
            Event::Freeze { job } => self.freeze(job),
            Event::Land { job } => self.land(job),
        }
    }

    pub(super) fn home(&self, job: usize) -> NodeNumber {
        node_number(self.workload.jobs[job].home)
    }

    /// Home and peers of a job, as its home has measured them.
    pub(super) fn ties(&self, job: usize) -> Ties<'_> {
        let calls_per_cpu_s = self.workload.jobs[job].calls_per_cpu_s;
        Ties { home: self.home(job), calls_per_cpu_s, peers: &self.jobs[job].peers }
    }

    /// Starts a job at a node, elsewhere than home after a moment.
    pub(super) fn start(&mut self, job: usize, node: usize) {
        self.jobs[job].node = node;
        self.jobs[job].stage = Stage::Starting;
        if node == self.workload.jobs[job].home {
            self.enter(job, node);
        } else {
            self.schedule(self.now_s + REMOTE_START_S, Event::Start { job });
        }
    }

    pub(super) fn enter(&mut self, job: usize, node: usize) {
        self.account(node);
        let machine = &mut self.machines[node];
        machine.jobs.push(job);
        machine.mem_mib += self.workload.jobs[job].mem_mib;
        self.jobs[job].node = node;
        self.jobs[job].stage = Stage::Running;
        self.meet(job);
        self.reschedule(node);
    }

    pub(super) fn leave(&mut self, job: usize) {
        let node = self.jobs[job].node;
        self.account(node);
        let machine = &mut self.machines[node];
        machine.jobs.retain(|one| *one != job);
        machine.mem_mib = (machine.mem_mib - self.workload.jobs[job].mem_mib).max(0.0);
        self.reschedule(node);
    }

    fn finish(&mut self, node: usize) {
        self.account(node);
        let done = |job: &usize| self.jobs[*job].remaining_s <= WORK_LEFT_S;
        let ended: Vec<usize> = self.machines[node].jobs.iter().copied().filter(done).collect();
        for job in ended {
            if let Stage::Copying(to) = self.jobs[job].stage {
                self.transfer_over(job, node, to);
                self.reschedule(to);
            }
            self.leave(job);
            self.jobs[job].stage = Stage::Done;
            self.jobs[job].finished_s = self.now_s;
            self.unfinished -= 1;
            self.meet(job);
        }
        self.reschedule(node);
    }

    /// A job has come or gone: it and its peer know where the other one is.
    fn meet(&mut self, job: usize) {
        let runs = |stage| matches!(stage, Stage::Running | Stage::Copying(_) | Stage::Frozen(_));
        if let Some((peer, messages_per_cpu_s)) = self.workload.jobs[job].peer {
            for (one, other) in [(job, peer), (peer, job)] {
                let node = node_number(self.jobs[other].node);
                let seen = runs(self.jobs[other].stage).then_some(Peer { node, messages_per_cpu_s });
                self.jobs[one].peers = seen.into_iter().collect();
            }
            if runs(self.jobs[peer].stage) {
                let node = self.jobs[peer].node;
                self.account(node);
                self.jobs[peer].slowdown = self.slowdown(peer);
                self.reschedule(node);
            }
        }
        self.jobs[job].slowdown = self.slowdown(job);
    }

    fn slowdown(&self, job: usize) -> f64 {
        self.ties(job).slowdown_at(node_number(self.jobs[job].node), &self.distance)
    }

    /// Gives the jobs of a node what they got since the last time.
    pub(super) fn account(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let elapsed_s = self.now_s - machine.accounted_s;
        if elapsed_s <= 0.0 {
            return;
        }
        machine.accounted_s = self.now_s;
        if machine.overcommitted() {
            machine.overcommit_s += elapsed_s;
        }
        let got_s = machine.rate() * elapsed_s;
        for job in &machine.jobs {
            let job = &mut self.jobs[*job];
            let got_s = got_s / job.slowdown;
            job.remaining_s -= got_s;
            job.age_s += got_s;
        }
    }

    pub(super) fn reschedule(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.version += 1;
        let version = machine.version;
        let rate = machine.rate();
        let left_s = |job: &usize| self.jobs[*job].remaining_s * self.jobs[*job].slowdown / rate;
        let first_s = machine.jobs.iter().map(left_s).fold(f64::INFINITY, f64::min);
        if first_s.is_finite() {
            self.schedule(self.now_s + first_s.max(0.0), Event::Finish { node, version });
        }
    }

    fn gossip(&mut self, node: usize) {
        let now = self.now();
        let machine = &mut self.machines[node];
        let moves_30s = machine.brake.recent(now, &self.tunables);
        let own = LoadEntry { moves_30s, ..LoadEntry::of(&machine.desk.load(&machine.measured(), now)) };
        let Some(gossip) = &mut machine.gossip else { return };
        let actions = gossip.step(GossipEvent::Tick { now, own, members: &self.members });
        let next_s = gossip.next_round().map_or(self.now_s + 1.0, |next| next.as_secs_f64());
        self.schedule(next_s.max(self.now_s), Event::Gossip { node });
        for action in actions {
            if let Action::Send { to, message } = action {
                for peer in to {
                    if let Some(peer) = &mut self.machines[peer.0 as usize].gossip {
                        peer.step(GossipEvent::Received { now, message: &message });
                    }
                }
            }
        }
    }
}

/// The number of a node by its place.
pub(super) fn node_number(place: usize) -> NodeNumber {
    NodeNumber(u32::try_from(place).expect("fewer nodes than numbers"))
}

/// Every round trip, in seconds.
pub(super) const RTT_S: f64 = 100e-6;

/// Time to start a job elsewhere, in seconds.
const REMOTE_START_S: f64 = 0.02;

/// Less work than this is a rounding error, in seconds.
const WORK_LEFT_S: f64 = 1e-9;

/// So that the chance of the run is not that of the workload.
const SEED_OF_CHANCE: u64 = 0x5eed_0fc4_a4ce_0001;
