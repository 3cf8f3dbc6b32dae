//! What each policy moves.

use node_agent::balance::desk::Refusal;
use node_agent::balance::migration::{self, Process, Proposal, Surroundings};
use node_agent::balance::usher::{self, Pressure};
use node_agent::balance::{Cause, NodeLoad, SameDistance};

use super::baseline::{self, Measure};
use super::machine::Stage;
use super::moves::FROZEN_PART;
use super::place::{answered, claim, truth, window};
use super::policy::Policy;
use super::world::World;

/// One look of a node at its processes.
pub(super) fn look(world: &mut World<'_>, node: usize) {
    if world.machines[node].jobs.is_empty() || world.machines[node].leaving >= world.tunables.out_slots {
        return;
    }
    world.account(node);
    match world.policy {
        Policy::Homing | Policy::HomingProfile => by_benefit(world, node),
        Policy::EMosix => by_opportunity(world, node),
        Policy::HarcholBalter => by_age(world, node),
        _ => {}
    }
}

fn by_benefit(world: &mut World<'_>, node: usize) {
    let (now, tunables, distance) = (world.now(), world.tunables, world.distance);
    let here = truth(world, node);
    let window = window(world, node);
    let machine = &world.machines[node];
    let told = machine.gossip.iter().flat_map(|gossip| gossip.table().freshest(now, BRAKE_SAMPLE));
    let benefit_min_s = machine.brake.benefit_min_s(now, told.map(|entry| entry.moves_30s), &tunables);
    let (mut proposals, ushered) = {
        let processes: Vec<Process<'_>> =
            world.machines[node].jobs.iter().map(|job| process(world, *job)).collect();
        let known: Vec<NodeLoad> = migration::tied_nodes(&processes)
            .into_iter()
            .filter(|tied| tied.0 as usize != node)
            .map(|tied| truth(world, tied.0 as usize))
            .collect();
        let around = Surroundings {
            window: &window,
            known: &known,
            distance: &distance,
            now,
            benefit_min_s,
            tunables: &tunables,
        };
        let usher = usher::needed(&here, Pressure::default(), &tunables);
        let ushered = if usher { usher::rank(&here, &processes, &around) } else { Vec::new() };
        (migration::rank(&here, &processes, &around), ushered)
    };
    proposals.splice(0..0, ushered);
    let mut refused = 0;
    for proposal in proposals {
        if world.machines[node].leaving >= tunables.out_slots || refused == tunables.tries {
            return;
        }
        if !ask(world, node, &here, &proposal, &distance, benefit_min_s) {
            refused += 1;
        }
    }
}

/// Asks a target; true if the process goes there.
fn ask(
    world: &mut World<'_>,
    node: usize,
    here: &NodeLoad,
    proposal: &Proposal,
    distance: &SameDistance,
    benefit_min_s: f64,
) -> bool {
    let to = proposal.there.node.0 as usize;
    let Ok(job) = usize::try_from(proposal.process) else { return false };
    if world.jobs[job].stage != Stage::Running {
        return false;
    }
    let mem_mib = world.workload.jobs[job].mem_mib;
    let claim = claim(world, node, job, mem_mib);
    let tunables = world.tunables;
    let mut desk = std::mem::take(&mut world.machines[to].desk);
    let measured = world.machines[to].measured();
    let answer: Result<(), Refusal> = match proposal.cause {
        Cause::Memory => usher::answer(&mut desk, &claim, &measured, &tunables),
        _ => {
            let process = process(world, job);
            migration::answer(
                &mut desk,
                &claim,
                &measured,
                &process,
                here,
                distance,
                benefit_min_s,
                &tunables,
            )
            .map(|_| ())
        }
    };
    world.machines[to].desk = desk;
    let goes = answered(world, node, to, &claim, answer);
    if goes {
        world.begin_move(job, to, proposal.cause);
    }
    goes
}

