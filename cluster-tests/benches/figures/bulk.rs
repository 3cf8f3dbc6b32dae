//! How fast memory moves, beside the same bytes over TCP and over TCP with TLS on the same wire.

use cluster_tests::programs::BenchProgram;

use crate::ground::{Bench, Result, warm};
use crate::peers::{self, Carrier};
use crate::sample::Sample;
use crate::table::{Row, Section, Unit};

/// A large heap from home to a guest and back, and its size between the same nodes by other means, in turn.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    let mebibytes = bench.pick(256, 1024);
    let bytes = (mebibytes << 20) as u64;
    let (mut out, mut back, mut tcp, mut tls) =
        (Sample::default(), Sample::default(), Sample::default(), Sample::default());
    let mut rows = Vec::new();
    for (content, random) in [("that does not compress", "4096"), ("of which half compresses", "2048")] {
        let (mut sent, mut resident) = (Sample::default(), Sample::default());
        warm(mebibytes * 2);
        let program = bench.start_in_care(BenchProgram::Ticks, &[&mebibytes.to_string(), "0", random])?;
        for _ in 0..bench.pick(2, 3) {
            let report = bench.carry(&program, "n2")?;
            sent.push(report.bytes_sent as f64 / 1e6);
            resident.push(report.bytes_resident as f64 / 1e6);
            let rate = |total_us: u64| bytes as f64 / total_us as f64;
            let home = bench.carry(&program, "home")?;
            if random == "4096" {
                out.push(rate(report.total_us));
                back.push(rate(home.total_us));
                tcp.push(peers::bulk(bench, Carrier::Tcp, bytes)?);
                tls.push(peers::bulk(bench, Carrier::Tls, bytes)?);
            }
        }
        let what = format!("sent of a heap {content}");
        rows.push(Row::new(what, Unit::Megabytes, sent).against("resident", &resident));
    }
    let speed = |what: &str, values: &Sample| Row::new(what, Unit::MegabytesPerSecond, values.clone());
    let mut all = vec![
        speed("home -> B, the whole move", &out).against("TCP", &tcp),
        speed("home -> B, the whole move", &out).against("TCP with TLS", &tls),
        speed("B -> home, the whole move", &back).against("TCP", &tcp),
        speed("B -> home, the whole move", &back).against("TCP with TLS", &tls),
    ];
    all.append(&mut rows);
    Ok(Section { name: "Bulk: a heap from one node to another", rows: all })
}
