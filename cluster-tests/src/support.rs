//! What the scenarios of several test targets share. All of it panics where a test is to fail.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests")]

use std::env;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::Tests;
use crate::lab::{Ground, Lab, kill};

/// True if everything is asked for: `HOMING_FULL=1`.
#[must_use]
pub fn is_full() -> bool {
    env::var_os(FULL_SWITCH).is_some()
}

/// A number of repetitions: few, or all.
#[must_use]
pub fn times(short: usize, full: usize) -> usize {
    if is_full() { full } else { short }
}

/// Adds a test, which needs these programs of this machine, on namespaces, and in the full form in containers too.
#[must_use]
pub fn on_grounds(tests: Tests, needs: &[&str], name: &str, run: fn(Ground)) -> Tests {
    let tests = tests.on_with(needs, Ground::Namespaces, name, run);
    if is_full() { tests.on_with(needs, Ground::Containers, name, run) } else { tests }
}

/// Numbers that nobody can foresee, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// With the seed that `HOMING_SEED` says, or another one each time; it is printed.
    #[must_use]
    pub fn new() -> Chance {
        let seed =
            env::var(SEED).map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
        println!("{SEED}={seed}");
        Chance(seed)
    }

    /// Another one for somebody else.
    #[must_use]
    pub fn split(&mut self) -> Chance {
        Chance(self.next())
    }

    /// From 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "no more than 53 bits")]
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to one less than this.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % limit
    }

    /// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Chance {
    fn default() -> Chance {
        Chance::new()
    }
}

/// A cluster of `count` nodes.
#[must_use]
pub fn cluster(ground: Ground, count: u8) -> Lab {
    let lab = Lab::new(ground, count).unwrap();
    lab.start_cluster().unwrap();
    lab
}

/// Moves process `pid` of `n1`; what `homing` said is in the panic if it could not.
#[track_caller]
pub fn migrate(lab: &Lab, pid: u32, to: &str) {
    if let Err(reason) = try_to_migrate(lab, pid, to) {
        lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
        panic!("{reason}");
    }
}

/// The same.
///
/// # Errors
/// What `homing` said if it could not.
pub fn try_to_migrate(lab: &Lab, pid: u32, to: &str) -> Result<(), String> {
    let moved = lab.node(1).homing(&["move", &pid.to_string(), to]).unwrap();
    match moved.code {
        0 => Ok(()),
        code => Err(format!("move to {to}: code {code}, {}", String::from_utf8_lossy(&moved.errors))),
    }
}

/// Where `n1` says that a process is, and in what state.
#[must_use]
pub fn place(lab: &Lab, pid: u32) -> Option<(String, String)> {
    let listed = lab.node(1).homing(&["ps", "--all", "--json"]).unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.output).unwrap_or_default();
    let process = listed["processes"].as_array()?.iter().find(|process| process["pid"] == pid)?;
    Some((process["at"].as_str()?.to_owned(), process["state"].as_str()?.to_owned()))
}

/// Kills the agents of these nodes, starts them again with these flags and variables, and waits for the cluster.
#[track_caller]
pub fn restart(lab: &Lab, nodes: RangeInclusive<usize>, flags: &[&str], env: &[(&str, &str)]) {
    for node in nodes.map(|number| lab.node(number)) {
        kill(node.agent_pid().unwrap());
        wait_for("the end of the agent", || node.agent_pid().is_none());
        node.start_agent_with(flags, env).unwrap();
    }
    lab.wait_for_members().unwrap();
}

/// True if no node has a body or a guest warden.
#[must_use]
pub fn nobody_is_away(lab: &Lab) -> bool {
    lab.nodes().iter().all(|node| node.bodies().unwrap().is_empty() && node.guest_wardens().is_empty())
}

/// Waits for a condition; `what` did not come if it does not.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Nothing that is waited for takes so long on any machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Environment variable that repeats what a run did by chance.
const SEED: &str = "HOMING_SEED";

const FULL_SWITCH: &str = "HOMING_FULL";
