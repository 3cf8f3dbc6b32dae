//! Lines that are bad in other ways than by losing what is sent: late, in another order, double, damaged, slow, narrow.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Finished, Ground, Lab, LabNode, Program, Running, User, programs};
use cluster_tests::support::{PATIENCE, is_full, migrate, restart, times, try_to_migrate, wait_for};

use super::case::{Ledger, cluster};
use super::network::{Direction, Fault};

/// Datagrams come late, in another order, twice, or damaged.
pub(crate) fn datagrams_out_of_order(ground: Ground) {
    let lab = cluster(ground, 3);
    for round in 0..times(2, 20) {
        let ledger = Ledger::start(&lab, if round % 2 == 0 { 2500 } else { 5000 });
        // The longer ones make a call take as long as the jitter, so that there are few.
        let (delay_ms, route): (&str, &[&str]) =
            if round % 2 == 0 { ("20", &["n2", "n3", "n2"]) } else { ("200", &["n2"]) };
        let shim = Shim::begin(lab.node(2), [delay_ms, "25", "10", "1"]);
        let began = Instant::now();
        for to in route {
            while let Err(reason) = try_to_migrate(&lab, ledger.pid(), to) {
                println!("up to {delay_ms} ms: {reason}");
                assert!(began.elapsed() < PATIENCE && !ledger.has_ended(), "no move is made");
            }
            ledger.wait_for_more();
        }
        let counts = shim.end();
        println!("up to {delay_ms} ms: {} moves in {:.1?}, {counts}", route.len(), began.elapsed());
        assert!(counts.split(' ').all(|count| count == "lost=0" || !count.ends_with("=0")), "{counts}");
        lab.wait_for_members().unwrap();
        ledger.ends_well();
    }
}

/// A program that dirties its memory as fast as such a line carries it does not move, and does not stand still for long
/// either; one that does not, moves.
pub(crate) fn a_slow_line(ground: Ground) {
    let lab = cluster(ground, 3);
    lab.node(1).install(&programs().unwrap().join("memhash"), "/tmp/memhash").unwrap();
    let rates: &[&str] = if is_full() { &["10mbit", "1mbit"] } else { &["10mbit"] };
    for rate in rates {
        for _ in 0..times(1, 10) {
            let memhash = Program::new("/tmp/memhash").args(&["8", "1000000"]).user(User::Worker);
            let memhash = lab.node(1).exec(&memhash).unwrap();
            memhash.wait_for_output(PATIENCE, |output| output.len() > 100).unwrap();
            let slow = Slow::begin(&lab, rate);
            let began = Instant::now();
            let order = lab.node(1).start_homing(&["move", &memhash.pid().to_string(), "n2"]).unwrap();
            let stood = longest_silence(&memhash, order);
            println!("{rate}: {} after {:.1?}, it stood still for {:.1?}", stood.1, began.elapsed(), stood.0);
            assert!(stood.0 < STANDSTILL_MAX, "it stood still for {:?}", stood.0);
            // Where it rests for a moment at the right time, the line is fast enough for what is left.
            let has_moved = stood.1.is_empty();
            assert!(has_moved || stood.1.contains("changes faster than the line"), "{}", stood.1);
            let ledger = Ledger::start(&lab, 3000);
            if *rate != "1mbit" {
                for to in ["n2", "home"] {
                    migrate(&lab, ledger.pid(), to);
                    ledger.wait_for_more();
                }
            }
            drop(slow);
            if has_moved {
                migrate(&lab, memhash.pid(), "home");
            }
            ledger.ends_well();
            migrate(&lab, memhash.pid(), "n2");
            let text = String::from_utf8(memhash.output_so_far()).unwrap();
            assert!(!text.contains("wrong"), "{text}");
            drop(memhash);
        }
    }
}

