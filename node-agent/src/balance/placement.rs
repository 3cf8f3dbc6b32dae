//! Where a program starts.
//!
//! The cost of a node is the time a CPU-second of the program would take there, with the waits for its home, and what
//! the program would cost those who are there. What it is worth to know the target's true load, and to be refused by
//! it, is more than anything this formula could be improved by.

use super::decision::{Cause, Decision, Estimate, Side, Verdict};
use super::desk::{Claim, Desk, Refusal};
use super::load::NodeLoad;
use super::random::Random;
use super::ties::{Distance, Ties};
use super::tunables::Tunables;

/// A program about to start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Program<'a> {
    /// Processors it will ask for, mostly 1.
    pub demand: f64,
    /// Memory it will need, in MiB: from its profile, else a guess.
    pub mem_mib: f64,
    /// Home and peers, as far as they are known.
    pub ties: Ties<'a>,
}

/// A node that the program could start at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// The node as it is known here, without the program.
    pub node: NodeLoad,
    /// What it would cost there.
    pub cost: f64,
    /// What it costs at home.
    pub at_home: f64,
}

/// The cost of `node` for the program, in seconds for each CPU-second.
#[must_use]
pub fn cost(program: &Program<'_>, node: &NodeLoad, distance: &impl Distance, tunables: &Tunables) -> f64 {
    let after = node.with(program.demand, program.mem_mib);
    let others = node.delay_of_arrival(program.demand, program.mem_mib).min(OTHERS_MAX);
    let crowded = (after.memory_share() - tunables.memory_soft).max(0.0) * MEMORY_WEIGHT;
    let start = if node.node == program.ties.home { 0.0 } else { tunables.start_s / tunables.start_scale_s };
    after.stretch() * (program.ties.slowdown_at(node.node, distance) + others) + crowded + start
}

/// The nodes to ask, best first, at most [`Tunables::tries`] of them. None: the program starts at home.
///
/// Among nodes that are as good as the best, chance decides, so that not all who start something at the same time go
/// to the same node.
#[must_use]
pub fn rank(
    program: &Program<'_>,
    home: &NodeLoad,
    candidates: &[NodeLoad],
    distance: &impl Distance,
    random: &mut Random,
    tunables: &Tunables,
) -> Vec<Offer> {
    let at_home = cost(program, home, distance, tunables);
    let mut offers: Vec<Offer> = Vec::with_capacity(tunables.tries + 1);
    let mut ties_seen = 0;
    for node in candidates {
        let usable = node.doors.open() && node.node != home.node;
        let share = node.with(0.0, program.mem_mib).memory_share();
        if !usable || share > tunables.memory_hard {
            continue;
        }
        let cost = cost(program, node, distance, tunables);
        if cost >= tunables.remote_below * at_home {
            continue;
        }
        let offer = Offer { node: *node, cost, at_home };
        let place = offers.partition_point(|better| better.cost <= cost);
        if place < tunables.tries {
            offers.insert(place, offer);
            offers.truncate(tunables.tries);
        }
    }
    // Reservoir over those within 1 % of the best: each has the same chance to be asked first.
    if let Some(best) = offers.first().map(|best| best.cost) {
        let mut chosen = None;
        for node in candidates.iter().filter(|node| node.doors.open() && node.node != home.node) {
            if node.with(0.0, program.mem_mib).memory_share() > tunables.memory_hard {
                continue;
            }
            let cost = cost(program, node, distance, tunables);
            if cost <= best * AS_GOOD && cost < tunables.remote_below * at_home {
                ties_seen += 1;
                if random.below(ties_seen) == 0 {
                    chosen = Some(Offer { node: *node, cost, at_home });
                }
            }
        }
        if let Some(chosen) = chosen {
            offers.retain(|offer| offer.node.node != chosen.node.node);
            offers.insert(0, chosen);
            offers.truncate(tunables.tries);
        }
    }
    offers
}

/// The target's answer to a program that wants to start there, under its true numbers.
///
/// # Errors
/// Why the target does not take it.
pub fn answer(
    desk: &mut Desk,
    claim: &Claim,
    truth: &NodeLoad,
    offer: &Offer,
    program: &Program<'_>,
    distance: &impl Distance,
    tunables: &Tunables,
) -> Result<(), Refusal> {
    desk.admit(claim, truth, tunables.memory_hard, tunables, |now| {
        let cost = cost(program, now, distance, tunables);
        cost <= ACCEPT_BELOW_HOME * offer.at_home || cost <= ACCEPT_ABOVE_CLAIM * offer.cost
    })
}

/// What `events` shows of a placement: `here` is home.
#[must_use]
pub fn decision(process: u64, home: &NodeLoad, offer: Option<&Offer>, verdict: Verdict) -> Decision {
    let there = offer.map_or(home, |offer| &offer.node);
    let claimed = offer.map_or_else(Estimate::default, |offer| Estimate {
        remaining_s: 1.0,
        here_s: offer.at_home,
        there_s: offer.cost,
        benefit_s: offer.at_home - offer.cost,
        ..Estimate::default()
    });
    Decision {
        process,
        cause: Cause::Benefit,
        here: Side::from(home),
        there: Side::from(there),
        truth: None,
        claimed,
        confirmed: None,
        verdict,
    }
}

/// What the others lose counts no more than this for a program that may end at once.
const OTHERS_MAX: f64 = 3.0;

/// Cost of each part of the memory above [`Tunables::memory_soft`].
const MEMORY_WEIGHT: f64 = 50.0;

/// Nodes whose cost is at most this many times the best are as good.
const AS_GOOD: f64 = 1.01;

/// The target takes a program that fares this much better there than at home.
const ACCEPT_BELOW_HOME: f64 = 0.97;

/// The target takes a program that costs at most so many times what its home believed.
const ACCEPT_ABOVE_CLAIM: f64 = 1.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{NodeNumber, SameDistance};

    fn node(number: u32, demand: f64) -> NodeLoad {
        NodeLoad::new(NodeNumber(number), 4.0, 1.0, 8192.0).unwrap().loaded(demand, 100.0).unwrap()
    }

    fn asked(home_demand: f64, calls_per_cpu_s: f64, candidates: &[NodeLoad]) -> Vec<u32> {
        let ties = Ties { home: NodeNumber(0), calls_per_cpu_s, peers: &[] };
        let program = Program { demand: 1.0, mem_mib: 256.0, ties };
        let (distance, mut random) = (SameDistance(100e-6), Random::new(1));
        let offers =
            rank(&program, &node(0, home_demand), candidates, &distance, &mut random, &Tunables::default());
        offers.iter().map(|offer| offer.node.node.0).collect()
    }

    #[test]
    fn a_program_leaves_only_a_home_that_is_busy() {
        assert!(asked(3.0, 0.0, &[node(1, 0.0)]).is_empty());
        assert_eq!(asked(8.0, 0.0, &[node(1, 6.0), node(2, 0.0)]), [2, 1]);
    }

    #[test]
    fn a_program_that_calls_home_all_the_time_stays_there() {
        assert!(asked(4.0, 20_000.0, &[node(1, 0.0)]).is_empty());
        assert_eq!(asked(12.0, 20_000.0, &[node(1, 0.0)]), [1], "unless waiting for home is worse");
    }

    #[test]
    fn closed_and_full_nodes_are_not_asked() {
        let closed = node(1, 0.0).with_doors(crate::balance::Doors { draining: true, ..Default::default() });
        let full = node(2, 0.0).loaded(0.0, 7200.0).unwrap();
        assert!(asked(8.0, 0.0, &[closed, full]).is_empty());
    }
}
