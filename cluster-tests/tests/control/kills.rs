//! Something is killed at any instant of a move before home's record makes it final: nothing has happened.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Finished, Ground, Lab, LabNode, Program, User, homing, kill, resume, suspend};
use cluster_tests::support::{Chance, PATIENCE, cluster, migrate, nobody_is_away, place, times, wait_for};

use crate::work::Worker;

/// A way of moving, and who is killed on it. What keeps the family while it is away is not among them: its death is
/// the family's.
#[derive(Clone, Copy, Debug)]
struct Attack {
    from: &'static str,
    to: &'static str,
    victim: Victim,
}

/// Of the nodes by their number.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Agent(usize),
    HomeWarden,
    GuestWarden(usize),
}

const ATTACKS: &[Attack] = &[
    Attack { from: "home", to: "n2", victim: Victim::Agent(1) },
    Attack { from: "n2", to: "n3", victim: Victim::Agent(1) },
    Attack { from: "home", to: "n2", victim: Victim::GuestWarden(2) },
    Attack { from: "n2", to: "home", victim: Victim::Agent(2) },
    Attack { from: "home", to: "n2", victim: Victim::HomeWarden },
    Attack { from: "n2", to: "n3", victim: Victim::GuestWarden(3) },
    Attack { from: "home", to: "n2", victim: Victim::Agent(2) },
    Attack { from: "n2", to: "n3", victim: Victim::Agent(2) },
    Attack { from: "n2", to: "home", victim: Victim::Agent(1) },
    Attack { from: "n2", to: "n3", victim: Victim::Agent(3) },
];

pub(crate) fn a_kill_before_commit_harms_nothing() {
    attack(ATTACKS, times(1, 10) * ATTACKS.len());
}

/// Until the commit a home warden can be spared at any instant: the program heals itself.
pub(crate) fn a_home_warden_killed_before_commit_harms_nothing() {
    let leave = Attack { from: "home", to: "n2", victim: Victim::HomeWarden };
    attack(&[leave], times(5, 200));
}

fn attack(attacks: &[Attack], times: usize) {
    let lab = cluster(Ground::Namespaces, 3);
    let worker = Worker::start(lab.node(1), "kills", User::Worker);
    let mut chance = Chance::new();
    let lengths = Lengths::measure(&lab, &worker);
    for attack in attacks.iter().cycle().take(times) {
        let struck = (0..TRIES_MAX).any(|_| {
            go(&lab, &worker, attack.from);
            strike(&lab, &worker, *attack, lengths.of(*attack).mul_f64(chance.part()))
        });
        assert!(struck, "{attack:?}: {TRIES_MAX} times it was too late");
        worker.wait_for_more();
    }
    go(&lab, &worker, "home");
    wait_for("the end of what is left at the guests", || nobody_is_away(&lab));
    println!("{} lines are those of the native run", worker.finish());
}

/// True if the victim was killed while the move could still be undone.
fn strike(lab: &Lab, worker: &Worker<'_>, attack: Attack, after: Duration) -> bool {
    let home = lab.node(1);
    let epoch = home.epoch(worker.pid());
    // One that was asked for by an agent that was killed waits for its home for a while.
    let earlier: Vec<u32> = lab.nodes().iter().flat_map(LabNode::guest_wardens).collect();
    let order = Program::new(homing().unwrap())
        .args(&["move", &worker.pid().to_string(), attack.to])
        .user(User::Root);
    let running = home.exec(&order).unwrap();
    thread::sleep(after);
    // Home's record is the commit: it cannot be made while its writer stands still.
    let writers = home.home_wardens();
    writers.iter().copied().for_each(suspend);
    let is_before_commit = home.epoch(worker.pid()) == epoch;
    let victim = match attack.victim {
        Victim::Agent(number) => lab.node(number).agent_pid(),
        Victim::HomeWarden => writers.first().copied(),
        Victim::GuestWarden(number) => newest(lab.node(number)).filter(|pid| !earlier.contains(pid)),
    };
    let struck = victim.filter(|_| is_before_commit && !running.output_so_far().ends_with(b"\n"));
    struck.iter().copied().for_each(kill);
    writers.iter().copied().for_each(resume);
    let started = Instant::now();
    let finished = running.finish(PATIENCE).unwrap();
    if struck.is_none() {
        // It was not there yet, or the move was done.
        assert_eq!(finished.code, 0, "{}", said(&finished));
        return false;
    }
    let took = started.elapsed();
    println!("{attack:?} after {after:.1?}: code {} after {took:.1?}: {}", finished.code, said(&finished));
    if let Victim::Agent(number) = attack.victim {
        wait_for("the end of the agent", || lab.node(number).agent_pid().is_none());
        lab.node(number).start_agent().unwrap();
        lab.wait_for_members().unwrap();
    }
    let places = [attack.from, attack.to].map(|name| if name == "home" { "n1" } else { name });
    let mut at = None;
    // Only what is away has a warden at home once no move is under way.
    wait_for("a family that stays somewhere", || {
        let expected = if home.home_wardens().is_empty() { "home" } else { "away" };
        at = place(lab, worker.pid()).filter(|(_, state)| state == expected);
        at.is_some()
    });
    let (at, _) = at.unwrap();
    assert!(places.contains(&at.as_str()), "it is at {at}");
    if matches!(attack.victim, Victim::HomeWarden) && finished.code == 0 {
        // Whoever only asks may find the new warden first, which then leaves for the next one: that was met.
        assert_eq!(at, places[1]);
        assert!(home.home_wardens().iter().all(|warden| Some(*warden) != struck));
        return false;
    }
    if !matches!(attack.victim, Victim::Agent(_)) {
        assert_eq!((at.as_str(), finished.code), (places[0], 1), "{}", said(&finished));
    }
    true
}

/// Home, or from home to another node; the next move after an attack is the first one here.
pub(crate) fn go(lab: &Lab, worker: &Worker<'_>, to: &str) {
    let name = if to == "home" { "n1" } else { to };
    if place(lab, worker.pid()).is_none_or(|(at, _)| at != name) {
        migrate(lab, worker.pid(), to);
    }
    if to == "home" {
        // Else an attack on the next move might strike the warden of this one, which has nothing left to lose.
        wait_for("the end of the home warden", || lab.node(1).home_wardens().is_empty());
    }
    worker.wait_for_more();
}

/// The guest warden that was started last.
fn newest(node: &LabNode) -> Option<u32> {
    node.guest_wardens().into_iter().max()
}

/// How long each kind of move takes here, from the command's start to its end.
struct Lengths {
    out: Duration,
    hop: Duration,
    back: Duration,
}

impl Lengths {
    fn measure(lab: &Lab, worker: &Worker<'_>) -> Lengths {
        let timed = |to| {
            let started = Instant::now();
            migrate(lab, worker.pid(), to);
            started.elapsed()
        };
        let lengths = Lengths { out: timed("n2"), hop: timed("n3"), back: timed("home") };
        println!("moves take {:.1?}, {:.1?} and {:.1?}", lengths.out, lengths.hop, lengths.back);
        lengths
    }

    fn of(&self, attack: Attack) -> Duration {
        match (attack.from, attack.to) {
            ("home", _) => self.out,
            (_, "home") => self.back,
            _ => self.hop,
        }
    }
}

fn said(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.errors).trim().to_owned()
}

/// How often an instant may be one at which the victim is not there yet, or the move is done.
const TRIES_MAX: usize = 20;
