//! The guest programs run natively to the right result: what a moved run is compared with.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::fs;
use std::process::{Command, ExitCode, Output};

use cluster_tests::harness::Tests;
use cluster_tests::programs::GuestProgram;
use tempfile::TempDir;

fn main() -> ExitCode {
    let tests = GuestProgram::ALL.into_iter().fold(Tests::new(), |tests, program| {
        tests.plain(&format!("native::{}", program.name()), move || runs_right_natively(program))
    });
    tests
        .plain("memhash_refuses_nonsense", memhash_refuses_nonsense)
        .plain("ledger_refuses_an_existing_file", ledger_refuses_an_existing_file)
        .run()
}

/// Twice, at the default length and with the same output: what varies could not be compared.
fn runs_right_natively(program: GuestProgram) {
    let directory = TempDir::new().unwrap();
    let path = program.build(directory.path()).unwrap();
    let file = directory.path().join("records");
    let run = || {
        let mut command = Command::new(&path);
        if program == GuestProgram::Ledger {
            command.arg(&file);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(program.right_code()), "{}", text(&output));
        output
    };
    let (first, second) = (run(), run());
    assert!(!first.stdout.is_empty());
    assert!(!text(&first).contains("wrong"), "{}", text(&first));
    assert_eq!(text(&first), text(&second));
    assert!(!file.exists());
}

fn memhash_refuses_nonsense() {
    let program = GuestProgram::Memhash.build(TempDir::new().unwrap().path()).unwrap();
    let output = Command::new(program).arg("many").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

fn ledger_refuses_an_existing_file() {
    let directory = TempDir::new().unwrap();
    let program = GuestProgram::Ledger.build(directory.path()).unwrap();
    let file = directory.path().join("records");
    fs::write(&file, "record 0\n").unwrap();
    let output = Command::new(program).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).starts_with("wrong: "), "{}", text(&output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
