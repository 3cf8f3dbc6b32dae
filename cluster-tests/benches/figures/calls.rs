//! What a forwarded call costs, beside a round trip between two processes over TCP.

use cluster_tests::programs::BenchProgram;

use crate::ground::{Bench, Measured, Result};
use crate::peers;
use crate::sample::Sample;
use crate::table::{Goal, Row, Section, Unit};

/// The program's own times, away and at home, in turn with the ping-pong.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    bench.lab.node(1).write_file(FILE, &vec![b'x'; FILE_BYTES])?;
    let mut native = bench.start(BenchProgram::Calls, &[FILE])?;
    let mut away = bench.start_in_care(BenchProgram::Calls, &[FILE])?;
    bench.carry(&away, "n2")?;
    let mut returned = bench.start_in_care(BenchProgram::Calls, &[FILE])?;
    bench.carry(&returned, "n2")?;
    bench.carry(&returned, "home")?;

    let mut tcp = Times::default();
    let mut kinds: Vec<(Kind, Times, Times)> =
        KINDS.iter().map(|kind| (*kind, Times::default(), Times::default())).collect();
    let mut plain = [Sample::default(), Sample::default()];
    for _ in 0..bench.pick(3, 9) {
        tcp.add(peers::ping_pong(bench.pick(5_000, 20_000))?);
        for (kind, at_guest, at_home) in &mut kinds {
            at_guest.add(call(&mut away, *kind, bench.pick(kind.count / 5, kind.count))?);
            at_home.add(call(&mut native, *kind, kind.count)?);
        }
        plain[0].push(call(&mut native, PLAIN, PLAIN.count)?.mean_us);
        plain[1].push(call(&mut returned, PLAIN, PLAIN.count)?.mean_us);
    }
    let mut rows = Vec::new();
    for (kind, at_guest, at_home) in &kinds {
        let row = Row::new(kind.what, Unit::Micros, at_guest.p50_us.clone());
        if kind.name == "getppid" {
            rows.push(row.against("TCP ping-pong", &tcp.p50_us).goal(Goal::AtMost(3.0)));
            let p99 = Row::new("  its 99th percentile", Unit::Micros, at_guest.p99_us.clone());
            rows.push(p99.against("TCP ping-pong", &tcp.p99_us));
        } else {
            rows.push(row.against("native", &at_home.p50_us));
        }
        if kind.bytes > 0 {
            let rate = |times: &Times| times.mean_us.inverse().scaled(kind.bytes as f64);
            let row = Row::new("  as a rate", Unit::MegabytesPerSecond, rate(at_guest));
            rows.push(row.against("native", &rate(at_home)));
        }
    }
    let [before, after] = plain;
    rows.push(Row::new("getppid at home after the return", Unit::Micros, after).against("native", &before));
    Ok(Section { name: "Calls of a body at a guest, executed at home", rows })
}

/// What one run of calls took.
pub(crate) struct Timed {
    pub(crate) mean_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

#[derive(Default)]
struct Times {
    mean_us: Sample,
    p50_us: Sample,
    p99_us: Sample,
}

impl Times {
    fn add(&mut self, timed: Timed) {
        self.mean_us.push(timed.mean_us);
        self.p50_us.push(timed.p50_us);
        self.p99_us.push(timed.p99_us);
    }
}

fn call(program: &mut Measured, kind: Kind, count: u32) -> Result<Timed> {
    let answer = program.ask(&format!("{} {count}", kind.name))?;
    let [total, p50, p99] = answer[..] else { return Err("three numbers were expected".into()) };
    Ok(Timed { mean_us: total / f64::from(count) / 1e3, p50_us: p50 / 1e3, p99_us: p99 / 1e3 })
}

/// A kind of call that the program knows.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    what: &'static str,
    count: u32,
    bytes: u32,
}

const KINDS: [Kind; 4] = [
    Kind { name: "getppid", what: "getppid", count: 10_000, bytes: 0 },
    Kind { name: "read64", what: "read of 64 KiB from a file", count: 2_000, bytes: 64 << 10 },
    Kind { name: "pipe", what: "a byte into a pipe and out of it, two calls", count: 2_000, bytes: 0 },
    Kind { name: "write4", what: "write of 4 KiB to a file", count: 2_000, bytes: 4 << 10 },
];

/// At home, where it is a thousand times faster.
const PLAIN: Kind = Kind { name: "getppid", what: "", count: 200_000, bytes: 0 };

const FILE: &str = "/tmp/data";
const FILE_BYTES: usize = 16 << 20;
