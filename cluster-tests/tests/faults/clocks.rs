//! Nodes whose clocks are wrong: the date jumps, or all time runs faster or slower than elsewhere.
//!
//! No namespace gives a process another date. So agents and wardens load a library that does: they import their clocks
//! from the C library, and `CLOCK_REALTIME` is nowhere else read.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User, kill, usage};
use cluster_tests::support::{PATIENCE, migrate, restart, times, wait_for};

use super::case::{Ledger, cluster};
use super::machines::another_one;
use super::network::{Direction, Fault};

/// Nobody notices that a date has jumped; an agent that starts with a wrong one is refused, and says why.
pub(crate) fn a_date_that_jumps(ground: Ground) {
    let lab = cluster(ground, 3);
    install(&lab);
    let jump = |number: usize, seconds: i64| {
        lab.node(number).write_file(JUMP_FILE, seconds.to_string().as_bytes()).unwrap();
    };
    (1..=3).for_each(|number| jump(number, 0));
    let ledger = Ledger::start(&lab, times(15_000, 60_000));
    restart(&lab, 1..=3, &["--lease", "5"], &[PRELOAD, ("CLOCK_JUMP_FILE", JUMP_FILE)]);
    migrate(&lab, ledger.pid(), "n2");
    for _ in 0..times(1, 5) {
        for (number, seconds) in [(2, DAY_S), (1, -DAY_S), (2, -DAY_S), (3, DAY_S), (1, DAY_S)] {
            jump(number, seconds);
            let alone = ledger.longest_gap(LOOK);
            println!("n{number} at {seconds} s: longest time without a record {alone:.1?}");
            assert!(alone < GAP_MAX, "the program stood still for {alone:?}");
            nobody_is_lost(&lab);
        }
        migrate(&lab, ledger.pid(), "n3");
        migrate(&lab, ledger.pid(), "n2");
        // Longer than the lease of all that.
        (1..=3).for_each(|number| jump(number, 0));
        assert!(ledger.longest_gap(LOOK) < GAP_MAX);
    }
    let agent = lab.node(3).agent_pid().unwrap();
    jump(3, -DAY_S);
    kill(agent);
    wait_for("the end of the agent", || lab.node(3).agent_pid().is_none());
    lab.node(3).start_agent_with(&[], &[PRELOAD, ("CLOCK_JUMP_FILE", JUMP_FILE)]).unwrap();
    wait_for("the reason", || {
        let events = lab.node(3).homing(&["events"]).unwrap().text();
        events.contains("not yet valid (compare the clocks)")
    });
    jump(3, 0);
    lab.wait_for_members().unwrap();
    ledger.ends_well();
}

fn nobody_is_lost(lab: &Lab) {
    for node in lab.nodes() {
        let asked = node.homing(&["nodes", "--json"]).unwrap();
        let nodes: serde_json::Value = serde_json::from_slice(&asked.output).unwrap();
        for seen in nodes["nodes"].as_array().unwrap() {
            assert_ne!(seen["state"], "lost", "at {}", node.name());
        }
    }
}

/// Where a clock is wrong by a tenth the body stands still before home gives it up, nevertheless.
pub(crate) fn a_clock_that_is_fast_or_slow(ground: Ground) {
    let lab = cluster(ground, 3);
    install(&lab);
    let cases = [("1000", "900"), ("1100", "1000"), ("900", "1000"), ("1000", "1100")];
    for (home, guest) in cases.into_iter().cycle().take(times(2, 20)) {
        restart(&lab, 1..=1, &["--lease", LEASE_S], &[PRELOAD, ("CLOCK_RATE", home)]);
        restart(&lab, 2..=2, &[], &[PRELOAD, ("CLOCK_RATE", guest)]);
        let spinner = start_spinner(&lab);
        migrate(&lab, spinner.pid(), "n2");
        let body = *lab.node(2).bodies().unwrap().first().unwrap();
        let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
        let cut = Instant::now();
        let (mut worked, mut ticks) = (Duration::ZERO, 0);
        let mut spinner = spinner;
        while !spinner.has_ended().unwrap() {
            assert!(cut.elapsed() < PATIENCE, "the job does not end");
            let now = usage(body).map_or(ticks, |usage| usage.own.user);
            if now > ticks {
                (ticks, worked) = (now, cut.elapsed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let ended = cut.elapsed();
        println!(
            "home at {home}, guest at {guest}: the body worked for {worked:.2?}, the job ended after {ended:.2?}"
        );
        assert_eq!(spinner.finish(PATIENCE).unwrap().code, JOB_LOST);
        assert!(worked + MARGIN < ended, "it worked until home gave it up");
        wait_for("the end of the body", || lab.node(2).bodies().unwrap().is_empty());
        drop(fault);
        lab.wait_for_members().unwrap();
    }
    restart(&lab, 1..=2, &[], &[]);
    another_one(&lab);
}

fn start_spinner(lab: &Lab) -> Running {
    let spin = Program::new("sh").args(&["-c", "while :; do :; done"]).user(User::Worker);
    lab.node(1).exec(&spin).unwrap()
}

/// Gives every node the library.
fn install(lab: &Lab) {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("clocks.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/other_clocks.c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(compiler.status().unwrap().success());
    lab.nodes().iter().for_each(|node| node.install(&library, PRELOAD.1).unwrap());
}

const PRELOAD: (&str, &str) = ("LD_PRELOAD", "/tmp/clocks.so");
const JUMP_FILE: &str = "/tmp/jump";
const DAY_S: i64 = 86_400;

/// Of home's programs whose clocks run at another rate.
const LEASE_S: &str = "8";

/// What is left between the two where a clock is wrong, less than half of it.
const MARGIN: Duration = Duration::from_millis(200);

/// Exit code of a job whose body is gone.
const JOB_LOST: i32 = 75;

/// For what a program does meanwhile.
const LOOK: Duration = Duration::from_millis(1200);

/// The program is not to notice anything; a busy machine is not always quick.
const GAP_MAX: Duration = Duration::from_secs(1);
