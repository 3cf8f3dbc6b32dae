//! Agents that die, or stand still, while families are away: wardens and bodies do without them.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, User, kill, resume, suspend};
use cluster_tests::support::{PATIENCE, migrate, place, times, wait_for};

use super::case::{Ledger, cluster};

/// The home agent.
pub(crate) fn the_home_agent(ground: Ground) {
    dies(ground, 1);
}

/// The agent of the node where the body computes and calls.
pub(crate) fn the_guest_agent(ground: Ground) {
    dies(ground, 2);
}

fn dies(ground: Ground, number: usize) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(8000, 100_000));
    for _ in 0..times(2, 50) {
        migrate(&lab, ledger.pid(), "n2");
        ledger.wait_for_more();
        let usual = ledger.longest_gap(LOOK);
        kill(lab.node(number).agent_pid().unwrap());
        let alone = ledger.longest_gap(LOOK);
        println!("longest time without a record: {usual:.1?} before, {alone:.1?} after the agent's death");
        assert!(alone < GAP_MAX, "the program stood still for {alone:?}");
        come_back(&lab, &[number]);
        is_known(&lab, &ledger);
    }
    ledger.ends_well();
}

/// Sixteen threads write all the time: whatever is under way when the agent dies is done once.
pub(crate) fn the_guest_agent_with_calls_in_flight(ground: Ground) {
    let lab = cluster(ground, 3);
    let home = lab.node(1);
    for round in 0..times(2, 50) {
        let stop = format!("/tmp/stop-{round}");
        let writers = Program::new("python3").args(&["-c", WRITERS, &stop]).user(User::Worker);
        let writers = home.exec(&writers).unwrap();
        writers.wait_for_output(PATIENCE, |output| output == b"ready\n").unwrap();
        migrate(&lab, writers.pid(), "n2");
        thread::sleep(LOOK);
        kill(lab.node(2).agent_pid().unwrap());
        thread::sleep(LOOK);
        come_back(&lab, &[2]);
        home.write_file(&stop, b"").unwrap();
        let finished = writers.finish(PATIENCE).unwrap();
        let text = finished.text();
        assert_eq!(finished.code, 0, "{text} {}", String::from_utf8_lossy(&finished.errors));
        println!("{}", text.lines().last().unwrap());
    }
}

/// Every one at once; they come back in another order each time.
pub(crate) fn every_agent(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(8000, 60_000));
    let orders: [[usize; 3]; 3] = [[2, 3, 1], [3, 1, 2], [1, 2, 3]];
    for order in orders.iter().cycle().take(times(2, 20)) {
        migrate(&lab, ledger.pid(), "n2");
        lab.nodes().iter().for_each(|node| kill(node.agent_pid().unwrap()));
        let alone = ledger.longest_gap(LOOK);
        assert!(alone < GAP_MAX, "the program stood still for {alone:?}");
        let since = Instant::now();
        come_back(&lab, order);
        is_known(&lab, &ledger);
        println!("longest time without a record {alone:.1?}; known again after {:.1?}", since.elapsed());
    }
    ledger.ends_well();
}

/// It is no death: nothing is done about it, and nothing twice.
pub(crate) fn an_agent_that_stands_still(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(12_000, 100_000));
    migrate(&lab, ledger.pid(), "n2");
    for number in [1, 2, 3].into_iter().cycle().take(times(3, 30)) {
        let agent = lab.node(number).agent_pid().unwrap();
        suspend(agent);
        let alone = ledger.longest_gap(Duration::from_secs(u64::try_from(times(2, 10)).unwrap()));
        resume(agent);
        assert!(alone < GAP_MAX, "the program stood still for {alone:?}");
        assert_eq!(lab.node(number).agent_pid(), Some(agent));
        lab.wait_for_members().unwrap();
        is_known(&lab, &ledger);
        println!("longest time without a record while the agent of n{number} stood still: {alone:.1?}");
    }
    ledger.ends_well();
}

/// Starts these agents again, in this order.
fn come_back(lab: &Lab, numbers: &[usize]) {
    for node in numbers.iter().map(|number| lab.node(*number)) {
        wait_for("the end of the agent", || node.agent_pid().is_none());
        node.start_agent().unwrap();
    }
    lab.wait_for_members().unwrap();
}

/// The agents have found the wardens again.
fn is_known(lab: &Lab, ledger: &Ledger<'_>) {
    let expected = Some(("n2".to_owned(), "away".to_owned()));
    wait_for("its place in the list", || place(lab, ledger.pid()) == expected);
}

/// Numbers, in a file of each thread's own: none missing, none double, none out of order.
const WRITERS: &str = r#"
import os, sys, tempfile, threading
stop = sys.argv[1]
files = [os.open(tempfile.mktemp(), os.O_CREAT | os.O_RDWR | os.O_APPEND) for _ in range(16)]
counts = [0] * len(files)
def write(index):
    while not os.path.exists(stop):
        counts[index] += 1
        os.write(files[index], b"%d\n" % counts[index])
threads = [threading.Thread(target=write, args=(index,)) for index in range(len(files))]
for thread in threads:
    thread.start()
print("ready", flush=True)
for thread in threads:
    thread.join()
for file, count in zip(files, counts):
    text = os.pread(file, 1 << 30, 0)
    assert text == b"".join(b"%d\n" % number for number in range(1, count + 1)), "not what was written"
print(sum(counts), "writes of 16 threads, each once and in order")
"#;

/// For what a program does meanwhile.
const LOOK: Duration = Duration::from_millis(700);

/// The program is not to notice anything; a busy machine is not always quick.
const GAP_MAX: Duration = Duration::from_millis(500);