fn process<'w>(world: &'w World<'_>, job: usize) -> Process<'w> {
    let (spec, state) = (&world.workload.jobs[job], &world.jobs[job]);
    let peer_moves = spec.peer.is_some_and(|(peer, _)| {
        let peer = &world.jobs[peer];
        let moved = peer.moved_s.is_some_and(|moved_s| world.now_s - moved_s < PAIR_REST_S);
        moved || matches!(peer.stage, Stage::Copying(_) | Stage::Frozen(_))
    });
    Process {
        number: job as u64,
        demand: 1.0,
        age_s: state.age_s,
        mem_mib: spec.mem_mib,
        dirty_mib_s: FROZEN_PART * world.tunables.bandwidth_mib_s,
        ties: world.ties(job),
        journey: &state.journey,
        movable: state.stage == Stage::Running && !peer_moves,
    }
}

/// Enhanced MOSIX: the move that lowers the sum of the costs most.
fn by_opportunity(world: &mut World<'_>, node: usize) {
    let measure = Measure::opportunity(world);
    let here = truth(world, node);
    let window = window(world, node);
    let mut best: Option<(f64, usize, usize)> = None;
    for job in rested(world, node) {
        let mem_mib = world.workload.jobs[job].mem_mib;
        let relief = measure.cost(&here.with(-1.0, -mem_mib), mem_mib);
        for there in window.iter().filter(|there| fits(there, mem_mib)) {
            let gain = relief - measure.cost(there, mem_mib);
            if gain > 0.0 && best.is_none_or(|best| gain > best.0) {
                best = Some((gain, job, there.node.0 as usize));
            }
        }
    }
    if let Some((_, job, to)) = best {
        let mem_mib = world.workload.jobs[job].mem_mib;
        let relief = measure.cost(&here.with(-1.0, -mem_mib), mem_mib);
        offer(world, node, job, to, |there| measure.cost(there, mem_mib) < relief);
    }
}

/// The oldest process whose age is worth the move to the shortest queue.
fn by_age(world: &mut World<'_>, node: usize) {
    let here = truth(world, node);
    let window = window(world, node);
    let mut jobs = rested(world, node);
    jobs.sort_by(|a, b| world.jobs[*b].age_s.total_cmp(&world.jobs[*a].age_s));
    let best = window.iter().min_by(|a, b| Measure::Load.cost(a, 0.0).total_cmp(&Measure::Load.cost(b, 0.0)));
    let Some(there) = best else { return };
    for job in jobs {
        let (mem_mib, age_s) = (world.workload.jobs[job].mem_mib, world.jobs[job].age_s);
        let cost_s =
            world.tunables.freeze_s + (1.15 + FROZEN_PART) * mem_mib / world.tunables.bandwidth_mib_s;
        if fits(there, mem_mib) && baseline::old_enough(age_s, cost_s, &here, there) {
            let to = there.node.0 as usize;
            offer(world, node, job, to, |truth| baseline::old_enough(age_s, cost_s, &here, truth));
            return;
        }
    }
}

/// Jobs that have been here for long enough and run.
fn rested(world: &World<'_>, node: usize) -> Vec<usize> {
    let (now, tunables) = (world.now(), &world.tunables);
    let rested = |job: &usize| {
        let job = &world.jobs[*job];
        job.stage == Stage::Running && job.journey.may_leave(Cause::Benefit, now, tunables)
    };
    world.machines[node].jobs.iter().copied().filter(rested).collect()
}

fn fits(there: &NodeLoad, mem_mib: f64) -> bool {
    there.with(0.0, mem_mib).memory_share() <= 0.9
}

fn offer(
    world: &mut World<'_>,
    node: usize,
    job: usize,
    to: usize,
    worth_it: impl FnOnce(&NodeLoad) -> bool,
) {
    let claim = claim(world, node, job, world.workload.jobs[job].mem_mib);
    let tunables = world.tunables;
    let target = &mut world.machines[to];
    let measured = target.measured();
    let answer = target.desk.admit(&claim, &measured, tunables.memory_hard, &tunables, worth_it);
    if answered(world, node, to, &claim, answer) {
        world.begin_move(job, to, Cause::Benefit);
    }
}

/// Nodes whose moves count for the brake.
const BRAKE_SAMPLE: usize = 32;

/// Two that talk to each other do not move shortly one after the other, in seconds.
const PAIR_REST_S: f64 = 5.0;
