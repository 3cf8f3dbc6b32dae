//! Links that lose what is sent on them: for a while, in one direction, now and then.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, LabNode, Program, User, usage};
use cluster_tests::support::{PATIENCE, is_full, migrate, restart, times, try_to_migrate, wait_for};

use super::case::{Ledger, cluster};

/// The family waits in its next call, and goes on.
pub(crate) fn a_cut_link(ground: Ground) {
    let lab = cluster(ground, 3);
    let cuts: &[u64] = if is_full() { &[1, 1, 1, 3, 10, 40, 100] } else { &[1, 3] };
    let ledger = Ledger::start(&lab, times(6000, 30_000));
    for seconds in cuts {
        migrate(&lab, ledger.pid(), "n2");
        let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
        let cut = Instant::now();
        let before = settled(&ledger);
        while cut.elapsed() < Duration::from_secs(*seconds) {
            assert_eq!(ledger.written(), before, "it writes at home, which it cannot reach");
            thread::sleep(Duration::from_millis(20));
        }
        drop(fault);
        let healed = Instant::now();
        wait_for("a record after the cut", || ledger.written() > before);
        println!("cut for {seconds} s: the first record came {:.0?} after its end", healed.elapsed());
        lab.wait_for_members().unwrap();
        migrate(&lab, ledger.pid(), "home");
    }
    ledger.ends_well();
}

/// Home gives the job up when its lease is over; the body computes no longer than for most of it.
pub(crate) fn a_cut_longer_than_the_lease(ground: Ground) {
    let lab = cluster(ground, 3);
    restart(&lab, 1..=1, &["--lease", "20"], &[]);
    // It comes back in time: nothing has happened, but for a stop.
    let spin =
        Program::new("sh").args(&["-c", "trap 'echo heard' USR1; while :; do :; done"]).user(User::Worker);
    let spinner = lab.node(1).exec(&spin).unwrap();
    migrate(&lab, spinner.pid(), "n2");
    let body = *lab.node(2).bodies().unwrap().first().unwrap();
    let works = || {
        let before = usage(body).unwrap().own.user;
        thread::sleep(Duration::from_millis(300));
        usage(body).unwrap().own.user > before
    };
    assert!(works());
    let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
    let cut = Instant::now();
    wait_for("a body that stands still", || !works() && !works());
    let stood = cut.elapsed();
    println!("the body was seen to stand still {stood:.1?} after the cut");
    assert!(stood >= Duration::from_secs(14), "it was stopped too early");
    drop(fault);
    wait_for("a body that goes on", works);
    let told = Program::new("kill").args(&["-USR1", &spinner.pid().to_string()]).user(User::Root);
    assert_eq!(lab.node(1).exec(&told).unwrap().finish(PATIENCE).unwrap().code, 0);
    spinner.wait_for_output(PATIENCE, |output| output == b"heard\n").unwrap();

    // It does not.
    let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
    let cut = Instant::now();
    let finished = spinner.finish(PATIENCE).unwrap();
    println!("the job ended {:.1?} after the cut", cut.elapsed());
    assert_eq!(finished.code, JOB_LOST, "{}", lab.node(1).logs());
    assert!(cut.elapsed() >= Duration::from_secs(16), "it was given up too early");
    wait_for("the end of the body", || lab.node(2).bodies().unwrap().is_empty());
    println!("nothing was left {:.1?} after the cut", cut.elapsed());
    let is_told = |events: &str| events.contains("no sign of life from n2 for 20 s") && events.contains("75");
    wait_for("the reason", || is_told(&lab.node(1).homing(&["events"]).unwrap().text()));
    drop(fault);
    lab.wait_for_members().unwrap();
    let ledger = Ledger::start(&lab, 3000);
    migrate(&lab, ledger.pid(), "n2");
    ledger.ends_well();
}

/// Calls arrive and are executed, but their results do not.
pub(crate) fn a_link_cut_in_one_direction(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, 6000);
    for direction in [Direction::In, Direction::Out] {
        migrate(&lab, ledger.pid(), "n2");
        let fault = Fault::begin(lab.node(2), "drop", direction);
        let before = settled(&ledger);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(ledger.written(), before, "it goes on although it hears nothing");
        drop(fault);
        ledger.wait_for_more();
        migrate(&lab, ledger.pid(), "home");
    }
    ledger.ends_well();
}

