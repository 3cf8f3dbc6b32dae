//! Wardens that are killed while a family is away: the job ends at once, with a reason, and has seen nothing that is not.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User, kill, programs};
use cluster_tests::support::{Chance, PATIENCE, cluster, migrate, nobody_is_away, times, wait_for};

use super::case::Ledger;

/// The body dies with its warden before it can see a page or an answer that is not its own.
pub(crate) fn a_guest_warden(ground: Ground) {
    let lab = cluster(ground, 3);
    let mut chance = Chance::new();
    for round in 0..times(6, 200) {
        let running = if round % 2 == 0 { memhash(&lab) } else { caller(&lab) };
        migrate(&lab, running.pid(), "n2");
        thread::sleep(LONGEST_WAIT.mul_f64(chance.part()));
        let killed = Instant::now();
        let wardens = lab.node(2).guest_wardens();
        // The family's init is killed by the end of its parent.
        kill(wardens.into_iter().min().unwrap());
        let finished = running.finish(PATIENCE).unwrap();
        let took = killed.elapsed();
        assert_eq!(finished.code, JOB_LOST, "{}", lab.node(1).logs());
        assert!(took < TOLD_MAX, "the job ended only {took:?} after its body");
        let text = finished.text() + &String::from_utf8_lossy(&finished.errors);
        assert!(!text.contains("wrong") && !text.contains("Error"), "it has seen what is not: {text}");
        wait_for("the end of the body", || nobody_is_away(&lab));
    }
    let events = lab.node(1).homing(&["events"]).unwrap().text();
    assert!(events.contains("was killed") && events.contains("75"), "the reason is told: {events}");
    another_one(&lab);
}

/// The deputy dies with it, and the body is ended.
pub(crate) fn a_home_warden(ground: Ground) {
    let lab = cluster(ground, 3);
    for _ in 0..times(3, 50) {
        let running = caller(&lab);
        migrate(&lab, running.pid(), "n2");
        thread::sleep(Duration::from_millis(50));
        let killed = Instant::now();
        kill(lab.node(1).home_wardens().into_iter().min().unwrap());
        let finished = running.finish(PATIENCE).unwrap();
        assert_eq!(finished.code, KILLED, "{}", lab.node(1).logs());
        wait_for("the end of the body", || nobody_is_away(&lab));
        println!("nothing was left {:.1?} after the home warden's death", killed.elapsed());
    }
    another_one(&lab);
}

/// Compares every byte of its memory with what it must be.
fn memhash(lab: &Lab) -> Running {
    lab.node(1).install(&programs().unwrap().join("memhash"), "/tmp/memhash").unwrap();
    let memhash = Program::new("/tmp/memhash").args(&["8", "1000000"]).user(User::Worker);
    lab.node(1).exec(&memhash).unwrap()
}

/// Makes calls without end, and looks at each answer.
fn caller(lab: &Lab) -> Running {
    let caller = Program::new("python3").args(&["-c", CALLER]).user(User::Worker);
    let running = lab.node(1).exec(&caller).unwrap();
    running.wait_for_output(PATIENCE, |output| output == b"ready\n").unwrap();
    running
}

/// What comes after it is as before.
fn another_one(lab: &Lab) {
    let ledger = Ledger::start(lab, 3000);
    migrate(lab, ledger.pid(), "n2");
    ledger.ends_well();
}

const CALLER: &str = r#"
import os
parent, size = os.getppid(), os.stat("/proc/self/exe").st_size
print("ready", flush=True)
while True:
    assert os.getppid() == parent
    assert os.stat("/proc/self/exe").st_size == size
    assert os.pread(os.open("/dev/zero", os.O_RDONLY), 64, 0) == bytes(64)
    os.close(3)
"#;

/// Exit code of a job whose body is gone.
const JOB_LOST: i32 = 75;

/// As a shell says it: 128 and SIGKILL.
const KILLED: i32 = 137;

const LONGEST_WAIT: Duration = Duration::from_millis(80);

/// Five times the goal.
const TOLD_MAX: Duration = Duration::from_secs(5);