/// The longest time for which it writes nothing until the order is carried out or not, and what was said then.
fn longest_silence(program: &Running, mut order: Running) -> (Duration, String) {
    let (mut longest, mut seen, mut last) = (Duration::ZERO, 0, Instant::now());
    while !order.has_ended().unwrap() {
        let written = program.output_so_far().len();
        if written != seen {
            (seen, last) = (written, Instant::now());
        }
        longest = longest.max(last.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    let Finished { errors, .. } = order.finish(PATIENCE).unwrap();
    (longest, String::from_utf8_lossy(&errors).trim().to_owned())
}

/// The path takes shorter datagrams from one moment to the next; then none at all, for a while.
pub(crate) fn a_narrow_line(ground: Ground) {
    let lab = cluster(ground, 3);
    for _ in 0..times(1, 10) {
        lab.nodes().iter().for_each(|node| set_mtu(node, 9000));
        // The connections of the agents, and of the wardens below, find out how much goes through.
        restart(&lab, 1..=3, &[], &[]);
        let ledger = Ledger::start(&lab, 8000);
        let blocks = start_blocks(&lab);
        for pid in [ledger.pid(), blocks.pid()] {
            migrate(&lab, pid, "n2");
        }
        let written = || blocks.output_so_far().len();
        let wait_for_blocks = |what: &str| {
            let before = written();
            wait_for(what, || written() > before + 200);
        };
        wait_for_blocks("large blocks on a wide line");
        set_mtu(lab.node(2), 1280);
        let narrowed = Instant::now();
        wait_for_blocks("large blocks on a narrow line");
        println!("large blocks went on {:.1?} after the line was narrowed", narrowed.elapsed());
        ledger.wait_for_more();
        let fault = Fault::begin(lab.node(2), "drop", Direction::Both);
        thread::sleep(BLOCKED);
        drop(fault);
        wait_for_blocks("large blocks after the line was blocked");
        lab.wait_for_members().unwrap();
        migrate(&lab, blocks.pid(), "n3");
        migrate(&lab, blocks.pid(), "home");
        wait_for_blocks("large blocks at home");
        lab.node(1).write_file("/tmp/stop", b"").unwrap();
        let finished = blocks.finish(PATIENCE).unwrap();
        assert_eq!(finished.code, 0, "{}", String::from_utf8_lossy(&finished.errors));
        lab.nodes().iter().for_each(|node| set_mtu(node, 1500));
        ledger.ends_well();
    }
}

/// A guest gets another address: its families go on from there.
pub(crate) fn another_address(ground: Ground) {
    let lab = cluster(ground, 3);
    restart(&lab, 1..=1, &["--lease", "15"], &[]);
    let guest = lab.node(2);
    let (former, next) = (guest.network_address(), guest.network_address().replace(".3/", ".99/"));
    assert_ne!(former, next);
    for _ in 0..times(1, 10) {
        let ledger = Ledger::start(&lab, 12_000);
        migrate(&lab, ledger.pid(), "n2");
        ledger.wait_for_more();
        let change = |from: &str, to: &str| {
            // The first address of a network takes the others with it.
            guest.run(&["ip", "address", "del", from, "dev", "eth0"]).unwrap();
            guest.run(&["ip", "address", "add", to, "dev", "eth0"]).unwrap();
        };
        change(&former, &next);
        let changed = Instant::now();
        thread::sleep(ON_THE_WAY);
        ledger.wait_for_more();
        println!("calls went on {:.1?} after the address had changed", changed.elapsed());
        // No agent is needed there for the family to leave.
        migrate(&lab, ledger.pid(), "n3");
        ledger.wait_for_more();
        change(&next, &former);
        lab.wait_for_members().unwrap();
        migrate(&lab, ledger.pid(), "n2");
        ledger.ends_well();
    }
}

/// Writes and reads blocks that do not fit into one datagram of any path, and says so after each.
fn start_blocks(lab: &Lab) -> Running {
    let _ = lab.node(1).run(&["rm", "-f", "/tmp/stop"]).unwrap();
    let blocks = Program::new("python3").args(&["-c", BLOCKS]).user(User::Worker);
    lab.node(1).exec(&blocks).unwrap()
}

const BLOCKS: &str = r#"
import os, sys, tempfile
file = os.open(tempfile.mktemp(), os.O_CREAT | os.O_RDWR)
number = 0
while not os.path.exists("/tmp/stop"):
    number += 1
    block = (b"%08d" % number) * 6000
    assert os.pwrite(file, block, 0) == len(block)
    assert os.pread(file, len(block), 0) == block, "another block"
    os.write(1, b".")
"#;

fn set_mtu(node: &LabNode, bytes: u32) {
    node.run(&["ip", "link", "set", "eth0", "mtu", &bytes.to_string()]).unwrap();
}

/// What is late, out of order, double or damaged at one node, until it is ended.
struct Shim(Running);

impl Shim {
    /// Milliseconds of delay at most, and percents of datagrams: at once, double, damaged.
    fn begin(node: &LabNode, [delay_ms, at_once, double, damaged]: [&str; 4]) -> Shim {
        let address = node.network_address();
        let args = ["-c", SHIM, "eth0", &address, delay_ms, at_once, double, damaged];
        let running = node.exec(&Program::new("python3").args(&args).user(User::Root)).unwrap();
        let ready = running.wait_for_output(PATIENCE, |output| output == b"ready\n");
        if ready.is_err() {
            panic!("{}", String::from_utf8_lossy(&running.finish(PATIENCE).unwrap().errors));
        }
        Shim(running)
    }

    /// What it has done.
    fn end(self) -> String {
        let finished = self.0.finish(PATIENCE).unwrap();
        assert_eq!(finished.code, 0, "{}", String::from_utf8_lossy(&finished.errors));
        finished.text().lines().last().unwrap_or_default().to_owned()
    }
}

/// Of all that `n1` and `n2` send, until it is dropped.
struct Slow<'a>(&'a Lab);

impl Slow<'_> {
    fn begin<'a>(lab: &'a Lab, rate: &str) -> Slow<'a> {
        for node in &lab.nodes()[..2] {
            let add = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate];
            node.run(&[&add[..], &["burst", "32kb", "latency", "300ms"]].concat()).unwrap();
        }
        Slow(lab)
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        for node in &self.0.nodes()[..2] {
            // A node that is gone has no line any more.
            let _ = node.run(&["tc", "qdisc", "del", "dev", "eth0", "root"]);
        }
    }
}

const SHIM: &str = include_str!("../../programs/shim.py");

/// What a program that is not moved may stand still for.
const STANDSTILL_MAX: Duration = Duration::from_secs(3);

/// What was sent from the former address has come by then.
const ON_THE_WAY: Duration = Duration::from_millis(100);

const BLOCKED: Duration = Duration::from_secs(2);
