//! Whole machines that are gone from one moment to the next, without a word to anybody.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User};
use cluster_tests::support::{PATIENCE, migrate, nobody_is_away, restart, times, wait_for};

use super::case::{Ledger, cluster};

/// Of a guest on which a program has only computed: its job ends with 75 and the reason, at the end of its lease, or as
/// soon as the machine is back.
pub(crate) fn a_guest_that_computes(ground: Ground) {
    lose_guests(ground, [true, false], |lab| {
        let spin = Program::new("sh").args(&["-c", "while :; do :; done"]).user(User::Worker);
        let running = lab.node(1).exec(&spin).unwrap();
        migrate(lab, running.pid(), "n2");
        (running, 0)
    });
}

/// Of a guest from which calls have come: how many is told, and nothing of it is ever done again.
pub(crate) fn a_guest_that_calls(ground: Ground) {
    lose_guests(ground, [false, true], |lab| {
        let records = "i=0; while :; do i=$((i+1)); echo $i >>/tmp/effects; done";
        let running = lab.node(1).exec(&Program::new("sh").args(&["-c", records])).unwrap();
        migrate(lab, running.pid(), "n2");
        let written = || String::from_utf8(lab.node(1).read_file(EFFECTS).unwrap()).unwrap().lines().count();
        let before = written();
        wait_for("many calls", || written() > before + CALLS);
        (running, CALLS as u64)
    });
}

fn lose_guests(ground: Ground, comes_back: [bool; 2], start: fn(&Lab) -> (Running, u64)) {
    let mut lab = cluster(ground, 3);
    for comes_back in comes_back.into_iter().cycle().take(times(1, 50)) {
        restart(&lab, 1..=1, &["--lease", if comes_back { "60" } else { "5" }], &[]);
        lab.node(1).write_file(EFFECTS, b"").unwrap();
        let (running, calls_min) = start(&lab);
        let pid = running.pid();
        lab.power_off(2).unwrap();
        let lost = Instant::now();
        if comes_back {
            lab.power_on(2).unwrap();
            lab.node(2).start_agent().unwrap();
        }
        let finished = running.finish(PATIENCE).unwrap();
        println!("the job ended {:.1?} after its guest", lost.elapsed());
        assert_eq!(finished.code, JOB_LOST, "{}", lab.node(1).logs());
        let told_max = if comes_back { BACK_MAX } else { LEASE + TOLD_MAX };
        assert!(lost.elapsed() < told_max, "it was told only {:?} later", lost.elapsed());
        let mut reason = None;
        wait_for("the reason", || {
            let events = lab.node(1).homing(&["events"]).unwrap().text();
            let own = |line: &&str| line.contains(&format!("{pid}: lost with n2 after "));
            reason = events.lines().find(own).map(str::to_owned);
            reason.is_some()
        });
        let reason = reason.unwrap();
        println!("{reason}");
        let (_, calls) = reason.split_once("lost with n2 after ").unwrap();
        let (calls, _) = calls.split_once(" call").unwrap();
        assert!(calls.replace(',', "").parse::<u64>().unwrap() >= calls_min, "{reason}");
        assert!(reason.contains("75"), "{reason}");
        // What was done was done once, and nobody does the rest.
        let effects = || String::from_utf8(lab.node(1).read_file(EFFECTS).unwrap()).unwrap();
        let before = effects();
        assert!(before.lines().zip(1..).all(|(line, number)| line == number.to_string()), "not in order");
        thread::sleep(LOOK);
        assert_eq!(effects().len(), before.len(), "something of it goes on");
        assert!(lab.node(1).home_wardens().is_empty());
        if !comes_back {
            lab.power_on(2).unwrap();
            lab.node(2).start_agent().unwrap();
        }
        lab.wait_for_members().unwrap();
    }
    another_one(&lab);
}

/// Its programs are lost with it; what computes for them elsewhere ends soon after its lease.
pub(crate) fn home(ground: Ground) {
    let mut lab = cluster(ground, 3);
    for _ in 0..times(1, 20) {
        restart(&lab, 1..=1, &["--lease", "5"], &[]);
        let (spinner, caller) = (start_spinner(&lab), start_caller(&lab));
        lab.power_off(1).unwrap();
        let lost = Instant::now();
        wait_for("the end of the bodies", || others_are_free(&lab));
        println!("the bodies had ended {:.1?} after their home", lost.elapsed());
        assert!(lost.elapsed() < LEASE + TOLD_MAX, "they lived on for {:?}", lost.elapsed());
        drop((spinner, caller));
        lab.power_on(1).unwrap();
        lab.node(1).start_agent().unwrap();
        lab.wait_for_members().unwrap();
    }
    another_one(&lab);
}

/// It is back before the lease of its programs is over: their bodies are ended at once, and nothing of theirs is heard.
pub(crate) fn home_that_comes_back(ground: Ground) {
    let mut lab = cluster(ground, 3);
    for _ in 0..times(1, 20) {
        restart(&lab, 1..=1, &["--lease", "60"], &[]);
        let (spinner, caller) = (start_spinner(&lab), start_caller(&lab));
        lab.power_off(1).unwrap();
        drop((spinner, caller));
        assert_eq!(lab.node(2).guest_wardens().len(), 2, "they do not wait for their home");
        lab.power_on(1).unwrap();
        lab.node(1).start_agent().unwrap();
        let back = Instant::now();
        lab.wait_for_members().unwrap();
        wait_for("the end of the old bodies", || others_are_free(&lab));
        println!("the old bodies had ended {:.1?} after their home was back", back.elapsed());
        assert!(back.elapsed() < BACK_MAX, "they lived on for {:?}", back.elapsed());
        assert!(nobody_is_away(&lab));
    }
    another_one(&lab);
}

fn start_spinner(lab: &Lab) -> Running {
    let spin = Program::new("sh").args(&["-c", "while :; do :; done"]).user(User::Worker);
    let running = lab.node(1).exec(&spin).unwrap();
    migrate(lab, running.pid(), "n2");
    running
}

fn start_caller(lab: &Lab) -> Running {
    let call = Program::new("sh").args(&["-c", "while :; do echo x >/dev/null; done"]).user(User::Worker);
    let running = lab.node(1).exec(&call).unwrap();
    migrate(lab, running.pid(), "n2");
    running
}

fn others_are_free(lab: &Lab) -> bool {
    lab.nodes()[1..].iter().all(|node| node.bodies().unwrap().is_empty() && node.guest_wardens().is_empty())
}

/// What comes after it is as before.
pub(crate) fn another_one(lab: &Lab) {
    let ledger = Ledger::start(lab, 3000);
    migrate(lab, ledger.pid(), "n2");
    ledger.ends_well();
}

const EFFECTS: &str = "/tmp/effects";

/// Exit code of a job whose body is gone.
const JOB_LOST: i32 = 75;

/// Of the programs here.
const LEASE: Duration = Duration::from_secs(5);

/// Behind the lease.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// For the agents to find each other again, and some more.
const BACK_MAX: Duration = Duration::from_secs(20);

/// For what may go on.
const LOOK: Duration = Duration::from_millis(500);

/// Seen before a guest is lost.
const CALLS: usize = 300;
