//! What goes wrong while families are away or on their way: each fault of the fault matrix has a test of its number.
//!
//! Every test ends with one more move, and with nothing left at the guests. By default few repetitions on namespaces;
//! `HOMING_FULL=1` makes it the whole, some of it in containers too.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod case;
mod damage;
mod network;
mod orders;

use std::process::ExitCode;

use cluster_tests::harness::Tests;
use cluster_tests::support::on_grounds;

fn main() -> ExitCode {
    let tests = Tests::new();
    let tests = on_grounds(tests, NFT, "fault_f17_a_cut_link", network::a_cut_link);
    let tests =
        on_grounds(tests, NFT, "fault_f18_a_cut_longer_than_the_lease", network::a_cut_longer_than_the_lease);
    let tests =
        on_grounds(tests, NFT, "fault_f19_a_link_cut_in_one_direction", network::a_link_cut_in_one_direction);
    let tests = on_grounds(tests, NFT, "fault_f22_a_flapping_link", network::a_flapping_link);
    let tests = on_grounds(tests, NFT, "fault_f23_lost_datagrams", network::lost_datagrams);
    let tests =
        on_grounds(tests, &[], "fault_f43_memory_damaged_on_its_way", damage::memory_damaged_on_its_way);
    let tests = on_grounds(tests, &[], "fault_f49_orders_that_cross", orders::orders_that_cross);
    tests.run()
}

/// Drops datagrams.
const NFT: &[&str] = &["nft"];
