//! The ground itself: nodes are apart, can talk, and leave nothing behind.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::panic;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use cluster_tests::harness::Tests;
use cluster_tests::lab::{CLOCK_STEP_S, Ground, Lab, LabNode, NAME_PORT, Program, Traces, User, kill, usage};

fn main() -> ExitCode {
    if env::var_os(HOLD).is_some() {
        return hold_a_lab();
    }
    Tests::new()
        .on_each_ground("nodes_are_apart", nodes_are_apart)
        .on_each_ground("nodes_talk_to_each_other", nodes_talk_to_each_other)
        .on_each_ground("programs_run_as_asked", programs_run_as_asked)
        .on_each_ground("nothing_is_left", nothing_is_left)
        .on_each_ground("nodes_become_a_cluster", nodes_become_a_cluster)
        .on_namespaces("clocks_are_ahead", clocks_are_ahead)
        .on_namespaces("nothing_is_left_after_a_panic", nothing_is_left_after_a_panic)
        .on_namespaces("nothing_runs_after_a_kill", nothing_runs_after_a_kill)
        .run()
}

fn nodes_are_apart(ground: Ground) {
    let lab = Lab::new(ground, 2).unwrap();
    lab.node(1).write_file("/tmp/only-here", b"data of n1").unwrap();
    assert_eq!(output(lab.node(1), "cat /tmp/only-here"), "data of n1");
    assert!(!Path::new("/tmp/only-here").exists(), "a node's files are its own");
    assert_eq!(output(lab.node(2), "cat /tmp/only-here || echo none"), "none");
    for (node, other) in [(lab.node(1), "n2"), (lab.node(2), "n1")] {
        let name = node.name();
        assert_eq!(output(node, "uname -n"), name);
        assert_eq!(output(node, "cat /etc/hostname"), name);
        assert_eq!(output(node, "grep -c '^marker-' /etc/passwd"), "1");
        assert!(output(node, "grep '^marker-' /etc/passwd").starts_with(&format!("marker-{name}:")));
        let ask = format!(
            "perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(\"127.0.0.1:{NAME_PORT}\")->getline'"
        );
        assert_eq!(output(node, &ask), name, "whoever asks 127.0.0.1 learns at which node he is");
        let others = output(node, "ls /proc | grep -c '^[0-9]'").parse::<u32>().unwrap();
        assert!(others < 8, "{name} sees its own processes only, not {others}");
        assert_eq!(output(node, &format!("getent passwd marker-{other} || echo unknown")), "unknown");
    }
}

