//! Nodes that have too little of something: memory, descriptors, processes, processor time.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Group, Lab, Limit, Program, Running, User, kill, programs};
use cluster_tests::support::{PATIENCE, migrate, place, times, try_to_migrate, wait_for};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::case::{Ledger, cluster};
use super::machines::another_one;

/// The kernel ends a body for want of memory: its program ends as one does that this befalls at home, and nobody else.
pub(crate) fn a_body_out_of_memory(ground: Ground) {
    let lab = cluster(ground, 3);
    let group = Group::new(Limit::Memory(BODY_MEMORY_MAX)).unwrap();
    for _ in 0..times(2, 20) {
        let other = Ledger::start(&lab, 4000);
        migrate(&lab, other.pid(), "n2");
        let before = lab.node(2).bodies().unwrap();
        let mut eater = lab.node(1).exec(&Program::new("python3").args(&["-c", EATER])).unwrap();
        let pid = eater.pid();
        eater.wait_for_output(PATIENCE, |output| output == b"ready\n").unwrap();
        migrate(&lab, pid, "n2");
        let bodies = lab.node(2).bodies().unwrap();
        let body = bodies.into_iter().find(|body| !before.contains(body)).unwrap();
        group.take(body).unwrap();
        let mut stdin = eater.stdin().unwrap();
        stdin.write_all(b"go\n").unwrap();
        let asked = Instant::now();
        let finished = eater.finish(PATIENCE).unwrap();
        println!("ended with {} after {:.1?}", finished.code, asked.elapsed());
        assert_eq!(finished.code, KILLED, "{}", lab.node(1).logs());
        other.wait_for_more();
        other.ends_well();
    }
}

/// Takes memory until there is no more.
const EATER: &str = r#"
import sys
print("ready", flush=True)
sys.stdin.readline()
eaten = []
while True:
    eaten.append(b"x" * (1 << 20))
"#;

/// The target runs out of memory while a program comes there: it goes on where it was, and moves when there is enough.
pub(crate) fn a_destination_out_of_memory(ground: Ground) {
    let lab = cluster(ground, 3);
    lab.node(1).install(&programs().unwrap().join("memhash"), "/tmp/memhash").unwrap();
    for _ in 0..times(1, 30) {
        let memhash = Program::new("/tmp/memhash").args(&["64", "1000000"]).user(User::Worker);
        let memhash = lab.node(1).exec(&memhash).unwrap();
        memhash.wait_for_output(PATIENCE, |output| output.len() > 100).unwrap();
        let group = Group::new(Limit::Memory(TARGET_MEMORY_MAX)).unwrap();
        let agent = lab.node(2).agent_pid().unwrap();
        group.take(agent).unwrap();
        let refused = try_to_migrate(&lab, memhash.pid(), "n2").unwrap_err();
        println!("{}", refused.trim());
        let before = memhash.output_so_far().len();
        wait_for("a program that goes on", || memhash.output_so_far().len() > before + 200);
        assert_eq!(place(&lab, memhash.pid()).unwrap().0, "n1");
        drop(group);
        if lab.node(2).agent_pid().is_none() {
            // The kernel may have chosen it.
            lab.node(2).start_agent().unwrap();
            lab.wait_for_members().unwrap();
        }
        migrate(&lab, memhash.pid(), "n2");
        let text = String::from_utf8(memhash.output_so_far()).unwrap();
        assert!(!text.contains("wrong"), "{text}");
        kill(memhash.outer_pid());
        assert_eq!(memhash.finish(PATIENCE).unwrap().code, KILLED);
    }
    another_one(&lab);
}

