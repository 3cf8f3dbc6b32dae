//! The self-checking guest programs.

use cluster_tests::check::Scenario;
use cluster_tests::lab::{LabNode, Program, Work};
use cluster_tests::programs::GuestProgram;
use tempfile::TempDir;

use super::{Length, Traveller};

pub(crate) const TRAVELLERS: &[Traveller] = &[
    Traveller { name: "counter", needs: &["gcc"], code: 7, scenario: counter },
    Traveller { name: "threads", needs: &["gcc"], code: 0, scenario: threads },
    Traveller { name: "memhash", needs: &[], code: 0, scenario: memhash },
    Traveller { name: "ledger", needs: &[], code: 0, scenario: ledger },
    Traveller { name: "clocks", needs: &["gcc"], code: 0, scenario: clocks },
    Traveller { name: "forks", needs: &["gcc"], code: 0, scenario: forks },
    Traveller { name: "signals", needs: &["gcc"], code: 0, scenario: signals },
    Traveller { name: "sockets", needs: &["gcc"], code: 0, scenario: sockets },
    Traveller { name: "handlers", needs: &["gcc"], code: 0, scenario: handlers },
    Traveller { name: "go", needs: &["go"], code: 0, scenario: goroutines },
    Traveller { name: "timeouts", needs: &["gcc"], code: 0, scenario: timeouts },
    Traveller { name: "pieces", needs: &["gcc"], code: 0, scenario: pieces },
    Traveller { name: "churn", needs: &["gcc"], code: 0, scenario: churn },
    Traveller { name: "execs", needs: &["gcc"], code: 0, scenario: execs },
    Traveller { name: "readings", needs: &["gcc"], code: 0, scenario: readings },
];

fn counter(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Counter, &[length.of("25", "400"), "50000000"], Work::Computes)
}

fn threads(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Threads, &[length.of("1500", "6000")], Work::Computes)
}

fn memhash(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Memhash, &[length.of("16", "32"), length.of("120", "1200")], Work::Computes)
}

fn ledger(home: &LabNode, length: Length) -> Scenario {
    let records = length.of("1500", "20000");
    scenario(home, GuestProgram::Ledger, &["/tmp/records", records], Work::Waits)
}

fn clocks(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Clocks, &[length.of("2", "30")], Work::Waits)
}

fn forks(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Forks, &[length.of("120", "1500")], Work::Waits)
}

fn signals(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Signals, &[length.of("12", "200")], Work::Waits)
}

fn sockets(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Sockets, &[length.of("1500", "20000")], Work::Waits)
}

fn handlers(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Handlers, &[length.of("150", "1500")], Work::Waits)
}

fn goroutines(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Goroutines, &[length.of("40", "1200")], Work::Computes)
}

/// A call may be late by what a move of a loaded machine stops it, and not by what it waited before.
fn timeouts(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Timeouts, &[length.of("2", "15"), "1500"], Work::Waits)
}

fn pieces(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Pieces, &[length.of("8", "60")], Work::Waits)
}

fn churn(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Churn, &[length.of("6", "60")], Work::Computes)
}

fn execs(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Execs, &[length.of("60", "900")], Work::Waits)
}

fn readings(home: &LabNode, length: Length) -> Scenario {
    scenario(home, GuestProgram::Readings, &[length.of("25", "250")], Work::Computes)
}

/// The program exists at home only.
fn scenario(home: &LabNode, program: GuestProgram, args: &[&str], work: Work) -> Scenario {
    let directory = TempDir::new().unwrap();
    let at_home = format!("/tmp/{}", program.name());
    home.install(&program.build(directory.path()).unwrap(), &at_home).unwrap();
    Scenario { work, ..Scenario::new(Program::new(at_home).args(args)) }
}
