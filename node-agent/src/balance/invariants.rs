//! The promises of the design, each under its number. Those that need a cluster in motion are tests of the simulator.

use std::time::Duration;

mod every_input;

use super::Random;
use super::decision::Cause;
use super::desk::{Claim, Desk, Refusal};
use super::evict::{Action, Event, Eviction, Leaving, STREAMS};
use super::journey::Journey;
use super::load::{Doors, NodeLoad, NodeNumber};
use super::migration::{self, Process, Surroundings};
use super::placement::{self, Program};
use super::ties::{Peer, SameDistance, Ties};
use super::tunables::{self, Tunables};
use super::usher::{self, Pressure};

const FAR: SameDistance = SameDistance(100e-6);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn node(number: u32, cores: f64, speed: f64) -> NodeLoad {
    NodeLoad::new(NodeNumber(number), cores, speed, 8192.0).unwrap()
}

fn process<'a>(number: u64, ties: Ties<'a>, journey: &'a Journey) -> Process<'a> {
    let (age_s, mem_mib, dirty_mib_s) = (20.0, 300.0, 50.0);
    Process { number, demand: 1.0, age_s, mem_mib, dirty_mib_s, ties, journey, movable: true }
}

fn around<'a>(
    window: &'a [NodeLoad],
    known: &'a [NodeLoad],
    now: Duration,
    tunables: &'a Tunables,
) -> Surroundings<'a, SameDistance> {
    Surroundings { window, known, distance: &FAR, now, benefit_min_s: tunables.benefit_min_s, tunables }
}

/// Where the best move of a process that is alone in its choice goes to.
fn best(
    here: &NodeLoad,
    process: Process<'_>,
    window: &[NodeLoad],
    known: &[NodeLoad],
    now: Duration,
) -> Option<u32> {
    let tunables = Tunables::default();
    let proposals = migration::rank(here, &[process], &around(window, known, now, &tunables));
    proposals.first().map(|proposal| proposal.there.node.0)
}

#[test]
fn i01_no_return_within_a_minute_but_for_stronger_reasons() {
    let tunables = Tunables::default();
    let mut journey = Journey::default();
    journey.moved(NodeNumber(2), seconds(100.0));
    let ties = Ties::only_home(NodeNumber(2));
    let here = node(1, 4.0, 1.0).loaded(12.0, 1000.0).unwrap();
    let window = [node(2, 4.0, 1.0)];
    let goes = |now_s| best(&here, process(1, ties, &journey), &window, &window, seconds(now_s));
    assert_eq!(goes(159.9), None);
    assert_eq!(goes(160.1), Some(2));
    for cause in [Cause::Owner, Cause::Drain, Cause::Memory, Cause::Recall] {
        assert!(journey.may_go_to(NodeNumber(2), cause, seconds(110.0), &tunables));
    }
}

#[test]
fn i02_one_move_per_residency() {
    let mut journey = Journey::default();
    journey.moved(NodeNumber(9), seconds(100.0));
    let here = node(1, 4.0, 1.0).loaded(12.0, 1000.0).unwrap();
    let ties = Ties::only_home(NodeNumber(1));
    let goes = |now_s| best(&here, process(1, ties, &journey), &[node(2, 4.0, 1.0)], &[], seconds(now_s));
    assert_eq!(goes(104.9), None);
    assert_eq!(goes(105.0), Some(2));
}

