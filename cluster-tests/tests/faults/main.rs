//! What goes wrong while families are away or on their way: each fault of the fault matrix has a test of its number.
//!
//! Every test ends with one more move, and with nothing left at the guests. By default few repetitions on namespaces;
//! `HOMING_FULL=1` makes it the whole, some of it in containers too.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod alone;
mod case;
mod damage;
mod killed;
mod lost;
mod network;
mod orders;
mod storm;
mod strike;
mod upgrade;

use std::process::ExitCode;

use cluster_tests::harness::Tests;
use cluster_tests::lab::Ground;
use cluster_tests::support::on_grounds;

fn main() -> ExitCode {
    let tests = Tests::new();
    let tests = [
        ("fault_f01_the_home_agent_dies", alone::the_home_agent as fn(Ground)),
        ("fault_f02_the_guest_agent_dies", alone::the_guest_agent),
        ("fault_f03_the_guest_agent_dies_with_calls_in_flight", alone::the_guest_agent_with_calls_in_flight),
        ("fault_f05_the_source_dies_while_it_runs", killed::the_source_while_it_runs),
        ("fault_f06_the_destination_dies_while_it_runs", killed::the_destination_while_it_runs),
        ("fault_f07_the_source_dies_after_the_stop", killed::the_source_after_the_stop),
        ("fault_f08_the_destination_dies_before_the_commit", killed::the_destination_before_the_commit),
        ("fault_f09_the_destination_dies_after_the_commit", killed::the_destination_after_the_commit),
        ("fault_f10_home_dies_at_each_step", killed::home_at_each_step),
        ("fault_f13_a_guest_warden_dies", lost::a_guest_warden),
        ("fault_f14_a_home_warden_dies", lost::a_home_warden),
        ("fault_f15_every_agent_dies", alone::every_agent),
        ("fault_f16_an_agent_stands_still", alone::an_agent_that_stands_still),
        ("fault_f43_memory_damaged_on_its_way", damage::memory_damaged_on_its_way),
        ("fault_f49_orders_that_cross", orders::orders_that_cross),
        ("storm_of_moves_and_deaths", storm::programs_and_agents),
        ("upgrade_node_by_node", upgrade::node_by_node),
    ]
    .into_iter()
    .fold(tests, |tests, (name, run)| on_grounds(tests, &[], name, run));
    let tests = on_grounds(tests, NFT, "fault_f17_a_cut_link", network::a_cut_link);
    let tests =
        on_grounds(tests, NFT, "fault_f18_a_cut_longer_than_the_lease", network::a_cut_longer_than_the_lease);
    let tests =
        on_grounds(tests, NFT, "fault_f19_a_link_cut_in_one_direction", network::a_link_cut_in_one_direction);
    let tests = on_grounds(tests, NFT, "fault_f22_a_flapping_link", network::a_flapping_link);
    let tests = on_grounds(tests, NFT, "fault_f23_lost_datagrams", network::lost_datagrams);
    let tests =
        on_grounds(tests, NFT, "fault_f20_two_guests_cut_off_from_each_other", network::two_guests_cut_off);
    tests.run()
}

/// Drops datagrams.
const NFT: &[&str] = &["nft"];
