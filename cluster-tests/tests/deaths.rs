//! Wardens that are killed while a family is away: it ends at once, with a status that says so, and nothing stays.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::harness::Tests;
use cluster_tests::lab::{Ground, Lab, LabNode, Program, Running, User};

fn main() -> ExitCode {
    Tests::new()
        .on_each_ground("a_killed_guest_warden_ends_the_job_with_75", a_killed_guest_warden)
        .on_each_ground("a_killed_home_warden_leaves_nothing_at_the_guest", a_killed_home_warden)
        .run()
}

fn a_killed_guest_warden(ground: Ground) {
    let lab = Lab::new(ground, 2).unwrap();
    let away = sleeper_at_n2(&lab);
    let killed = Instant::now();
    kill_wardens(lab.node(2), "guest");
    let finished = away.finish(PATIENCE).unwrap();
    println!("the job ended after {:?}", killed.elapsed());
    assert_eq!(finished.code, 75, "{}", lab.node(1).logs());
    assert!(lab.node(2).bodies().unwrap().is_empty(), "no body is left");
    let events = homing(lab.node(1), &["events"]);
    assert!(events.contains("was killed") && events.contains("75"), "the reason is told: {events}");
}

fn a_killed_home_warden(ground: Ground) {
    let lab = Lab::new(ground, 2).unwrap();
    let away = sleeper_at_n2(&lab);
    let killed = Instant::now();
    kill_wardens(lab.node(1), "home");
    assert_eq!(away.finish(PATIENCE).unwrap().code, KILLED, "{}", lab.node(1).logs());
    while !(lab.node(2).bodies().unwrap().is_empty() && wardens(lab.node(2), "guest", "echo").is_empty()) {
        assert!(killed.elapsed() < PATIENCE, "{}", lab.node(2).logs());
        thread::sleep(Duration::from_millis(20));
    }
    println!("nothing was left after {:?}", killed.elapsed());
}

fn sleeper_at_n2(lab: &Lab) -> Running {
    lab.start_cluster().unwrap();
    let sleeper = lab.node(1).exec(&Program::new("sleep").args(&["300"]).user(User::Worker)).unwrap();
    homing(lab.node(1), &["move", &sleeper.pid().to_string(), "n2"]);
    assert_eq!(lab.node(2).bodies().unwrap().len(), 1);
    sleeper
}

fn homing(node: &LabNode, args: &[&str]) -> String {
    let finished = node.homing(args).unwrap();
    assert_eq!(finished.code, 0, "{}", String::from_utf8_lossy(&finished.errors));
    finished.text()
}

fn kill_wardens(node: &LabNode, side: &str) {
    assert_eq!(wardens(node, side, "kill -9 $pid; echo").lines().count(), 1, "one warden was there");
}

/// Runs a command for each warden of this side at the node. The init of a family has the same command line and a second
/// pid, in its own namespace.
fn wardens(node: &LabNode, side: &str, command: &str) -> String {
    let script = format!(
        "for task in /proc/[0-9]*; do pid=${{task#/proc/}}
         tr '\\0' ' ' <$task/cmdline 2>/dev/null | grep -q ' [w]arden {side} ' || continue
         [ $(grep ^NSpid: $task/status | wc -w) = 2 ] || continue
         {command} $pid
         done"
    );
    let listing = Program::new("sh").args(&["-c", &script]).user(User::Root);
    node.exec(&listing).unwrap().finish(PATIENCE).unwrap().text()
}

/// Five times the goal of one second.
const PATIENCE: Duration = Duration::from_secs(5);

/// As a shell says it: 128 and SIGKILL.
const KILLED: i32 = 137;
