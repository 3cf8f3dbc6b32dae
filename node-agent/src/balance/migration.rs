//! Which process is worth moving, and where to.
//!
//! The remaining life of a process is not known, but half of the processes that have used t CPU-seconds use t more. So
//! a move is worth the difference that the target makes to that long a life, less the freeze, less a price for the
//! target's last free processors, and with what it means for all others at both nodes.

use std::time::Duration;

use super::decision::{Cause, Estimate};
use super::desk::{Claim, Desk, Refusal};
use super::journey::Journey;
use super::load::{NodeLoad, NodeNumber};
use super::ties::{Distance, Ties};
use super::tunables::Tunables;

/// A process that runs here.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// The caller's number for it.
    pub number: u64,
    /// Processors it asks for.
    pub demand: f64,
    /// CPU-seconds it has used, of the reference's speed.
    pub age_s: f64,
    /// Its memory, in MiB.
    pub mem_mib: f64,
    /// How much of it changes, in MiB/s.
    pub dirty_mib_s: f64,
    /// Home and peers.
    pub ties: Ties<'a>,
    /// Where it has been.
    pub journey: &'a Journey,
    /// False if it is pinned, frozen, on its way, or cannot be moved.
    pub movable: bool,
}

/// A move to ask a target about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// The process.
    pub process: u64,
    /// Why.
    pub cause: Cause,
    /// The target as it is known here.
    pub there: NodeLoad,
    /// What the move would bring.
    pub estimate: Estimate,
}

/// What the policy looks at besides the node and its processes.
#[derive(Debug)]
pub struct Surroundings<'a, D> {
    /// The freshest of the other nodes.
    pub window: &'a [NodeLoad],
    /// Home and peers' nodes as they are now, whether they are in the window or not.
    pub known: &'a [NodeLoad],
    /// How far nodes are.
    pub distance: &'a D,
    /// The time.
    pub now: Duration,
    /// Gain that a move needs, in seconds, with the brake.
    pub benefit_min_s: f64,
    /// The constants.
    pub tunables: &'a Tunables,
}

/// What it would bring to move `process` from `here`, where it counts, to `there`, where it does not.
#[must_use]
pub fn estimate(
    process: &Process<'_>,
    here: &NodeLoad,
    there: &NodeLoad,
    distance: &impl Distance,
    benefit_min_s: f64,
    tunables: &Tunables,
) -> Estimate {
    let Process { demand, mem_mib, .. } = *process;
    let remaining_s = remaining_s(process.age_s, tunables);
    let after = there.with(demand, mem_mib);
    let here_s = remaining_s * here.stretch() * process.ties.slowdown_at(here.node, distance);
    let there_s = remaining_s * after.stretch() * process.ties.slowdown_at(there.node, distance);
    let relief = here.relief_of_departure(demand, mem_mib);
    let delay = there.delay_of_arrival(demand, mem_mib);
    // A process that lives by calls comes home when it fares better there itself: home owes it that.
    let homeward = there.node == process.ties.home && process.ties.lives_by_calls(here.node, distance);
    let weight = if homeward { 0.0 } else { 1.0 };
    let others_s = tunables.lambda * (here_s * relief - weight * there_s * delay);
    let scarcity = (after.demand() / after.cores()).min(1.0);
    let price_s = weight * tunables.price * remaining_s * scarcity * scarcity * scarcity;
    let (freeze_s, transfer_s, cost_s) = cost(process, tunables);
    let discount = |node: &NodeLoad| node.speed().powf(1.0 - tunables.eta);
    let benefit_s = here_s * discount(here) - there_s * discount(there) - price_s - freeze_s + others_s;
    let threshold_s = benefit_min_s + tunables.cost_factor * cost_s;
    Estimate {
        remaining_s,
        here_s,
        there_s,
        others_s,
        price_s,
        freeze_s,
        transfer_s,
        benefit_s,
        cost_s,
        threshold_s,
    }
}

/// CPU-seconds that half of the processes of this age exceed.
#[must_use]
pub fn remaining_s(age_s: f64, tunables: &Tunables) -> f64 {
    let median =
        if tunables.lifetime_alpha == 1.0 { 1.0 } else { 2_f64.powf(1.0 / tunables.lifetime_alpha) - 1.0 };
    (age_s * median).clamp(tunables.remaining_s.0, tunables.remaining_s.1)
}

/// Freeze, transfer and cost of a move, in seconds.
fn cost(process: &Process<'_>, tunables: &Tunables) -> (f64, f64, f64) {
    let Process { mem_mib, dirty_mib_s, .. } = *process;
    let bandwidth = tunables.bandwidth_mib_s;
    let round_s = mem_mib / bandwidth;
    let transfer_s = PRE_COPY_FACTOR * round_s;
    if dirty_mib_s < PRE_COPY_BELOW * bandwidth {
        let freeze_s = tunables.freeze_s + (dirty_mib_s * round_s).min(mem_mib) / bandwidth;
        (freeze_s, transfer_s, freeze_s + tunables.transfer_weight * transfer_s)
    } else {
        // Pre-copy would not end: the pages follow the body, and it waits for those that it needs.
        (tunables.freeze_s, transfer_s, tunables.freeze_s + transfer_s)
    }
}