/// An agent that can open nothing more, or start nothing more, takes in nothing new; what is there goes on.
pub(crate) fn an_agent_at_its_limits(ground: Ground) {
    let lab = cluster(ground, 3);
    for _ in 0..times(1, 10) {
        let ledger = Ledger::start(&lab, times(8000, 20_000));
        migrate(&lab, ledger.pid(), "n2");
        let spinner = start_spinner(&lab);
        let agent = lab.node(2).agent_pid().unwrap();
        let pid = Pid::from_raw(i32::try_from(agent).unwrap());

        let open = std::fs::read_dir(format!("/proc/{agent}/fd")).unwrap().count() as u64;
        let few = Rlimit { current: Some(open), maximum: Some(FILES) };
        prlimit(pid, Resource::Nofile, few).unwrap();
        refuses(&lab, &spinner, &ledger, "descriptors");
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(FILES), maximum: Some(FILES) }).unwrap();
        lab.wait_for_members().unwrap();

        let threads = std::fs::read_dir(format!("/proc/{agent}/task")).unwrap().count();
        let group = Group::new(Limit::Pids(u32::try_from(threads).unwrap())).unwrap();
        group.take(agent).unwrap();
        refuses(&lab, &spinner, &ledger, "processes");
        drop(group);

        // Memory that is denied ends an agent, which is no more than its death.
        prlimit(pid, Resource::As, Rlimit { current: Some(1), maximum: None }).unwrap();
        thread::sleep(LOOK);
        ledger.wait_for_more();
        prlimit(pid, Resource::As, Rlimit { current: None, maximum: None }).unwrap();
        if lab.node(2).agent_pid().is_none() {
            println!("without memory the agent has ended");
            lab.node(2).start_agent().unwrap();
        }
        lab.wait_for_members().unwrap();
        migrate(&lab, spinner.pid(), "n2");
        migrate(&lab, spinner.pid(), "home");
        drop(spinner);
        ledger.ends_well();
    }
}

fn refuses(lab: &Lab, spinner: &Running, ledger: &Ledger<'_>, what: &str) {
    let refused = try_to_migrate(lab, spinner.pid(), "n2").unwrap_err();
    println!("without {what}: {}", refused.trim());
    let (at, state) = place(lab, spinner.pid()).unwrap();
    assert_eq!((at.as_str(), state.as_str()), ("n1", "home"));
    ledger.wait_for_more();
}

fn start_spinner(lab: &Lab) -> Running {
    let spin = Program::new("sh").args(&["-c", "while :; do :; done"]).user(User::Worker);
    lab.node(1).exec(&spin).unwrap()
}

/// Agents that hardly get any processor time are late, and nobody takes them for lost within five seconds.
pub(crate) fn an_agent_that_starves(ground: Ground) {
    let lab = cluster(ground, 3);
    for number in [2, 1].into_iter().cycle().take(times(1, 10)) {
        let ledger = Ledger::start(&lab, 8000);
        migrate(&lab, ledger.pid(), "n2");
        let group = Group::new(Limit::Cpu(STARVED_THOUSANDTHS)).unwrap();
        group.take(lab.node(number).agent_pid().unwrap()).unwrap();
        let hungry = Instant::now();
        let mut looks = 0;
        while hungry.elapsed() < HUNGER {
            // Whoever asks a starved agent waits for it.
            let asked = lab.node(3).homing(&["nodes", "--json"]).unwrap();
            let nodes: serde_json::Value = serde_json::from_slice(&asked.output).unwrap();
            for node in nodes["nodes"].as_array().unwrap() {
                assert_ne!(node["state"], "lost", "after {:?}: {node}", hungry.elapsed());
            }
            looks += 1;
            ledger.wait_for_more();
        }
        println!("{looks} looks: nobody was taken for lost while the agent of n{number} starved");
        drop(group);
        lab.wait_for_members().unwrap();
        ledger.ends_well();
    }
}

/// As a shell says it: 128 and SIGKILL.
const KILLED: i32 = 137;

/// On top of what a body has when it is put under a limit.
const BODY_MEMORY_MAX: u64 = 48 << 20;

/// For an agent's new wardens and what they build, which is less than the program has.
const TARGET_MEMORY_MAX: u64 = 32 << 20;

/// Descriptors, as many systems give them.
const FILES: u64 = 1024;

/// Two percent of a processor.
const STARVED_THOUSANDTHS: u32 = 20;

const HUNGER: Duration = Duration::from_secs(6);

/// For what may happen to an agent without memory.
const LOOK: Duration = Duration::from_secs(2);
