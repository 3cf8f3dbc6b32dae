//! What a program sees of the world while it is away, what is left of a stay afterwards, and what cannot leave.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod answers;
mod crowd;
mod plain;
mod refused;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::harness::Tests;
use cluster_tests::lab::{Ground, Lab, LabNode, Part, Stay, Work};

fn main() -> ExitCode {
    Tests::new()
        .on_each_ground("python_gets_homes_answers", answers::python)
        .on_each_ground("a_shell_gets_homes_answers", answers::shell)
        .on_each_ground("a_server_comes_back_plain", plain::python)
        .on(Ground::Namespaces, "a_stay_outlives_its_threads", crowd::python)
        .on_each_ground("nginx_with_workers_is_refused", refused::nginx)
        .run()
}

fn cluster(ground: Ground, nodes: u8) -> Lab {
    let lab = Lab::new(ground, nodes).unwrap();
    lab.start_cluster().unwrap();
    lab
}

/// Moves a process of `n1` to node `to`, or home, and proves that it is there.
fn go(lab: &Lab, part: Part, to: usize) {
    let name = if to == 1 { "home" } else { lab.node(to).name() };
    let moved = lab.node(1).homing(&["move", &part.pid.to_string(), name]).unwrap();
    let logs = || lab.nodes().iter().map(LabNode::logs).collect::<String>();
    assert_eq!(moved.code, 0, "to {name}: {}\n{}", String::from_utf8_lossy(&moved.errors), logs());
    if to != 1 {
        Stay::prove(part.outer_pid, lab.node(to), Work::Waits, PATIENCE).unwrap();
    }
}

/// Waits until `condition` holds.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
