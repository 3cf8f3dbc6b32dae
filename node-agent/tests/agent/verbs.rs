//! Verbs and their exit codes, with the real binary.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use crate::support::{Node, eventually, refused};

fn single() -> Node {
    let mut alpha = Node::new("alpha", 1);
    alpha.init(&[]);
    alpha.start(&[]);
    alpha
}

#[test]
fn without_an_agent_every_verb_says_so() {
    let node = Node::new("alpha", 1);
    for args in [&["ps"][..], &["nodes", "--json"], &["move", "1", "home"], &["why", "1"], &["events"]] {
        refused(&node.homing(args), 5, "no agent at");
    }
    refused(&node.homing(&["top"]), 5, "no agent at");
    refused(&node.homing(&["run", "--", "true"]), 125, "no agent at");
    refused(&node.homing(&["agent"]), 1, "in no cluster");
}

#[test]
fn a_misunderstood_line_is_code_2_but_for_run() {
    let node = Node::new("alpha", 1);
    refused(&node.homing(&["levitate"]), 2, "unrecognized subcommand");
    refused(&node.homing(&["move", "x", "y"]), 2, "invalid value");
    refused(&node.homing(&["run"]), 125, "required");
    assert_eq!(node.homing(&["--help"]).status.code(), Some(0));
}

#[test]
fn run_becomes_the_program() {
    let node = single();
    let output =
        node.homing(&["run", "--", "sh", "-c", "echo $$ $PPID $0 \"$@\"; exit 7", "a", "--json", "-q"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!(" {} a --json -q", std::process::id())), "{text}");
    assert_eq!(node.homing(&["run", "--", "sh", "-c", "kill -9 $$"]).status.signal(), Some(9));
    refused(&node.homing(&["run", "--", "no-such-program"]), 127, "no such program");
    refused(&node.homing(&["run", "--", "/etc/passwd"]), 126, "cannot run /etc/passwd");
}

#[test]
fn what_runs_is_listed_until_it_ends() {
    let node = single();
    let mut command = node.command(&["run", "--", "sh", "-c", "echo there; exec sleep 100"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let row = |node: &Node| {
        let view = node.json(&["ps", "--json"]);
        assert_eq!(view["v"], 1);
        view["processes"].as_array().unwrap().iter().find(|row| row["pid"] == child.id()).cloned()
    };
    assert!(eventually(|| row(&node).is_some_and(|row| row["command"] == "sleep 100")));
    let found = row(&node).unwrap();
    assert_eq!(
        (&found["home"], &found["at"], &found["state"]),
        (&"alpha".into(), &"alpha".into(), &"home".into())
    );
    let mut node = node;
    node.kill();
    node.start(&[]);
    assert!(eventually(|| row(&node).is_some()), "a restarted agent still knows it");
    let table = String::from_utf8(node.homing(&["ps"]).stdout).unwrap();
    assert!(table.contains("sleep 100") && table.starts_with(" "), "{table}");
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    let gone =
        || node.json(&["ps", "--json"])["processes"].as_array().unwrap().iter().all(|row| row["pid"] != pid);
    assert!(eventually(gone));
}

#[test]
fn move_and_why_name_what_is_wrong() {
    let node = single();
    let mut sleeper = Command::new("sleep").arg("100").uid(64_123).gid(64_123).spawn().unwrap();
    let pid = sleeper.id().to_string();
    let outcomes = [
        (node.homing(&["move", "4194304", "alpha"]), 3, "alpha has no process 4194304"),
        (node.homing(&["why", "4194304"]), 3, "alpha has no process 4194304"),
        (node.homing(&["move", &pid, "bravo"]), 3, "no node is named bravo: the nodes are alpha"),
        (node.homing(&["why", &pid, "bravo"]), 3, "no node is named bravo"),
        (node.homing(&["move", "2", "home"]), 6, "kernel thread"),
        (node.homing(&["move", &pid, "home"]), 0, "is at alpha already"),
        (node.homing(&["token", "revoke", "00"]), 3, "no such token"),
        (node.homing(&["events", "-f", "--timeout", "300ms"]), 0, ""),
    ];
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    for (output, code, words) in &outcomes {
        refused(output, *code, words);
    }
}

#[test]
fn others_processes_are_not_ours() {
    let node = single();
    let mut permissions = std::fs::metadata(node.dir("")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(node.dir(""), permissions).unwrap();
    // A copy that another user can reach.
    let program = node.dir("homing");
    std::fs::copy(env!("CARGO_BIN_EXE_homing"), &program).unwrap();
    let own = std::process::id().to_string();
    let as_other = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env("HOMING_SOCKET", node.dir("run").join("agent.sock"));
        command.uid(64_123).gid(64_123).current_dir("/").output().unwrap()
    };
    refused(&as_other(&["move", &own, "home"]), 4, "it belongs to root");
    refused(&as_other(&["why", &own]), 4, "it belongs to root");
    refused(&as_other(&["token", "create"]), 4, "only root may");
    let output = as_other(&["run", "--", "id", "-u"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "64123", "{output:?}");
    let all = String::from_utf8(as_other(&["ps", "--all", "--json"]).stdout).unwrap();
    assert!(!all.contains(&format!("\"pid\":{own},")), "{all}");
}

#[test]
fn a_process_of_root_stays_unless_that_is_allowed() {
    let (mut alpha, mut bravo) = (Node::new("alpha", 1), Node::new("bravo", 2));
    let (addr, token) = alpha.init(&[]);
    alpha.start(&[]);
    assert!(bravo.join(&addr, &token).status.success());
    bravo.start(&[]);
    let pid = std::process::id().to_string();
    assert!(eventually(|| alpha.sees_ok(&["alpha", "bravo"])));
    refused(&alpha.homing(&["move", &pid, "bravo"]), 4, "it runs as uid 0");
}

#[test]
fn doctor_tells_what_it_sees() {
    let node = Node::new("alpha", 1);
    let report = node.homing(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["v"], 1);
    assert!(report["checks"].as_array().unwrap().len() >= 15);
}
