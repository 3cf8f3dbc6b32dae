//! Room on a node whose memory runs out, whatever its load.

use super::decision::{Cause, Estimate};
use super::desk::{Claim, Desk, Refusal};
use super::load::NodeLoad;
use super::migration::{Process, Proposal, Surroundings};
use super::ties::Distance;
use super::tunables::Tunables;

/// Signs that memory is short which the used memory does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Memory that is read back from swap, in MiB/s.
    pub swap_in_mib_s: f64,
    /// Share of time in which something waited for memory, in percent: PSI some, 10 s.
    pub stalled_percent: f64,
}

/// Whether a node has to make room.
#[must_use]
pub fn needed(here: &NodeLoad, pressure: Pressure, tunables: &Tunables) -> bool {
    here.memory_share() > tunables.memory_usher
        || pressure.swap_in_mib_s > SWAP_IN_MIB_S
        || pressure.stalled_percent > STALLED_PERCENT
}

/// The processes to move away, best first, at most [`Tunables::tries`]: the smallest that makes enough room, else the
/// largest; each to the target where it fares best.
#[must_use]
pub fn rank<D: Distance>(
    here: &NodeLoad,
    processes: &[Process<'_>],
    around: &Surroundings<'_, D>,
) -> Vec<Proposal> {
    let tunables = around.tunables;
    let excess_mib = here.mem_used_mib() - tunables.memory_usher * here.mem_total_mib();
    let movable = |process: &&Process<'_>| {
        process.movable && process.journey.may_leave(Cause::Memory, around.now, tunables)
    };
    let mut leaving: Vec<&Process<'_>> = processes.iter().filter(movable).collect();
    // Those that are enough come first, smallest first; then the others, largest first.
    leaving.sort_by(|a, b| {
        let (enough_a, enough_b) = (a.mem_mib >= excess_mib, b.mem_mib >= excess_mib);
        let size = a.mem_mib.total_cmp(&b.mem_mib);
        enough_b.cmp(&enough_a).then(if enough_a { size } else { size.reverse() })
    });
    let mut proposals = Vec::new();
    for process in leaving {
        if proposals.len() == tunables.tries {
            break;
        }
        let targets = around.window.iter().chain(around.known).filter(|there| {
            there.node != here.node
                && there.doors.open()
                && takes(there, process.demand, process.mem_mib, tunables)
        });
        let seconds = |there: &NodeLoad| {
            let after = there.with(process.demand, process.mem_mib);
            after.stretch() * process.ties.slowdown_at(there.node, around.distance)
        };
        if let Some(there) = targets.min_by(|a, b| seconds(a).total_cmp(&seconds(b))) {
            let estimate = super::migration::estimate(
                process,
                here,
                there,
                around.distance,
                around.benefit_min_s,
                tunables,
            );
            proposals.push(Proposal {
                process: process.number,
                cause: Cause::Memory,
                there: *there,
                estimate: Estimate { threshold_s: f64::NEG_INFINITY, ..estimate },
            });
        }
    }
    proposals
}

/// The target's answer to a process that needs room.
///
/// # Errors
/// Why the target does not take it.
pub fn answer(desk: &mut Desk, claim: &Claim, truth: &NodeLoad, tunables: &Tunables) -> Result<(), Refusal> {
    desk.admit(claim, truth, tunables.memory_ushered, tunables, |now| {
        takes(now, claim.demand, claim.mem_mib, tunables)
    })
}

fn takes(there: &NodeLoad, demand: f64, mem_mib: f64, tunables: &Tunables) -> bool {
    let after = there.with(demand, mem_mib);
    after.memory_share() <= tunables.memory_ushered && after.demand() <= LOAD_MAX * after.cores()
}

/// A target may have so many processes for each of its processors: swapping is worse than waiting.
const LOAD_MAX: f64 = 2.0;

/// A node that reads more than this from swap has too little memory.
const SWAP_IN_MIB_S: f64 = 1.0;

/// A node that stalls for longer than this has too little memory.
const STALLED_PERCENT: f64 = 20.0;
