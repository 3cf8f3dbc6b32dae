//! What a program sees of the world while it is away, what is left of a stay afterwards, and what cannot leave.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod answers;
mod crowd;
mod hostile;
mod plain;
mod refused;

use std::process::ExitCode;

use cluster_tests::harness::Tests;
use cluster_tests::lab::{Ground, Lab, Part, Stay, Work};
use cluster_tests::support::{PATIENCE, migrate};

fn main() -> ExitCode {
    Tests::new()
        .on_each_ground("python_gets_homes_answers", answers::python)
        .on_each_ground("a_shell_gets_homes_answers", answers::shell)
        .on_each_ground("a_server_comes_back_plain", plain::python)
        .on(Ground::Namespaces, "a_stay_outlives_its_threads", crowd::python)
        .on_each_ground("a_hostile_program_sees_nothing_of_its_guest", hostile::probes)
        .on(Ground::Namespaces, "a_hostile_program_makes_every_call", hostile::sweep)
        .on_with(&["nginx"], Ground::Namespaces, "nginx_with_workers_is_refused", refused::nginx)
        .on_with(&["nginx"], Ground::Containers, "nginx_with_workers_is_refused", refused::nginx)
        .run()
}

/// Moves a process of `n1` to node `to`, or home, and proves that it is there.
fn go(lab: &Lab, part: Part, to: usize) {
    let name = if to == 1 { "home" } else { lab.node(to).name() };
    migrate(lab, part.pid, name);
    if to != 1 {
        Stay::prove(part.outer_pid, lab.node(to), Work::Waits, PATIENCE).unwrap();
    }
}
