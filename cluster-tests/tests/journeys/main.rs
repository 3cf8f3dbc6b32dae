//! Unmodified programs go home -> n2 -> n3 -> home again and again while they work, and nothing of it shows.
//!
//! By default each program makes a few moves on namespaces, as root or as an ordinary user, and every third one in
//! containers too, as the other; `HOMING_LAB=containers` asks for all of them there.
//! `HOMING_FULL=1` moves it on and on for as long as it works, twenty times at least, on both grounds as both users;
//! nextest's profile `full` has the patience for it.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

mod inputs;
mod own;
mod pipelines;
mod servers;
mod system;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use cluster_tests::check::{Expect, Journey, Scenario, Stop, check};
use cluster_tests::harness::{GROUND_SWITCH, Tests};
use cluster_tests::lab::{Ground, LabNode, Ticks, User, Work};
use cluster_tests::support::{cluster, is_full};

fn main() -> ExitCode {
    let length = if is_full() { Length::Full } else { Length::Short };
    let all = own::TRAVELLERS.iter().chain(system::TRAVELLERS).chain(pipelines::TRAVELLERS);
    let all = all.chain(servers::TRAVELLERS);
    let tests = all.enumerate().fold(Tests::new(), |tests, (number, traveller)| {
        let users = [User::Root, User::Worker];
        // In the short form as one of them, and in containers as the other.
        let (first, second) = (users[number % 2], users[1 - number % 2]);
        let is_asked_for = env::var(GROUND_SWITCH).is_ok_and(|ground| ground == Ground::Containers.name());
        let is_contained = is_asked_for || number % CONTAINED_EVERY == 0;
        let contained = is_contained.then_some((Ground::Containers, second));
        let few: Vec<_> = [(Ground::Namespaces, first)].into_iter().chain(contained).collect();
        let all = GROUNDS.into_iter().flat_map(|ground| users.map(|user| (ground, user))).collect();
        length.of(few, all).into_iter().fold(tests, |tests, (ground, user)| {
            let name = format!("{}_as_{}", traveller.name, user.name());
            tests.on_with(traveller.needs, ground, &name, move |ground| {
                travel(traveller, Trip { ground, user, length })
            })
        })
    });
    tests.run()
}

/// A program that is to be moved while it works.
struct Traveller {
    name: &'static str,
    /// Programs of this machine that a minimal Debian lacks.
    needs: &'static [&'static str],
    /// Puts at its home what it needs, and says how it is started.
    scenario: fn(&LabNode, Length) -> Scenario,
    /// Its exit code when all is right.
    code: i32,
}

/// How much a program is given to do, and how often it is moved meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    Full,
}

impl Length {
    fn of<T>(self, short: T, full: T) -> T {
        match self {
            Length::Short => short,
            Length::Full => full,
        }
    }
}

#[derive(Clone, Copy)]
struct Trip {
    ground: Ground,
    user: User,
    length: Length,
}

fn travel(traveller: &Traveller, Trip { ground, user, length }: Trip) {
    let lab = cluster(ground, 3);
    let mut scenario = (traveller.scenario)(lab.node(1), length);
    scenario.program = scenario.program.user(user);
    scenario.dwell = length.of(Duration::from_millis(50), Duration::from_millis(1000));
    scenario.dwell_home = length.of(Duration::from_millis(50), Duration::from_millis(200));
    scenario.patience = length.of(Duration::from_secs(60), Duration::from_secs(600));
    // What serves goes on until its clients have had enough.
    let until_it_ends = if scenario.load.is_some() { SERVED_ROUNDS } else { usize::MAX };
    let route = [Stop::Node(2), Stop::Node(3), Stop::Home];
    let scenario = scenario.along(&route, length.of(2, until_it_ends));
    // What only passes bytes on has its work done by its shadow, which makes the calls.
    let works = scenario.load.is_some() || scenario.work == Work::Computes;
    let away_share_min = if works { length.of(0.0, 0.5) } else { 0.0 };
    // How many moves a short run sees depends on how busy the machine is; one is enough to go wrong.
    let moves_min = length.of(1, 20);
    let native_time_min = length.of(Duration::ZERO, LONG);
    let expect = Expect { code: traveller.code, native_time_min, moves_min, away_share_min };
    let journey = check(&lab, &scenario, expect).unwrap_or_else(|error| {
        lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
        panic!("{}", chain(&error))
    });
    print(&journey);
}

fn print(journey: &Journey) {
    for (time, said) in &journey.diary {
        println!("{:7.3} s  {said}", time.as_secs_f64());
    }
    let seconds = |ticks: Ticks| format!("{}+{} ticks", ticks.user, ticks.system);
    println!("{:.1} s natively", journey.native_time.as_secs_f64());
    println!(
        "{} moves, {:.0} % of the CPU time away (away {}, home {}; user+system)",
        journey.moves,
        100.0 * journey.away_share(),
        seconds(journey.away_ticks),
        seconds(journey.home_ticks),
    );
    for (number, served) in journey.served.iter().enumerate() {
        let wait_ms = served.longest_wait.as_millis();
        println!("client {number}: {} requests, longest wait {wait_ms} ms", served.requests);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

const GROUNDS: [Ground; 2] = [Ground::Namespaces, Ground::Containers];

/// Containers take three times as long as namespaces to be made and removed, and differ in little else.
const CONTAINED_EVERY: usize = 3;

/// What a program has to do in full length, when it is left alone.
const LONG: Duration = Duration::from_secs(20);

/// Of three moves each.
const SERVED_ROUNDS: usize = 20;
