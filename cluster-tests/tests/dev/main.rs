//! `homing dev`: nodes on this machine that come with one command and go without a trace.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use cluster_tests::harness::Tests;
use cluster_tests::lab;
use support::{Ground, eventually};
use tempfile::TempDir;

mod support;
mod top;

fn main() -> ExitCode {
    Tests::new()
        .on_namespaces("ctrl_c_brings_processes_home_and_leaves_nothing", interrupted)
        .on_namespaces("a_second_one_is_refused", a_second_one_is_refused)
        .on_namespaces("after_a_kill_the_next_one_cleans_up", killed)
        .on_namespaces("a_killed_keeper_is_noticed_and_cleaned_up_after", keeper_killed)
        .on_namespaces("agents_may_die", agents_may_die)
        .on_namespaces("an_agent_that_serves_already_is_left_alone", serving_agent_is_left_alone)
        .on_namespaces("without_root_it_says_so", without_root)
        .on_namespaces("the_demo_goes_round", the_demo_goes_round)
        .on_namespaces("the_dashboard_shows_the_demo", top::the_dashboard_shows_the_demo)
        .run()
}

fn interrupted() {
    let ground = Ground::new();
    let mut dev = ground.ready_dev(&["--nodes", "3"]);
    assert!(ready_after_s(&dev.said()) <= 2.0, "{}", dev.said());
    let names = ["n1", "n2", "n3"].map(|name| (name.to_owned(), "ok".to_owned()));
    let mut listed = ground.nodes();
    listed.sort();
    assert_eq!(listed, names);
    let interface = ground.interface();
    assert!(interface.exists(), "{}", interface.display());
    let counter = ground.counter();
    ground.move_to(&counter, "n2");
    dev.wait_for("moved n1 -> n2");

    dev.interrupt();
    assert_eq!(dev.finish(), 0, "{}", dev.said());
    assert!(dev.said().contains(&format!("{} is home again from n2", counter.pid())), "{}", dev.said());
    ground.assert_nothing_left(&interface);
    counter.assert_plain();
}

fn a_second_one_is_refused() {
    let ground = Ground::new();
    let mut first = ground.ready_dev(&["--nodes", "1"]);
    let mut second = ground.dev(&[]);
    assert_eq!(second.finish(), 1);
    let expected = format!("`homing dev` runs already, as process {}", first.pid());
    assert!(second.said().contains(&expected), "{}", second.said());
    assert_eq!(ground.nodes().len(), 1, "the first one is undisturbed");
    let interface = ground.interface();
    first.interrupt();
    assert_eq!(first.finish(), 0);
    ground.assert_nothing_left(&interface);
}

fn killed() {
    let ground = Ground::new();
    let mut first = ground.ready_dev(&["--nodes", "3"]);
    let interface = ground.interface();
    let counter = ground.counter();
    ground.move_to(&counter, "n3");
    let keeper = ground.pid_of("dev-keeper").unwrap();
    first.kill();
    let before = counter.last();
    assert!(eventually(|| counter.last() > before + 5), "it goes on at its node");
    assert_eq!(ground.pid_of("dev-keeper"), Some(keeper));

    let mut next = ground.ready_dev(&["--nodes", "2"]);
    assert!(next.said().contains(&format!("{} is home again from n3", counter.pid())), "{}", next.said());
    assert_ne!(ground.pid_of("dev-keeper"), Some(keeper));
    assert_eq!(ground.nodes().len(), 2);
    counter.assert_plain();
    next.interrupt();
    assert_eq!(next.finish(), 0);
    ground.assert_nothing_left(&interface);
}

