//! Agents of two versions in one cluster, while it is upgraded node by node.

use std::time::Duration;

use cluster_tests::lab::{Ground, kill};
use cluster_tests::support::{cluster, migrate, place, times, wait_for};

use super::case::Ledger;

/// Every agent in turn is ended and comes back as a newer one, which still speaks the older version. The moved program
/// does not notice, and moves to and from nodes of either version.
pub(crate) fn node_by_node(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(12_000, 60_000));
    migrate(&lab, ledger.pid(), "n2");
    for round in 0..times(1, 5) {
        // And back: whoever has upgraded one node may find that it was a mistake.
        let newest = if round % 2 == 0 { NEWER } else { OLDER };
        for number in [3, 1, 2] {
            let node = lab.node(number);
            kill(node.agent_pid().unwrap());
            let alone = ledger.longest_gap(LOOK);
            assert!(alone < GAP_MAX, "the program stood still for {alone:?}");
            wait_for("the end of the agent", || node.agent_pid().is_none());
            node.start_agent_with(&["--speak-version", newest], &[]).unwrap();
            lab.wait_for_members().unwrap();
            wait_for("its place in the list", || {
                place(&lab, ledger.pid()) == Some(("n2".to_owned(), "away".to_owned()))
            });
            for to in ["n3", "n2"] {
                migrate(&lab, ledger.pid(), to);
                ledger.wait_for_more();
            }
            println!("n{number} speaks {newest}: longest time without a record {alone:.1?}");
        }
    }
    ledger.ends_well();
}

/// What this build speaks, and what one would whose newest version is the next.
const OLDER: &str = "1";
const NEWER: &str = "2";

/// For what a program does meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// The program is not to notice anything; a busy machine is not always quick.
const GAP_MAX: Duration = Duration::from_millis(500);
