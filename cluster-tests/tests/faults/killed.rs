//! Agents and wardens that are killed at an instant of a move. What moves is the wardens' business: that an agent dies
//! changes nothing, and neither does it that a warden dies to which the family does not belong yet, or not any more.

use cluster_tests::lab::Ground;
use cluster_tests::support::{is_full, times};

use super::case::{Ledger, cluster};
use super::strike::Outcome::{Either, Moved, Stays};
use super::strike::Strike;
use super::strike::Victim::{Agent, GuestWarden, HomeWarden};

/// Before the family stands still.
const EARLY: [&str; 3] = ["to prepare", "to copy", "to stop"];

/// While the family may be copied: the source.
pub(crate) fn the_source_while_it_runs(ground: Ground) {
    let agents = EARLY.map(|at| Strike::on_hop(at, Agent(2), Moved));
    let wardens = EARLY.map(|at| Strike::on_leave(at, HomeWarden, Stays));
    all(ground, &[agents, wardens].concat());
}

/// And the destination.
pub(crate) fn the_destination_while_it_runs(ground: Ground) {
    let agents = EARLY.map(|at| Strike::on_hop(at, Agent(3), Moved));
    let wardens = EARLY.map(|at| Strike::on_hop(at, GuestWarden(3), Stays));
    all(ground, &[agents, wardens].concat());
}

/// The source, while the family stands still.
pub(crate) fn the_source_after_the_stop(ground: Ground) {
    let strikes = ["to take", "to accept"];
    let agents = strikes.map(|at| Strike::on_hop(at, Agent(2), Moved));
    let wardens = strikes.map(|at| Strike::on_leave(at, HomeWarden, Stays));
    all(ground, &[agents, wardens].concat());
}

/// The destination, which has everything.
pub(crate) fn the_destination_before_the_commit(ground: Ground) {
    all(
        ground,
        &[
            Strike::on_hop("to start", Agent(3), Moved),
            Strike::on_hop("to start", GuestWarden(3), Stays),
            Strike::on_leave("to start", GuestWarden(2), Stays),
        ],
    );
}

/// The family counts there, and has done nothing yet.
pub(crate) fn the_destination_after_the_commit(ground: Ground) {
    all(
        ground,
        &[
            Strike::on_hop("committed", GuestWarden(3), Stays),
            Strike::on_hop("committed", Agent(3), Moved),
            Strike::on_leave("committed", GuestWarden(2), Stays),
        ],
    );
}

/// The agent that has given the order is not needed for it; the warden decides.
pub(crate) fn home_at_each_step(ground: Ground) {
    let steps =
        ["committed", "to take", "to prepare", "to copy", "to stop", "to accept", "to start", "to discard"];
    let agents = steps.map(|at| Strike::on_hop(at, Agent(1), Either));
    // What was committed and not discarded yet is still whole at home.
    let wardens = steps.map(|at| Strike::on_leave(at, HomeWarden, Stays));
    let leaves = steps.map(|at| Strike::on_leave(at, Agent(1), Either));
    all(ground, &[agents, wardens, leaves].concat());
}

fn all(ground: Ground, strikes: &[Strike]) {
    let lab = cluster(ground, 3);
    // In the short form one of an agent, and one of a warden.
    let step = if is_full() { 1 } else { strikes.len().div_ceil(2) };
    for _ in 0..times(1, 10) {
        let strikes = strikes.iter().step_by(step);
        let ledger = Ledger::start(&lab, RECORDS_A_STRIKE * strikes.len());
        strikes.for_each(|strike| strike.make(&lab, &ledger));
        ledger.bring_home();
        ledger.ends_well();
    }
}

/// What a program writes meanwhile, and some more: one in a millisecond.
const RECORDS_A_STRIKE: usize = 9000;