/// Processes of a closed cluster, moved by the policy alone; returns the tick of the last move.
fn settle(speeds: &[f64], processes: usize, stale_ticks: usize, ticks: usize) -> usize {
    let tunables = Tunables::default();
    let mut at: Vec<usize> = vec![0; processes];
    let mut journeys = vec![Journey::default(); processes];
    let loads = |at: &[usize]| -> Vec<NodeLoad> {
        let place = |number: usize| {
            let here = at.iter().filter(|one| **one == number).count() as f64;
            node(u32::try_from(number).unwrap(), 4.0, speeds[number]).loaded(here, 50.0 * here).unwrap()
        };
        (0..speeds.len()).map(place).collect()
    };
    let mut seen = vec![loads(&at)];
    let mut last = 0;
    for tick in 0..ticks {
        let now = tunables.tick * u32::try_from(tick).unwrap() + seconds(100.0);
        for number in 0..speeds.len() {
            let truth = loads(&at);
            let told = &seen[seen.len().saturating_sub(stale_ticks + 1)];
            let here: Vec<Process<'_>> = (0..processes)
                .filter(|one| at[*one] == number)
                .map(|one| {
                    let ties = Ties::only_home(NodeNumber(0));
                    Process { age_s: 60.0, mem_mib: 50.0, ..process(one as u64, ties, &journeys[one]) }
                })
                .collect();
            let proposals =
                migration::rank(&truth[number], &here, &around(told, &truth[..1], now, &tunables));
            let accepted = proposals.iter().find_map(|proposal| {
                let mover = here.iter().find(|process| process.number == proposal.process)?;
                let to = proposal.there.node.0 as usize;
                let claim = Claim { key: (NodeNumber(0), mover.number), demand: 1.0, mem_mib: 50.0, now };
                let (from, limit) = (&truth[number], tunables.benefit_min_s);
                let mut desk = Desk::default();
                let answer =
                    migration::answer(&mut desk, &claim, &truth[to], mover, from, &FAR, limit, &tunables);
                answer.ok().map(|_| (usize::try_from(mover.number).unwrap(), to))
            });
            if let Some((mover, to)) = accepted {
                journeys[mover].moved(NodeNumber(u32::try_from(number).unwrap()), now);
                at[mover] = to;
                last = tick;
            }
        }
        seen.push(loads(&at));
    }
    last
}

#[test]
fn i03_a_constant_load_comes_to_rest() {
    for (speeds, processes) in [
        (vec![1.0; 4], 12),
        (vec![1.0; 4], 24),
        (vec![0.7, 1.0, 1.0, 1.5], 12),
        (vec![0.7, 1.0, 1.0, 1.5], 23),
    ] {
        // Each node moves one process a tick, so it takes as many ticks as have to leave, and ten.
        let leaving = processes - processes / speeds.len();
        for stale_ticks in [0, 16] {
            let last = settle(&speeds, processes, stale_ticks, 1200);
            let most = leaving + 10 + 2 * stale_ticks;
            assert!(last <= most, "{last} of {most} ticks: {speeds:?}, {processes}, {stale_ticks}");
        }
    }
}

#[test]
fn i04_the_target_alone_promises_room() {
    let tunables = Tunables::default();
    let target = node(1, 64.0, 1.0).loaded(0.0, 6000.0).unwrap();
    let mut desk = Desk::default();
    let claim = |number, now_s| Claim {
        key: (NodeNumber(7), number),
        demand: 1.0,
        mem_mib: 400.0,
        now: seconds(now_s),
    };
    let mut ask =
        |number, now_s| desk.admit(&claim(number, now_s), &target, tunables.memory_hard, &tunables, |_| true);
    assert_eq!([ask(1, 0.0), ask(2, 0.0), ask(3, 0.0)], [Ok(()), Ok(()), Ok(())]);
    assert_eq!(ask(4, 0.0), Err(Refusal::Memory), "7600 of 8192 MiB would be above 0.9");
    assert_eq!(ask(5, 5.0), Ok(()), "promises expire");
    assert_eq!(desk.promised(seconds(5.0)), (1.0, 400.0));
    let key = claim(5, 5.0).key;
    assert!(desk.may_commit(key, &target, tunables.memory_hard, seconds(6.0)));
    let full = target.loaded(0.0, 7372.0).unwrap();
    assert!(!desk.may_commit(key, &full, tunables.memory_hard, seconds(6.0)), "memory has gone meanwhile");
    let doors = Doors { draining: true, ..Doors::default() };
    assert!(!desk.may_commit(key, &target.with_doors(doors), tunables.memory_hard, seconds(6.0)));
    assert!(!desk.may_commit(key, &target, tunables.memory_hard, seconds(10.0)), "it has expired");
    let closed = target.with_doors(doors);
    let refused = desk.admit(&claim(6, 20.0), &closed, tunables.memory_hard, &tunables, |_| true);
    assert_eq!(refused, Err(Refusal::Closed));
}