/// Home sees both. The family cannot go from one to the other; it goes on, and goes there when they meet again.
pub(crate) fn two_guests_cut_off(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(12_000, 100_000));
    for _ in 0..times(1, 20) {
        migrate(&lab, ledger.pid(), "n2");
        let third = lab.node(3).address();
        let rule = format!("ip saddr {third} drop; meta l4proto udp ip daddr {third} drop");
        let fault = Fault::begin(lab.node(2), &rule, Direction::Both);
        let began = Instant::now();
        let refused = try_to_migrate(&lab, ledger.pid(), "n3").unwrap_err();
        println!("after {:.1?}: {}", began.elapsed(), refused.trim());
        assert!(refused.contains("goes on at n2"), "{refused}");
        ledger.wait_for_more();
        drop(fault);
        lab.wait_for_members().unwrap();
        migrate(&lab, ledger.pid(), "n3");
        ledger.wait_for_more();
    }
    ledger.ends_well();
}

/// It comes and goes all the time, while the family is moved to and fro.
pub(crate) fn a_flapping_link(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(6000, 60_000));
    migrate(&lab, ledger.pid(), "n2");
    for _ in 0..times(10, 150) {
        let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
        thread::sleep(FLAP);
        drop(fault);
        thread::sleep(FLAP);
    }
    ledger.ends_well();
}

/// Also while it is moved. Where hardly one of two questions is answered a move may be given up; the program goes on
/// then, and a later one succeeds.
pub(crate) fn lost_datagrams(ground: Ground) {
    let lab = cluster(ground, 3);
    for percent in [1, 10, LOSS_MAX] {
        let ledger = Ledger::start(&lab, if percent == LOSS_MAX { 10_000 } else { 3000 });
        let started = Instant::now();
        let lossy = format!("numgen random mod 100 < {percent} drop");
        let fault = Fault::begin(lab.node(2), &lossy, Direction::Both);
        let mut given_up = 0;
        for to in ["n2", "n3", "n2", "home"] {
            while let Err(reason) = try_to_migrate(&lab, ledger.pid(), to) {
                println!("{percent} % lost: {reason}");
                given_up += 1;
                assert!(percent == LOSS_MAX && given_up < GIVEN_UP_MAX, "{given_up} moves were given up");
                ledger.wait_for_more();
            }
            ledger.wait_for_more();
        }
        println!("{percent} % lost: {given_up} moves given up, four made in {:.1?}", started.elapsed());
        drop(fault);
        ledger.ends_well();
    }
}

/// What was on its way when the link was cut has come.
fn settled(ledger: &Ledger<'_>) -> usize {
    let mut before = ledger.written();
    loop {
        thread::sleep(Duration::from_millis(100));
        match ledger.written() {
            now if now == before => return now,
            now => before = now,
        }
    }
}

/// Of datagrams, as the node sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    In,
    Out,
    Both,
}

/// A rule for all of a node's datagrams, until it is dropped.
pub(crate) struct Fault<'a>(&'a LabNode);

impl Fault<'_> {
    pub(crate) fn begin<'a>(node: &'a LabNode, rule: &str, direction: Direction) -> Fault<'a> {
        let hooks: &[&str] = match direction {
            Direction::In => &["input"],
            Direction::Out => &["output"],
            Direction::Both => &["input", "output"],
        };
        let chains = hooks.iter().map(|hook| {
            format!("chain {hook} {{ type filter hook {hook} priority 0; meta l4proto udp {rule}; }}")
        });
        nft(node, &format!("table inet {TABLE} {{\n{}\n}}", chains.collect::<Vec<_>>().join("\n")));
        Fault(node)
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        nft(self.0, &format!("delete table inet {TABLE}"));
    }
}

fn nft(node: &LabNode, rules: &str) {
    let done =
        node.exec(&Program::new("nft").args(&[rules]).user(User::Root)).unwrap().finish(PATIENCE).unwrap();
    assert_eq!(done.code, 0, "nft {rules}: {}", String::from_utf8_lossy(&done.errors));
}

/// Exit code of a job whose body is gone.
const JOB_LOST: i32 = 75;
const LOSS_MAX: u32 = 30;
const GIVEN_UP_MAX: u32 = 20;
const TABLE: &str = "faults";
const FLAP: Duration = Duration::from_millis(200);
