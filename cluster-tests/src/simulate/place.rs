//! Where each policy starts a job.

use node_agent::balance::desk::{Claim, Refusal};
use node_agent::balance::placement::{self, Program};
use node_agent::balance::{NodeLoad, Ties};
use node_agent::gossip::{Event, LoadEntry};

use super::baseline::{self, Measure};
use super::policy::Policy;
use super::world::{World, node_number};

/// Starts a job that has just arrived.
pub(super) fn place(world: &mut World<'_>, job: usize) {
    let home = world.workload.jobs[job].home;
    let nodes = world.machines.len();
    let node = match world.policy {
        Policy::HomeOnly | Policy::Ideal => home,
        Policy::Random => world.random.below(nodes),
        Policy::PowerOfTwo => {
            let (one, other) = (world.random.below(nodes), world.random.below(nodes));
            let load = |node: usize| Measure::Load.cost(&truth(world, node), GUESS_MIB);
            if load(one) <= load(other) { one } else { other }
        }
        Policy::LeastLoaded => by_cost(world, job, Measure::Load, false),
        Policy::LeastLoadedHandshake | Policy::HarcholBalter => by_cost(world, job, Measure::Load, true),
        Policy::EPvm | Policy::EMosix => by_cost(world, job, Measure::opportunity(world), true),
        Policy::StretchPlacement | Policy::Homing | Policy::HomingProfile => by_stretch(world, job),
    };
    world.start(job, node);
}

/// The node's true load with its promises.
pub(super) fn truth(world: &World<'_>, node: usize) -> NodeLoad {
    let machine = &world.machines[node];
    machine.desk.load(&machine.measured(), world.now())
}

/// The freshest of the other nodes as `node` knows them, with what it sent them since.
pub(super) fn window(world: &World<'_>, node: usize) -> Vec<NodeLoad> {
    let (now, machine) = (world.now(), &world.machines[node]);
    let Some(gossip) = &machine.gossip else { return Vec::new() };
    let entries = gossip.table().freshest(now, WINDOW);
    entries
        .iter()
        .filter_map(|entry| entry.load().ok().map(|load| machine.sends.correct(&load, entry.age(), now)))
        .collect()
}

fn by_stretch(world: &mut World<'_>, job: usize) -> usize {
    let spec = world.workload.jobs[job];
    let home = spec.home;
    let known = world.policy == Policy::HomingProfile;
    let (calls_per_cpu_s, mem_mib) =
        if known { (spec.calls_per_cpu_s, spec.mem_mib) } else { (0.0, GUESS_MIB) };
    let ties = Ties { home: node_number(home), calls_per_cpu_s, peers: &[] };
    let program = Program { demand: 1.0, mem_mib, ties };
    let (candidates, here) = (window(world, home), truth(world, home));
    let World { tunables, distance, random, .. } = world;
    let (tunables, distance) = (*tunables, *distance);
    let offers = placement::rank(&program, &here, &candidates, &distance, random, &tunables);
    for offer in offers {
        let to = offer.node.node.0 as usize;
        let claim = claim(world, home, job, mem_mib);
        let target = &mut world.machines[to];
        let measured = target.measured();
        let desk = &mut target.desk;
        let answer = placement::answer(desk, &claim, &measured, &offer, &program, &distance, &tunables);
        if answered(world, home, to, &claim, answer) {
            return to;
        }
    }
    home
}

/// The node of the least cost; with the handshake the next one if that refuses.
fn by_cost(world: &mut World<'_>, job: usize, measure: Measure, handshake: bool) -> usize {
    let home = world.workload.jobs[job].home;
    let here = truth(world, home);
    let cost = |node: &NodeLoad| measure.cost(node, GUESS_MIB);
    let at_home = cost(&here);
    let mut offers: Vec<(f64, u64, usize)> = Vec::new();
    for node in window(world, home) {
        if cost(&node) < at_home {
            offers.push((cost(&node), world.random.bits(), node.node.0 as usize));
        }
    }
    offers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    for (claimed, _, to) in offers.into_iter().take(world.tunables.tries) {
        let claim = claim(world, home, job, GUESS_MIB);
        if !handshake {
            let now = world.now();
            world.machines[home].sends.note(node_number(to), 1.0, GUESS_MIB, now);
            return to;
        }
        let tunables = world.tunables;
        let target = &mut world.machines[to];
        let measured = target.measured();
        let answer = target.desk.admit(&claim, &measured, tunables.memory_hard, &tunables, |now| {
            baseline::acceptable(measure.cost(now, GUESS_MIB), claimed, at_home)
        });
        if answered(world, home, to, &claim, answer) {
            return to;
        }
    }
    home
}

/// What a node that wants to bring a job says of it.
pub(super) fn claim(world: &World<'_>, from: usize, job: usize, mem_mib: f64) -> Claim {
    Claim { key: (node_number(from), job as u64), demand: 1.0, mem_mib, now: world.now() }
}

/// Takes note of a target's answer, which tells its true load; true if it takes the job.
pub(super) fn answered(
    world: &mut World<'_>,
    from: usize,
    to: usize,
    claim: &Claim,
    answer: Result<(), Refusal>,
) -> bool {
    let (now, there) = (world.now(), node_number(to));
    let moves_30s = world.machines[to].brake.recent(now, &world.tunables);
    let entry = LoadEntry { incarnation: 1, moves_30s, ..LoadEntry::of(&truth(world, to)) };
    let machine = &mut world.machines[from];
    if let Some(gossip) = &mut machine.gossip {
        gossip.step(Event::Answered { now, entry });
    }
    if answer.is_ok() && machine.gossip.is_none() {
        machine.sends.note(there, claim.demand, claim.mem_mib, now);
    }
    answer.is_ok()
}

/// What is assumed of the memory of a job that is not known, in MiB.
pub(super) const GUESS_MIB: f64 = 256.0;

/// Entries that a decision looks at.
const WINDOW: usize = 32;
