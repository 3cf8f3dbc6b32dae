//! What the scenarios share.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::harness::Tests;
use cluster_tests::lab::{Ground, Lab};

/// True if everything is asked for.
pub(crate) fn is_full() -> bool {
    env::var_os(FULL_SWITCH).is_some()
}

/// Adds a test that runs on namespaces, and in the full form in containers too.
pub(crate) fn on_grounds(tests: Tests, name: &str, run: fn(Ground)) -> Tests {
    let tests = tests.on(Ground::Namespaces, name, run);
    if is_full() { tests.on(Ground::Containers, name, run) } else { tests }
}

/// A cluster of `count` nodes.
pub(crate) fn cluster(ground: Ground, count: u8) -> Lab {
    let lab = Lab::new(ground, count).unwrap();
    lab.start_cluster().unwrap();
    lab
}

/// Moves process `pid` of `n1`; what `homing` said is in the panic if it could not.
pub(crate) fn migrate(lab: &Lab, pid: u32, to: &str) {
    let moved = lab.node(1).homing(&["move", &pid.to_string(), to]).unwrap();
    if moved.code != 0 {
        lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
        panic!("move to {to}: code {}, {}", moved.code, String::from_utf8_lossy(&moved.errors));
    }
}

/// Waits for a condition; `what` did not come if it does not.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Nothing that is waited for takes so long on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);
const FULL_SWITCH: &str = "HOMING_FULL";
