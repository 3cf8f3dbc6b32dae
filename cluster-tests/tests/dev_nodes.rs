//! Nodes as `homing dev` makes them: this machine's files, everything else apart, this machine as a neighbour.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cluster_tests::harness::Tests;
use cluster_tests::lab;
use node_agent::dev::node::{Node, NodeError};
use node_agent::dev::spec::{CommandSpec, NodeSpec, Walls};
use node_agent::dev::switch::Switch;
use node_agent::dev::uplink::Uplink;
use tempfile::TempDir;

fn main() -> ExitCode {
    Tests::new()
        .on_namespaces("a_node_runs_its_command", a_node_runs_its_command)
        .on_namespaces("a_node_that_cannot_be_made_says_why", a_node_that_cannot_be_made_says_why)
        .on_namespaces("networks_do_not_meet", networks_do_not_meet)
        .run()
}

fn a_node_runs_its_command() {
    let (switch, directory) = (Switch::new().unwrap(), TempDir::new().unwrap());
    let uplink = Uplink::new(&switch).unwrap();
    let here = uplink.address(1).ip;
    let listener = TcpListener::bind((here, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "echo $(uname -n) $GIVEN; ls /proc | grep -c '^[0-9]'; \
         perl -MIO::Socket::INET -e 'print {{IO::Socket::INET->new(\"{here}:{port}\")}} \"hello\"'; exit 9"
    );
    let log = directory.path().join("log");
    let command = CommandSpec {
        args: ["sh", "-c", &script].map(String::from).to_vec(),
        env: vec![("GIVEN".into(), "x".into())],
        log: log.clone(),
    };
    let spec = NodeSpec { command: Some(command), ..plain(&uplink) };
    let node = Node::start(&lab::homing().unwrap(), &spec, &switch).unwrap();
    let (mut caller, from) = listener.accept().unwrap();
    let mut said = String::new();
    caller.read_to_string(&mut said).unwrap();
    assert_eq!((said.as_str(), from.ip()), ("hello", spec.address.ip.into()));
    assert_eq!(node.command_ended(PATIENCE), Some(9));
    let log = fs::read_to_string(log).unwrap();
    let [greeting, processes] = log.lines().collect::<Vec<_>>()[..] else { panic!("{log}") };
    assert_eq!(greeting, "n2 x");
    assert!(processes.parse::<u32>().unwrap() < 8, "{processes} processes are visible");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "n2");

    let holder = node.init_pid();
    drop(node);
    assert!(!Path::new(&format!("/proc/{holder}")).exists());
}

fn a_node_that_cannot_be_made_says_why() {
    let switch = Switch::new().unwrap();
    let uplink = Uplink::new(&switch).unwrap();
    let homing = lab::homing().unwrap();
    let args = vec!["/no/such/program".to_owned()];
    let command = CommandSpec { args, env: Vec::new(), log: "/dev/null".into() };
    let spec = NodeSpec { command: Some(command), ..plain(&uplink) };
    let Err(NodeError::Failed { reason }) = Node::start(&homing, &spec, &switch) else {
        panic!("it started")
    };
    assert!(reason.starts_with("cannot start /no/such/program: No such file"), "{reason}");

    let error = Node::start(Path::new("/bin/true"), &plain(&uplink), &switch).unwrap_err();
    assert!(matches!(error, NodeError::Ended), "{error}");
}

/// Two networks at a time have different addresses, and an address of one is none of the other's.
fn networks_do_not_meet() {
    let (first, second) = (Switch::new().unwrap(), Switch::new().unwrap());
    let (mine, other) = (Uplink::new(&first).unwrap(), Uplink::new(&second).unwrap());
    assert_ne!(mine.interface(), other.interface());
    assert_ne!(mine.address(1), other.address(1));
    let taken = [mine.address(1).ip, other.address(1).ip];
    drop((mine, first));
    let again = Uplink::new(&second).unwrap();
    assert_eq!(again.address(1).ip, taken[0], "what was given back can be taken again");
}

fn plain(uplink: &Uplink) -> NodeSpec {
    NodeSpec {
        name: "n2".into(),
        walls: Walls::Namespaces { clock_ahead_s: 0 },
        address: uplink.address(2),
        root: None,
        files: Vec::new(),
        name_port: None,
        command: None,
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
