//! How long moves stop a program, as it sees it itself.

use cluster_tests::programs::BenchProgram;

use crate::ground::{Bench, Gaps, Measured, Result, warm};
use crate::sample::Sample;
use crate::table::{Goal, Row, Section, Unit};

/// Heaps that are left alone and heaps that are written all the time, round the three nodes.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    let mut rows = Vec::new();
    let heaps = bench.pick(&[(16, 0), (256, 0), (256, 80)][..], &HEAPS);
    for &(mebibytes, dirtied) in heaps {
        rows.extend(heap(bench, mebibytes, dirtied)?);
    }
    Ok(Section { name: "Freeze: the longest time between two looks at the clock, every 0.1 ms", rows })
}

fn heap(bench: &Bench, mebibytes: usize, dirtied: u32) -> Result<Vec<Row>> {
    warm(mebibytes * 5 / 2 + 64);
    let args = [mebibytes.to_string(), dirtied.to_string()];
    let program = bench.start_in_care(BenchProgram::Ticks, &[&args[0], &args[1]])?;
    let (mut undisturbed, mut undisturbed_lost) = (Sample::default(), Sample::default());
    let mut legs = LEGS.map(|_| Leg::default());
    // A large heap takes seconds each way, of which its freeze is a small part.
    let repetitions = if mebibytes > 256 { 2 } else { 3 };
    for _ in 0..bench.pick(1, repetitions) {
        let gaps = program.undisturbed();
        undisturbed.push(gaps.longest_ms);
        undisturbed_lost.push(gaps.lost_ms);
        for ((_, to), leg) in LEGS.iter().zip(&mut legs) {
            leg.take(bench, &program, to)?;
        }
    }
    let load = if dirtied == 0 { "idle".to_owned() } else { format!("{dirtied} MB/s") };
    let limit = match (mebibytes, dirtied) {
        (256, 0) => Some(30.0),
        (256, 80) => Some(120.0),
        _ => None,
    };
    let mut rows = Vec::new();
    for ((name, _), leg) in LEGS.iter().zip(legs) {
        let freeze = Row::new(format!("{mebibytes} MiB, {load}, {name}"), Unit::Millis, leg.freeze);
        rows.push(match limit {
            Some(limit) => freeze.goal(Goal::AtMost(limit)),
            None => freeze,
        });
        rows.push(Row::new("  the whole move", Unit::Millis, leg.total));
        rows.push(Row::new("  lost work", Unit::Millis, leg.lost));
    }
    rows.push(Row::new("  without a move, in 0.3 s", Unit::Millis, undisturbed));
    rows.push(Row::new("  lost work without a move, in 0.3 s", Unit::Millis, undisturbed_lost));
    Ok(rows)
}

#[derive(Default)]
struct Leg {
    freeze: Sample,
    total: Sample,
    lost: Sample,
}

impl Leg {
    fn take(&mut self, bench: &Bench, program: &Measured, to: &str) -> Result<()> {
        let (report, Gaps { longest_ms, lost_ms }) = program.carried(bench, to)?;
        self.freeze.push(longest_ms);
        self.lost.push(lost_ms);
        self.total.push(report.total_us as f64 / 1e3);
        Ok(())
    }
}

const LEGS: [(&str, &str); 3] = [("home -> B", "n2"), ("B -> C", "n3"), ("C -> home", "home")];

/// Mebibytes, and megabytes per second that are written to them.
const HEAPS: [(usize, u32); 7] =
    [(16, 0), (16, 100), (256, 0), (256, 80), (256, 100), (1024, 0), (1024, 100)];