#[test]
fn i06_a_herd_is_let_in_slot_by_slot() {
    let tunables = Tunables::default();
    let idle = node(1, 4.0, 1.0);
    let mut desk = Desk::default();
    let program = |home| Program { demand: 1.0, mem_mib: 256.0, ties: Ties::only_home(NodeNumber(home)) };
    let accepted = (100..164).filter(|home| {
        let home_load = node(*home, 4.0, 1.0).loaded(12.0, 100.0).unwrap();
        let mut random = Random::new(u64::from(*home));
        let offers = placement::rank(&program(*home), &home_load, &[idle], &FAR, &mut random, &tunables);
        let claim = Claim { key: (NodeNumber(*home), 1), demand: 1.0, mem_mib: 256.0, now: seconds(1.0) };
        placement::answer(&mut desk, &claim, &idle, &offers[0], &program(*home), &FAR, &tunables).is_ok()
    });
    assert_eq!(accepted.count(), tunables::in_slots(4.0));
}

#[test]
fn i07_an_owner_gets_the_machine_and_a_drain_empties_it() {
    let tunables = Tunables::default();
    let home = node(1, 4.0, 1.0);
    let nodes = [home, node(2, 4.0, 1.0), node(3, 4.0, 1.0)];
    let body = |number| Leaving {
        number,
        demand: 1.0,
        mem_mib: 1000.0 - 10.0 * number as f64,
        ties: Ties::only_home(NodeNumber(1)),
    };
    let mut here: Vec<Leaving<'_>> = (0..10).map(body).collect();
    let mut eviction = Eviction::new(NodeNumber(9), Cause::Owner);
    let mut steps = 0;
    while !here.is_empty() {
        let actions = eviction.step(Event::Tick { here: &here, nodes: &nodes }, &FAR, &tunables);
        assert_eq!(actions.contains(&Action::Throttle), steps == 0, "at once, and once");
        let moved: Vec<u64> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Move { number, to } => {
                    assert_ne!(*to, NodeNumber(9));
                    Some(*number)
                }
                _ => None,
            })
            .collect();
        assert!(moved.len() <= STREAMS && !moved.is_empty());
        let smallest = here.iter().map(|body| body.mem_mib).fold(f64::INFINITY, f64::min);
        assert!(here.iter().any(|body| body.number == moved[0] && body.mem_mib == smallest));
        for number in moved {
            assert!(eviction.step(Event::Gone(number), &FAR, &tunables).is_empty());
            here.retain(|body| body.number != number);
        }
        steps += 1;
    }
    assert_eq!(steps, 3, "four at a time");
    let rest = eviction.step(Event::Tick { here: &[], nodes: &nodes }, &FAR, &tunables);
    assert_eq!(rest, [Action::Empty]);
}

#[test]
fn i07_without_room_bodies_go_home_or_stand_still() {
    let tunables = Tunables::default();
    let full = |number| node(number, 4.0, 1.0).loaded(4.0, 8000.0).unwrap();
    let body = Leaving { number: 1, demand: 1.0, mem_mib: 500.0, ties: Ties::only_home(NodeNumber(1)) };
    let mut eviction = Eviction::new(NodeNumber(9), Cause::Owner);
    let nodes = [full(2)];
    let actions = eviction.step(Event::Tick { here: &[body], nodes: &nodes }, &FAR, &tunables);
    assert_eq!(actions, [Action::Throttle, Action::Freeze(1)], "home cannot be reached");
    let nodes = [full(1), full(2)];
    let actions = eviction.step(Event::Tick { here: &[body], nodes: &nodes }, &FAR, &tunables);
    assert_eq!(actions, [Action::Move { number: 1, to: NodeNumber(1) }], "home always takes its own");
    eviction.step(Event::Failed(1), &FAR, &tunables);
    let actions = eviction.step(Event::Tick { here: &[body], nodes: &nodes }, &FAR, &tunables);
    assert_eq!(actions, [Action::Move { number: 1, to: NodeNumber(1) }], "a failed move is tried again");
}

