//! How long moves stop programs of the distribution, as they see it themselves.

use std::process::{Command, Stdio};

use cluster_tests::lab::Program;

use crate::ground::{Bench, Result};
use crate::sample::Sample;
use crate::table::{Row, Section, Unit};

/// Each looks at its clock all the time and tells its gaps; those that are not installed are left out.
pub(crate) fn section(bench: &Bench) -> Result<Section> {
    let mut rows = Vec::new();
    for (name, program) in programs(bench)? {
        let program = bench.run(&program)?;
        let (mut longest, mut pause, mut total, mut sent) =
            (Sample::default(), Sample::default(), Sample::default(), Sample::default());
        for to in ["n2", "n3", "home"].repeat(bench.pick(1, 5)) {
            let (report, gaps) = program.carried(bench, to)?;
            longest.push(gaps.longest_ms);
            pause.push(report.pause_us as f64 / 1e3);
            total.push(report.total_us as f64 / 1e3);
            sent.push(report.bytes_sent as f64 / 1e6);
        }
        rows.push(Row::new(format!("{name}, longest gap"), Unit::Millis, longest));
        rows.push(Row::new("  pause as homing tells it", Unit::Millis, pause));
        rows.push(Row::new("  the whole move", Unit::Millis, total));
        rows.push(Row::new("  sent", Unit::Megabytes, sent));
    }
    Ok(Section { name: "Programs of the distribution, round the three nodes", rows })
}

fn programs(bench: &Bench) -> Result<Vec<(&'static str, Program)>> {
    let mut programs = vec![
        ("python3", Program::new("python3").args(&["-c", PYTHON])),
        ("perl", Program::new("perl").args(&["-e", PERL])),
        ("bash", Program::new("bash").args(&["-c", BASH])),
    ];
    let directory = tempfile::TempDir::new()?;
    std::fs::write(directory.path().join("Gaps.java"), JAVA)?;
    let mut compiler = Command::new("javac");
    compiler.args(["-d", "."]).arg("Gaps.java").current_dir(directory.path()).stderr(Stdio::null());
    if compiler.status().is_ok_and(|status| status.success()) {
        bench.lab.node(1).install(&directory.path().join("Gaps.class"), "/tmp/Gaps.class")?;
        programs.push(("java", Program::new("java").args(&["-Xmx128m", "-cp", "/tmp", "Gaps"])));
    }
    Ok(programs)
}

const PYTHON: &str = "\
import time
kept = {str(number): [number] for number in range(100000)}
print('ready', flush=True)
before = time.monotonic()
while True:
    time.sleep(0.0001)
    now = time.monotonic()
    if now - before >= 0.001:
        print('gap', int((now - before) * 1e6), flush=True)
        now = time.monotonic()
    before = now
";

const PERL: &str = "\
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
my %kept = map { $_ => [$_] } 1 .. 50000;
$| = 1;
print \"ready\\n\";
my $before = clock_gettime(CLOCK_MONOTONIC);
while (1) {
    my $now = clock_gettime(CLOCK_MONOTONIC);
    if ($now - $before >= 0.001) {
        printf \"gap %d\\n\", ($now - $before) * 1e6;
        $now = clock_gettime(CLOCK_MONOTONIC);
    }
    $before = $now;
}
";

const BASH: &str = "\
for ((number = 0; number < 20000; number++)); do kept[number]=$number; done
echo ready
before=${EPOCHREALTIME/./}
while :; do
    now=${EPOCHREALTIME/./}
    if ((now - before >= 1000)); then
        echo gap $((now - before))
        now=${EPOCHREALTIME/./}
    fi
    before=$now
done
";

const JAVA: &str = "\
public class Gaps {
    public static void main(String[] args) throws Exception {
        java.util.Map<Integer, String> kept = new java.util.HashMap<>();
        for (int number = 0; number < 50000; number++) kept.put(number, \"value \" + number);
        System.out.println(\"ready\");
        long before = System.nanoTime();
        while (!kept.isEmpty()) {
            Thread.sleep(0, 100000);
            long now = System.nanoTime();
            if (now - before >= 3000000) {
                System.out.println(\"gap \" + (now - before) / 1000);
                now = System.nanoTime();
            }
            before = now;
        }
    }
}
";