fn nodes_talk_to_each_other(ground: Ground) {
    let lab = Lab::new(ground, 3).unwrap();
    let server = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => 4000) or die; \
                  $| = 1; print \"up\\n\"; $s->recv(my $b, 100); $s->send(\"echo $b\");";
    let client = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => 'udp', PeerAddr => $ARGV[0]) or die; \
                  $s->send('hello'); $s->recv(my $b, 100); print $b;";
    for (from, to) in [(1, 2), (2, 3), (3, 1)] {
        let running = lab.node(to).exec(&Program::new("perl").args(&["-e", server])).unwrap();
        running.wait_for_output(PATIENCE, |output| output == b"up\n").unwrap();
        let peer = format!("{}:4000", lab.node(to).address());
        let program = Program::new("perl").args(&["-e", client, &peer]);
        let finished = lab.node(from).exec(&program).unwrap().finish(PATIENCE).unwrap();
        assert_eq!(finished.text(), "echo hello", "n{from} to n{to}");
        assert_eq!(running.finish(PATIENCE).unwrap().code, 0);
    }
    // This machine is a neighbour, but nobody's 127.0.0.1.
    let refused =
        TcpStream::connect_timeout(&(lab.node(1).address(), NAME_PORT).into(), PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

fn programs_run_as_asked(ground: Ground) {
    let lab = Lab::new(ground, 1).unwrap();
    let node = lab.node(1);
    let shell = |script: &str| Program::new("sh").args(&["-c", script]);
    for (user, id) in [(User::Root, "0"), (User::Worker, "1000")] {
        let program =
            shell("echo $(id -u) $(id -g) $HOME $GIVEN; echo note >&2; exit 7").user(user).env("GIVEN", "x");
        let finished = node.exec(&program).unwrap().finish(PATIENCE).unwrap();
        assert_eq!(finished.text(), format!("{id} {id} {} x", user.home()));
        assert_eq!((finished.code, finished.errors.as_slice()), (7, &b"note\n"[..]));
    }
    let killed = node.exec(&shell("kill -TERM $$")).unwrap().finish(PATIENCE).unwrap();
    assert_eq!(killed.code, 128 + 15);

    let mut cat = node.exec(&Program::new("cat")).unwrap();
    assert_eq!(
        output(node, &format!("cat /proc/{}/comm", cat.pid())),
        "cat",
        "the pid is the one at the node"
    );
    let mut comm = String::new();
    let path = format!("/proc/{}/comm", cat.outer_pid());
    std::fs::File::open(path).unwrap().read_to_string(&mut comm).unwrap();
    assert_eq!(comm, "cat\n", "the outer pid is the one here");
    assert!(usage(cat.outer_pid()).unwrap().resident_kib > 0);
    assert_eq!(node.bodies().unwrap(), [0; 0], "there is no family here");
    cat.feed(vec![b'x'; 1 << 20], Duration::ZERO);
    assert_eq!(cat.finish(PATIENCE).unwrap().output.len(), 1 << 20);
}

fn nodes_become_a_cluster(ground: Ground) {
    let lab = Lab::new(ground, 3).unwrap();
    lab.start_cluster().unwrap();
    let listed = lab.node(3).homing(&["nodes"]).unwrap().text();
    for node in lab.nodes() {
        assert!(listed.contains(node.name()), "{listed}");
    }
    let agent = lab.node(2).agent_pid().unwrap();
    kill(agent);
    let deadline = Instant::now() + PATIENCE;
    while lab.node(2).agent_pid().is_some() {
        assert!(Instant::now() < deadline, "agent {agent} still runs");
        std::thread::yield_now();
    }
    lab.node(2).start_agent().unwrap();
}

fn nothing_is_left(ground: Ground) {
    let lab = Lab::new(ground, 2).unwrap();
    let traces = lab.traces().unwrap();
    // In a session of its own and without any pipe to it: only the end of its namespace ends it.
    let orphan = Program::new("sh").args(&["-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo left"]);
    assert_eq!(lab.node(1).exec(&orphan).unwrap().finish(PATIENCE).unwrap().text(), "left");
    let found = traces.found();
    let of_engine = (ground == Ground::Containers).then_some("container");
    for kind in ["process", "interface", "directory"].into_iter().chain(of_engine) {
        assert!(found.iter().any(|trace| trace.starts_with(kind)), "no {kind} in {found:?}");
    }
    drop(lab);
    assert_eq!(traces.left_after(PATIENCE), [""; 0]);
}

fn nothing_is_left_after_a_panic() {
    let (sender, traces) = std::sync::mpsc::channel();
    let result = panic::catch_unwind(move || {
        let lab = Lab::new(Ground::Namespaces, 1).unwrap();
        sender.send(lab.traces().unwrap()).unwrap();
        panic!("as a failing test does");
    });
    assert!(result.is_err());
    assert_eq!(traces.recv().unwrap().left_after(PATIENCE), [""; 0]);
}

/// What a test process that is killed leaves is an empty directory.
fn nothing_runs_after_a_kill() {
    let mut holder = Command::new(env::current_exe().unwrap());
    let mut holder = holder.env(HOLD, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let traces: Traces = serde_json::from_str(&line).unwrap();
    assert!(traces.found().iter().any(|trace| trace.starts_with("process")));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let is_directory = |trace: &String| trace.starts_with("directory");
    let deadline = Instant::now() + PATIENCE;
    while !traces.found().iter().all(is_directory) {
        assert!(Instant::now() < deadline, "left: {:?}", traces.found());
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(traces.directory()).unwrap();
}

/// Another process's part of [`nothing_runs_after_a_kill`]: to be killed while it holds a lab.
fn hold_a_lab() -> ExitCode {
    let lab = Lab::new(Ground::Namespaces, 2).unwrap();
    println!("{}", serde_json::to_string(&lab.traces().unwrap()).unwrap());
    // Ends by itself if the test does before the kill.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    ExitCode::FAILURE
}

fn clocks_are_ahead() {
    let lab = Lab::new(Ground::Namespaces, 2).unwrap();
    let up_s = |text: &str| text.split('.').next().unwrap().parse::<i64>().unwrap();
    let here = up_s(&std::fs::read_to_string("/proc/uptime").unwrap());
    for (number, node) in (1..).zip(lab.nodes()) {
        let ahead = up_s(&output(node, "cat /proc/uptime")) - here;
        assert!((CLOCK_STEP_S * number..CLOCK_STEP_S * number + 60).contains(&ahead), "n{number}: {ahead} s");
    }
}

fn output(node: &LabNode, script: &str) -> String {
    let program = Program::new("sh").args(&["-c", script]);
    node.exec(&program).unwrap().finish(PATIENCE).unwrap().text()
}

const HOLD: &str = "HOMING_TEST_HOLD_A_LAB";
const PATIENCE: Duration = Duration::from_secs(20);