fn keeper_killed() {
    let ground = Ground::new();
    let mut first = ground.ready_dev(&["--nodes", "2"]);
    let interface = ground.interface();
    let counter = ground.counter();
    ground.move_to(&counter, "n2");
    lab::kill(ground.pid_of("dev-keeper").unwrap());
    assert_eq!(first.finish(), 1);
    assert!(first.said().contains("the process that keeps the nodes has ended"), "{}", first.said());
    // The node has gone, and the body with it; this machine's own agent and warden have not.
    assert!(ground.pid_of("agent").is_some());

    let mut next = ground.ready_dev(&["--nodes", "2"]);
    next.interrupt();
    assert_eq!(next.finish(), 0, "{}", next.said());
    ground.assert_nothing_left(&interface);
}

fn agents_may_die() {
    let ground = Ground::new();
    let mut dev = ground.ready_dev(&["--nodes", "2"]);
    let interface = ground.interface();
    let counter = ground.counter();
    ground.move_to(&counter, "n2");
    let agents = || ground.pid_of("agent");
    while let Some(agent) = agents() {
        lab::kill(agent);
        assert!(eventually(|| agents() != Some(agent)), "agent {agent} is there for ever");
    }
    dev.wait_for("the agent of n1 has ended");
    dev.wait_for("the agent of n2 has ended");
    let before = counter.last();
    assert!(eventually(|| counter.last() > before + 5), "it goes on at its node");

    dev.interrupt();
    assert_eq!(dev.finish(), 0, "{}", dev.said());
    assert!(dev.said().contains(&format!("{} is home again from n2", counter.pid())), "{}", dev.said());
    ground.assert_nothing_left(&interface);
    counter.assert_plain();
}

fn serving_agent_is_left_alone() {
    let ground = Ground::new();
    let state = TempDir::new().unwrap();
    let homing = |verb: &str| {
        let mut command = Command::new(lab::homing().unwrap());
        command.arg(verb).env("HOMING_RUN_DIR", ground.run_dir()).env("HOMING_STATE_DIR", state.path());
        command
    };
    let made = homing("init").args(["--name", "alone", "--listen", "127.0.0.1:7748"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut agent = homing("agent").stderr(std::process::Stdio::null()).spawn().unwrap();
    let serves = eventually(|| !ground.nodes().is_empty());
    let mut dev = ground.dev(&[]);
    let code = dev.finish();
    let listed = ground.nodes();
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(serves);
    assert_eq!(code, 1);
    assert!(dev.said().contains("an agent serves it already"), "{}", dev.said());
    assert_eq!(listed, [("alone".to_owned(), "ok".to_owned())]);
}

fn without_root() {
    // The build directory may be closed to other users.
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let homing = directory.path().join("homing");
    fs::copy(lab::homing().unwrap(), &homing).unwrap();
    let mut command = Command::new(&homing);
    command.arg("dev").uid(NOBODY).gid(NOBODY).current_dir("/");
    let output = command.env("HOMING_RUN_DIR", directory.path().join("run")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("only root may") && said.contains("sudo homing dev"), "{said}");
}

/// Every number once, by pipe and by connection, over two rounds of three nodes.
fn the_demo_goes_round() {
    let ground = Ground::new();
    let mut dev = ground.ready_dev(&["--nodes", "3", "--demo"]);
    let interface = ground.interface();
    for way in ["n1 -> n2", "n2 -> n3", "n3 -> n1", "n1 -> n2"] {
        let times = dev.said().matches(way).count();
        let went = eventually(|| {
            let said = dev.said();
            said.matches(way).count() > times || said.contains("cannot")
        });
        assert!(went && !dev.said().contains("cannot"), "{way}: {}", dev.said());
    }
    dev.interrupt();
    assert_eq!(dev.finish(), 0, "{}", dev.said());
    assert!(dev.said().contains("0 failed"), "{}", dev.said());
    assert!(dev.said().contains("without a gap, on one TCP connection"), "{}", dev.said());
    ground.assert_nothing_left(&interface);
}

/// The seconds that it says it took.
fn ready_after_s(said: &str) -> f32 {
    let after = said.split("ready in ").nth(1).unwrap();
    after.split(' ').next().unwrap().parse().unwrap()
}

const NOBODY: u32 = 65534;
