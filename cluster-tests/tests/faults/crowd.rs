//! Programs that are hard to move because they are never the same for long, and one that cannot be moved everywhere.

use std::time::Duration;

use cluster_tests::check::{Expect, Scenario, Stop, check};
use cluster_tests::lab::{Ground, Lab, Program, Work, kill};
use cluster_tests::programs::GuestProgram;
use cluster_tests::support::{migrate, place, restart, times, try_to_migrate, wait_for};
use tempfile::TempDir;

use super::case::{Ledger, cluster};
use super::machines::another_one;

/// Processes, threads and programs that begin while their family is moved: none is lost, and none is double.
pub(crate) fn births_during_moves(ground: Ground) {
    let lab = cluster(ground, 3);
    for (program, short, full) in [
        (GuestProgram::Forks, "80", "3000"),
        (GuestProgram::Execs, "30", "1500"),
        (GuestProgram::Churn, "2", "60"),
    ] {
        let length = if times(0, 1) == 1 { full } else { short };
        travels(&lab, program, length, times(2, 100));
    }
    another_one(&lab);
}

/// Ten thousand signals in a second, of both kinds, while the program that gets them is moved.
pub(crate) fn a_storm_of_signals(ground: Ground) {
    let lab = cluster(ground, 3);
    for _ in 0..times(1, 10) {
        travels(&lab, GuestProgram::Storm, if times(0, 1) == 1 { "60000" } else { "20000" }, 3);
    }
    another_one(&lab);
}

/// It does the same as a run that nobody moves.
fn travels(lab: &Lab, program: GuestProgram, length: &str, rounds: usize) {
    let directory = TempDir::new().unwrap();
    let at_home = format!("/tmp/{}", program.name());
    lab.node(1).install(&program.build(directory.path()).unwrap(), &at_home).unwrap();
    let scenario = Scenario {
        work: Work::Waits,
        dwell: DWELL,
        dwell_home: DWELL,
        ..Scenario::new(Program::new(at_home).args(&[length]))
    };
    let scenario = scenario.along(&[Stop::Node(2), Stop::Node(3), Stop::Home], rounds);
    let (code, native_time_min) = (program.right_code(), Duration::ZERO);
    let expect = Expect { code, native_time_min, moves_min: 3, away_share_min: 0.0 };
    let journey = check(lab, &scenario, expect).unwrap_or_else(|error| {
        lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        panic!("{}: {}", program.name(), causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    });
    println!("{}: {} moves", program.name(), journey.moves);
}

/// A node whose processor lacks what the program may use is refused before anything is stopped, with what it lacks; any
/// other node will do.
pub(crate) fn a_processor_that_lacks_something(ground: Ground) {
    let lab = cluster(ground, 3);
    let ledger = Ledger::start(&lab, times(8000, 30_000));
    let flags = lab.node(1).read_file("/proc/cpuinfo").unwrap();
    let flags = String::from_utf8_lossy(&flags).into_owned();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags")).unwrap();
    let flags: Vec<&str> = flags.split_whitespace().filter(|flag| *flag != ":").collect();
    let masked = ["sse2", "sse4_2", "avx", "avx2", "fma", "bmi2", "aes", "rdrand", "popcnt", "xsave"];
    let masked: Vec<&str> = masked.into_iter().filter(|flag| flags.contains(flag)).collect();
    for flag in masked.iter().take(times(2, 10)) {
        kill(lab.node(2).agent_pid().unwrap());
        wait_for("the end of the agent", || lab.node(2).agent_pid().is_none());
        lab.node(2).start_agent_with(&["--without-cpu", flag], &[]).unwrap();
        lab.wait_for_members().unwrap();
        for at in ["n1", "n3"] {
            if at != "n1" {
                migrate(&lab, ledger.pid(), at);
            }
            let refused = try_to_migrate(&lab, ledger.pid(), "n2").unwrap_err();
            assert!(refused.contains(&format!("its processor lacks {flag}")), "{refused}");
            assert_eq!(place(&lab, ledger.pid()).unwrap().0, at);
            ledger.wait_for_more();
        }
        migrate(&lab, ledger.pid(), "home");
    }
    restart(&lab, 2..=2, &[], &[]);
    migrate(&lab, ledger.pid(), "n2");
    ledger.ends_well();
}

/// At each stop of the way.
const DWELL: Duration = Duration::from_millis(40);