/// The moves to ask for, best first, at most [`Tunables::tries`]. `here` counts all of `processes`.
#[must_use]
pub fn rank<D: Distance>(
    here: &NodeLoad,
    processes: &[Process<'_>],
    around: &Surroundings<'_, D>,
) -> Vec<Proposal> {
    let tunables = around.tunables;
    let open = |node: &NodeLoad| node.doors.open() && node.node != here.node;
    // The best that any node of the window could do for a CPU-second.
    let discounted = |node: &NodeLoad| node.stretch() * node.speed().powf(1.0 - tunables.eta);
    let window_best = around.window.iter().filter(|node| open(node)).map(discounted);
    let window_best = window_best.fold(f64::INFINITY, f64::min);
    let mut proposals = Vec::with_capacity(tunables.tries + 1);
    for process in processes {
        let eligible = process.movable
            && process.age_s >= tunables.age_min_s
            && process.journey.may_leave(Cause::Benefit, around.now, tunables);
        if !eligible {
            continue;
        }
        let known: Vec<&NodeLoad> = process
            .ties
            .nodes()
            .filter_map(|number| around.known.iter().find(|node| node.node == number))
            .collect();
        for there in &known {
            if open(there) || (there.node == process.ties.home && there.node != here.node) {
                consider(process, here, there, around, &mut proposals);
            }
        }
        let at_most = remaining_s(process.age_s, tunables)
            * (here.stretch()
                * process.ties.slowdown_at(here.node, around.distance)
                * (here.speed().powf(1.0 - tunables.eta)
                    + tunables.lambda * here.relief_of_departure(process.demand, process.mem_mib))
                - window_best);
        if at_most <= around.benefit_min_s {
            continue;
        }
        for there in around.window.iter().filter(|node| open(node)) {
            if !known.iter().any(|node| node.node == there.node) {
                consider(process, here, there, around, &mut proposals);
            }
        }
    }
    proposals
}

fn consider<D: Distance>(
    process: &Process<'_>,
    here: &NodeLoad,
    there: &NodeLoad,
    around: &Surroundings<'_, D>,
    proposals: &mut Vec<Proposal>,
) {
    let tunables = around.tunables;
    let fits = there.with(0.0, process.mem_mib).memory_share() <= tunables.memory_hard;
    if !fits || !process.journey.may_go_to(there.node, Cause::Benefit, around.now, tunables) {
        return;
    }
    let estimate = estimate(process, here, there, around.distance, around.benefit_min_s, tunables);
    if !estimate.worth_it() {
        return;
    }
    let place = proposals.partition_point(|better: &Proposal| better.estimate.merit() >= estimate.merit());
    if place < tunables.tries {
        let proposal = Proposal { process: process.number, cause: Cause::Benefit, there: *there, estimate };
        proposals.insert(place, proposal);
        proposals.truncate(tunables.tries);
    }
}

/// The target's answer to a process that wants to come for its benefit: it reckons with its own load, and with that of
/// the source as the source told it.
///
/// # Errors
/// Why the target does not take it.
#[expect(clippy::too_many_arguments, reason = "both sides' numbers, and where they come from")]
pub fn answer(
    desk: &mut Desk,
    claim: &Claim,
    truth: &NodeLoad,
    process: &Process<'_>,
    here: &NodeLoad,
    distance: &impl Distance,
    benefit_min_s: f64,
    tunables: &Tunables,
) -> Result<Estimate, Refusal> {
    let mut confirmed = Estimate::default();
    desk.admit(claim, truth, tunables.memory_hard, tunables, |now| {
        confirmed = estimate(process, here, now, distance, benefit_min_s, tunables);
        confirmed.worth_it()
    })?;
    Ok(confirmed)
}

/// Whether two peers that would both move may: the one with less memory goes, and of two that are alike the one with
/// the larger number, so that they never pass each other.
#[must_use]
pub fn yields_to_peer(mine: (f64, u64), peer: (f64, u64), peer_on_its_way: bool) -> bool {
    peer_on_its_way || mine.0 > peer.0 || (mine.0 == peer.0 && mine.1 < peer.1)
}

/// Candidates of one process that are no accident: where it came from and whom it talks to.
#[must_use]
pub fn tied_nodes(processes: &[Process<'_>]) -> Vec<NodeNumber> {
    let mut nodes: Vec<_> = processes.iter().flat_map(|process| process.ties.nodes()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// What pre-copy sends for each byte of memory, since some pages are sent again. Measured in the lab.
const PRE_COPY_FACTOR: f64 = 1.15;

/// Pre-copy comes to an end below this part of the bandwidth.
const PRE_COPY_BELOW: f64 = 0.5;
