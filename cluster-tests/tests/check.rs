//! The check itself: it passes what is right and names what is wrong.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::process::ExitCode;
use std::time::Duration;

use cluster_tests::check::{CheckError, Expect, Scenario, Stop, check};
use cluster_tests::harness::Tests;
use cluster_tests::lab::{Ground, Lab, LabError, Program, Stay, User, Work};
use cluster_tests::programs::GuestProgram;
use tempfile::TempDir;

fn main() -> ExitCode {
    Tests::new()
        .on_each_ground("guest_programs_pass_when_left_alone", guest_programs_pass_when_left_alone)
        .on_namespaces("a_difference_is_found", a_difference_is_found)
        .on_namespaces("a_wrong_code_is_found", a_wrong_code_is_found)
        .on_namespaces("a_failed_move_is_found", a_failed_move_is_found)
        .on_namespaces("a_hanging_program_is_found", a_hanging_program_is_found)
        .on_namespaces("a_program_at_home_is_not_away", a_program_at_home_is_not_away)
        .run()
}

fn guest_programs_pass_when_left_alone(ground: Ground) {
    let (lab, directory) = (Lab::new(ground, 1).unwrap(), TempDir::new().unwrap());
    for program in GuestProgram::ALL {
        let at_home = format!("/home/worker/{}", program.name());
        lab.node(1).install(&program.build(directory.path()).unwrap(), &at_home).unwrap();
        let args: &[&str] = match program {
            GuestProgram::Counter => &["3", "100000"],
            GuestProgram::Memhash => &["1", "2"],
            GuestProgram::Ledger => &["/home/worker/records", "20"],
            GuestProgram::Clocks => &["1"],
            GuestProgram::Storm => &["100"],
            _ => &["3"],
        };
        let scenario = Scenario::new(Program::new(at_home).args(args));
        check(&lab, &scenario, left_alone(program.right_code())).unwrap();
    }
}

fn a_difference_is_found() {
    let lab = Lab::new(Ground::Namespaces, 1).unwrap();
    let mut scenario = shell("read line; echo $line; cat /home/worker/data; echo more >>/home/worker/data");
    scenario.input = b"input\n".to_vec();
    scenario.files = vec![("/home/worker/data".into(), b"data\n".to_vec())];
    check(&lab, &scenario, left_alone(0)).unwrap();

    let error = check(&lab, &shell("echo start; echo $$"), left_alone(0)).unwrap_err();
    assert!(matches!(&error, CheckError::Output { difference, .. } if difference.offset >= 6), "{error}");
}

fn a_wrong_code_is_found() {
    let lab = Lab::new(Ground::Namespaces, 1).unwrap();
    let error = check(&lab, &shell("echo why >&2; echo what; exit 3"), left_alone(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the native run ended with 3, not 0; its errors: why; its last output: what"
    );
    let second_run = "test -e /tmp/ran && exit 4; touch /tmp/ran";
    let error = check(&lab, &shell(second_run), left_alone(0)).unwrap_err();
    assert!(matches!(error, CheckError::Code { run: "moved", code: 4, .. }), "{error}");
}

/// No agent runs here, so that no move can succeed.
fn a_failed_move_is_found() {
    let lab = Lab::new(Ground::Namespaces, 2).unwrap();
    let scenario = shell("exec sleep 5").along(&[Stop::Node(2), Stop::Home], 1);
    let error = check(&lab, &scenario, left_alone(0)).unwrap_err();
    assert!(matches!(error, CheckError::Move { number: 1, code: 1.., .. }), "{error}");

    let expect = Expect { moves_min: 1, ..left_alone(0) };
    let error = check(&lab, &shell("true").along(&[Stop::Node(2)], 1), expect).unwrap_err();
    assert!(matches!(error, CheckError::TooFewMoves { moves: 0, expected: 1 }), "{error}");

    let expect = Expect { native_time_min: Duration::from_secs(60), ..left_alone(0) };
    let error = check(&lab, &shell("true"), expect).unwrap_err();
    assert!(matches!(error, CheckError::TooShort { .. }), "{error}");
}

fn a_hanging_program_is_found() {
    let lab = Lab::new(Ground::Namespaces, 1).unwrap();
    let scenario = Scenario { patience: Duration::from_millis(300), ..shell("exec sleep 1000") };
    let error = check(&lab, &scenario, left_alone(0)).unwrap_err();
    assert!(matches!(error, CheckError::Lab(LabError::Late { what: "ended", .. })), "{error}");
}

/// Neither one that is nowhere else, nor one with a namesake in an inner pid namespace at the guest.
fn a_program_at_home_is_not_away() {
    let lab = Lab::new(Ground::Namespaces, 2).unwrap();
    let spin = |node: usize, args: &[&str]| {
        lab.node(node).exec(&Program::new("/usr/bin/env").args(args).user(User::Root)).unwrap()
    };
    let home = spin(1, &["sh", "-c", "while :; do :; done"]);
    let prove = || Stay::prove(home.outer_pid(), lab.node(2), Work::Computes, Duration::from_secs(5));
    let error = prove().unwrap_err();
    assert!(error.to_string().contains("no body"), "{error}");

    let namesake =
        format!("echo {} >/proc/sys/kernel/ns_last_pid; (while :; do :; done) & wait", home.pid() - 1);
    let _body = spin(2, &["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", &namesake]);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let error = loop {
        let error = prove().unwrap_err().to_string();
        if !error.contains("no body") || std::time::Instant::now() > deadline {
            break error;
        }
        std::thread::yield_now();
    };
    assert!(error.contains("at home"), "{error}");
}

fn shell(script: &str) -> Scenario {
    Scenario::new(Program::new("sh").args(&["-c", script]))
}

fn left_alone(code: i32) -> Expect {
    Expect { code, native_time_min: Duration::ZERO, moves_min: 0, away_share_min: 0.0 }
}
