//! Who has to do with a program keeps hold of it while it is away: its clients, its terminal, its parent, its
//! operator. And what fails on the way harms it not.
//!
//! By default few repetitions on namespaces; `HOMING_FULL=1` makes it the whole, in containers too; nextest's profile
//! `full` has the patience for it.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod agents;
mod garbage;
mod jobs;
mod kills;
mod refusals;
mod session;
mod traffic;
mod windows;
mod work;

use std::process::ExitCode;

use cluster_tests::harness::Tests;
use cluster_tests::support::on_grounds;
use session::same_as_native;

fn main() -> ExitCode {
    let tests = on_grounds(
        Tests::new(),
        &[],
        "a_connection_from_outside_outlives_ten_moves",
        traffic::a_connection_from_outside_outlives_ten_moves,
    );
    let tests = on_grounds(
        tests,
        &[],
        "agents_may_die_while_families_are_away",
        agents::agents_may_die_while_families_are_away,
    );
    let tests =
        on_grounds(tests, &[], "a_target_that_refuses_says_why", refusals::a_target_that_refuses_says_why);
    tests
        .on_namespaces("home_is_not_in_the_path_of_a_hop", traffic::home_is_not_in_the_path_of_a_hop)
        .on_namespaces("keys_and_signals_end_a_job", || same_as_native(jobs::keys_and_signals_end_a_job))
        .on_namespaces("a_job_stops_and_goes_on", || same_as_native(jobs::a_job_stops_and_goes_on))
        .on_namespaces("a_stopped_job_stays_stopped", || same_as_native(jobs::a_stopped_job_stays_stopped))
        .on_namespaces("a_parent_sees_its_child", || same_as_native(jobs::a_parent_sees_its_child))
        .on_namespaces("timeout_ends_it", || same_as_native(jobs::timeout_ends_it))
        .on_namespaces("the_terminal_is_its_own", || same_as_native(jobs::the_terminal_is_its_own))
        .on_namespaces("a_hangup_ends_it", || same_as_native(jobs::a_hangup_ends_it))
        .on_namespaces("garbage_on_the_ports_harms_nobody", garbage::garbage_on_the_ports_harms_nobody)
        .on_namespaces("a_kill_before_commit_harms_nothing", kills::a_kill_before_commit_harms_nothing)
        .on_namespaces(
            "a_home_warden_killed_before_commit_harms_nothing",
            kills::a_home_warden_killed_before_commit_harms_nothing,
        )
        .on_namespaces(
            "a_warden_that_dies_in_any_window_harms_nothing",
            windows::a_warden_that_dies_in_any_window_harms_nothing,
        )
        .run()
}
