//! Agents die while families are away, and nobody but their next callers notices.

use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Program, Stay, User, Work, kill};
use cluster_tests::programs::GuestProgram;
use cluster_tests::support::{PATIENCE, cluster, migrate, place, wait_for};
use tempfile::TempDir;

use crate::work::Worker;

pub(crate) fn agents_may_die_while_families_are_away(ground: Ground) {
    let lab = cluster(ground, 3);
    let home = lab.node(1);
    // The third one forks and runs other programs all the time.
    let directory = TempDir::new().unwrap();
    home.install(&GuestProgram::Forks.build(directory.path()).unwrap(), "/tmp/forks").unwrap();
    let forks = Program::new("/tmp/forks").args(&[FORKS]);
    let natively = home.exec(&forks).unwrap().finish(PATIENCE).unwrap();
    let workers = [("root", User::Root), ("worker", User::Worker)];
    let workers = workers.map(|(name, user)| Worker::start(home, name, user));
    let forks = home.exec(&forks).unwrap();
    let families = [(&workers[0].running, 2), (&workers[1].running, 3), (&forks, 2)];
    for (running, node) in families {
        migrate(&lab, running.pid(), lab.node(node).name());
        Stay::prove(running.outer_pid(), lab.node(node), Work::Waits, PATIENCE).unwrap();
    }

    for node in lab.nodes() {
        kill(node.agent_pid().unwrap());
        wait_for("the end of an agent", || node.agent_pid().is_none());
    }
    let since = Instant::now();
    while since.elapsed() < WITHOUT_AGENTS {
        workers.iter().for_each(Worker::wait_for_more);
        assert!(lab.nodes().iter().all(|node| node.agent_pid().is_none()));
    }

    let started = Instant::now();
    for number in [3, 1, 2] {
        lab.node(number).start_agent().unwrap();
    }
    lab.wait_for_members().unwrap();
    let places = || families.map(|(running, _)| place(&lab, running.pid()));
    let expected = families.map(|(_, node)| (lab.node(node).name().to_owned(), "away".to_owned()));
    wait_for("the whole list of processes", || places() == expected.clone().map(Some));
    println!("all agents are back and know all families after {:.1?}", started.elapsed());

    for (running, node) in families {
        migrate(&lab, running.pid(), lab.node(5 - node).name());
        migrate(&lab, running.pid(), "home");
    }
    for worker in workers {
        worker.wait_for_more();
        println!("{} lines are those of the native run", worker.finish());
    }
    let moved = forks.finish(PATIENCE).unwrap();
    assert_eq!((moved.code, moved.text()), (natively.code, natively.text()));
}

/// Rounds: more than it does while the agents are dead.
const FORKS: &str = "400";
const WITHOUT_AGENTS: Duration = Duration::from_secs(2);