#[test]
fn i12_what_cannot_be_is_refused() {
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(NodeLoad::new(NodeNumber(1), bad, 1.0, 1.0).is_err());
        assert!(NodeLoad::new(NodeNumber(1), 1.0, bad, 1.0).is_err());
        assert!(NodeLoad::new(NodeNumber(1), 1.0, 1.0, bad).is_err());
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(node(1, 1.0, 1.0).loaded(bad, 1.0).is_err());
        assert!(node(1, 1.0, 1.0).loaded(1.0, bad).is_err());
    }
}

#[test]
fn i14_a_program_that_calls_home_all_the_time_ends_there() {
    let ties = |home| Ties { home: NodeNumber(home), calls_per_cpu_s: 15_000.0, peers: &[] };
    let journey = Journey::default();
    let away = node(2, 8.0, 1.5).loaded(1.0, 300.0).unwrap();
    for demand in 0..7 {
        let home = node(1, 4.0, 1.0).loaded(f64::from(demand), 300.0).unwrap();
        assert!(home.stretch() < 2.0);
        assert_eq!(
            best(&away, process(1, ties(1), &journey), &[], &[home], seconds(9.0)),
            Some(1),
            "{demand}"
        );
        let program = Program { demand: 1.0, mem_mib: 256.0, ties: ties(1) };
        let offers =
            placement::rank(&program, &home, &[away], &FAR, &mut Random::new(1), &Tunables::default());
        assert!(demand > 3 || offers.is_empty(), "a free home keeps it");
    }
}

#[test]
fn peers_that_talk_end_on_one_node() {
    let journey = Journey::default();
    let peers = [Peer { node: NodeNumber(2), messages_per_cpu_s: 8000.0 }];
    let ties = Ties { home: NodeNumber(1), calls_per_cpu_s: 20.0, peers: &peers };
    let (home, there) = (node(1, 4.0, 1.0).loaded(2.0, 600.0).unwrap(), node(2, 4.0, 1.0));
    let there = there.loaded(1.0, 300.0).unwrap();
    assert_eq!(best(&home, process(1, ties, &journey), &[], &[there], seconds(9.0)), Some(2));
}

#[test]
fn a_node_without_memory_sheds_the_smallest_process_that_is_enough() {
    let tunables = Tunables::default();
    let journey = Journey::default();
    let ties = Ties::only_home(NodeNumber(1));
    let sized = |number, mem_mib| Process { age_s: 0.0, mem_mib, ..process(number, ties, &journey) };
    let processes = [sized(1, 100.0), sized(2, 400.0), sized(3, 900.0), sized(4, 6800.0)];
    let here = node(1, 4.0, 1.0).loaded(4.0, 8200.0).unwrap();
    assert!(usher::needed(&here, Pressure::default(), &tunables));
    let window =
        [node(2, 4.0, 1.0).loaded(3.0, 6000.0).unwrap(), node(3, 4.0, 1.0).loaded(9.0, 0.0).unwrap()];
    let proposals = usher::rank(&here, &processes, &around(&window, &[], seconds(9.0), &tunables));
    let order: Vec<_> = proposals.iter().map(|one| (one.process, one.there.node.0)).collect();
    assert_eq!(order[0], (2, 2), "400 MiB clear the excess of 254, and node 3 is too busy");
    assert!(order.iter().all(|(_, to)| *to == 2));
    let calm = here.loaded(4.0, 7900.0).unwrap();
    assert!(!usher::needed(&calm, Pressure::default(), &tunables));
    assert!(usher::needed(&calm, Pressure { swap_in_mib_s: 2.0, ..Pressure::default() }, &tunables));
}
