use std::collections::BTreeSet;
use std::env;

use super::state::{Command, Refused};
use super::world::{Faults, World, node_id};
use super::{Reply, membership};

/// Seeds of a random test: a few hundred, or many more for a release.
fn seeds() -> u64 {
    if env::var("HOMING_FULL").is_ok_and(|full| full == "1") { 20_000 } else { 200 }
}

/// Lets random things happen to a cluster for a while, heals it, and sees that nothing was lost, doubled or forked.
fn rough(seed: u64, servers: u64, changes: bool) {
    let mut world = World::of(seed, servers);
    let mut next_server = servers + 1;
    let mut removed = BTreeSet::new();
    world.faults = Faults {
        lost: world.random().below(200),
        doubled: world.random().below(100),
        delay_ms: world.random().below(150),
        write_fails: if world.random().chance(500) { 2 } else { 0 },
    };
    for _ in 0..60 {
        let ids: Vec<u64> = world.servers.keys().copied().collect();
        let any = ids[usize::try_from(world.random().below(ids.len() as u64)).unwrap()];
        match world.random().below(12) {
            0 | 1 => world.crash(any),
            2..=4 if world.servers[&any].core.is_none() => world.start(any),
            5 => {
                let side = ids.iter().copied().filter(|_| world.random().chance(400)).collect();
                world.cut = side;
            }
            6 => world.cut.clear(),
            7 if changes && next_server < 20 => {
                world.join(next_server);
                next_server += 1;
            }
            8 if changes => {
                let rest: Vec<u64> = world.members().filter(|id| !removed.contains(id)).collect();
                if rest.len() > 3 {
                    world.remove(rest[1]);
                    removed.insert(rest[1]);
                }
            }
            _ => _ = world.admit_one(),
        }
        let ms = 50 + world.random().below(600);
        world.pass(ms);
    }
    world.heal();
    world.settle();
    let leader = world.leader().unwrap();
    let nodes = world.core(leader).state().membership.nodes().len();
    let admitted = world.outcomes.len();
    assert!(nodes <= admitted + 1, "{nodes} nodes of {admitted} commands");
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_forked() {
    for seed in 0..seeds() {
        rough(seed, 3 + 2 * (seed % 2), false);
    }
}

#[test]
fn servers_come_and_go_under_faults() {
    for seed in 0..seeds() {
        rough(seed, 3, true);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::of(seed, 3);
        world.faults = Faults { lost: 100, doubled: 100, delay_ms: 100, write_fails: 0 };
        (0..20).for_each(|_| _ = world.admit_one());
        world.pass(20_000);
        (world.now_ms, world.describe())
    };
    assert_eq!(run(7), run(7));
}

#[test]
fn one_two_three_and_five_servers() {
    for servers in 1..=5 {
        let mut world = World::of(servers, servers);
        let request = world.admit_one();
        world.settle();
        assert_eq!(world.outcomes[&request], Ok(Reply::Done));
    }
}

#[test]
fn a_dead_leader_is_replaced_within_its_time() {
    for seed in 0..20 {
        let mut world = World::of(seed, 3);
        let dead = world.leader().unwrap();
        world.crash(dead);
        let began = world.now_ms;
        world.admit_one();
        world.until(10_000, "another leader", |world| world.leader().is_some() && world.waits() == 0);
        assert!(world.now_ms - began < 5_000, "{} ms", world.now_ms - began);
        world.start(dead);
        world.settle();
    }
}

#[test]
fn without_a_majority_nothing_is_agreed_and_it_goes_on_afterwards() {
    let mut world = World::of(1, 5);
    let leader = world.leader().unwrap();
    let others: Vec<u64> = world.servers.keys().copied().filter(|id| *id != leader).take(3).collect();
    others.iter().for_each(|id| world.crash(*id));
    world.pass(1_000);
    let request = world.admit_one();
    world.pass(30_000);
    assert_eq!(world.outcomes.get(&request), None);
    // Who cannot reach a majority leads no more, and says so.
    assert_eq!(world.leader(), None, "{}", world.describe());
    world.heal();
    world.settle();
    assert_eq!(world.outcomes[&request], Ok(Reply::Done));
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_learns_what_was_agreed_without_it() {
    let mut world = World::of(2, 3);
    let old = world.leader().unwrap();
    world.cut = [old].into();
    world.pass(5_000);
    assert_ne!(world.leader(), Some(old));
    assert!(!world.core(old).leads());
    for _ in 0..5 {
        world.admit_one();
    }
    world.until(10_000, "agreed", |world| world.waits() == 0);
    world.cut.clear();
    world.settle();
}

#[test]
fn a_joiner_after_compaction_gets_a_snapshot_with_the_state() {
    let mut world = World::of(3, 3);
    // More entries than stay in the log; the same few commands are repeated under new requests.
    for _ in 0..1500 {
        world.command(Command::Drain(super::drain::Command::Stop { node: node_id(1) }));
    }
    world.until(600_000, "agreed", |world| world.waits() == 0);
    let before = world.snapshots;
    let leader = world.leader().unwrap();
    assert!(world.core(leader).status().first > 500, "{:?}", world.core(leader));
    world.join(4);
    world.settle();
    world.until(10_000, "it has the state", |world| {
        let leader = world.leader().unwrap();
        world.core(4).state() == world.core(leader).state()
    });
    assert!(world.snapshots > before);
    // It survives a restart with what the snapshot brought.
    world.crash(4);
    world.start(4);
    world.settle();
}

#[test]
fn a_server_that_was_removed_disturbs_nobody() {
    let mut world = World::of(4, 4);
    let leader = world.leader().unwrap();
    let victim = world.members().find(|id| *id != leader).unwrap();
    world.remove(victim);
    world.until(20_000, "it is out", |world| {
        world.leader().is_some_and(|leader| !world.core(leader).status().conf.names(victim))
    });
    let term = world.core(world.leader().unwrap()).status().term;
    world.pass(30_000);
    assert_eq!(world.core(world.leader().unwrap()).status().term, term);
    world.admit_one();
    world.settle();
}

#[test]
fn a_leader_can_be_removed() {
    let mut world = World::of(5, 4);
    let victim = world.leader().unwrap();
    world.remove(victim);
    world.until(60_000, "another leads and it is out", |world| {
        world
            .leader()
            .is_some_and(|leader| leader != victim && !world.core(leader).status().conf.names(victim))
    });
    world.admit_one();
    world.settle();
}

#[test]
fn a_dead_server_is_replaced() {
    let mut world = World::of(6, 4);
    let leader = world.leader().unwrap();
    let dead = *world.core(leader).status().conf.voters.iter().find(|id| **id != leader).unwrap();
    world.crash(dead);
    world.until(60_000, "the server that followed votes instead", |world| {
        world.leader().is_some_and(|leader| {
            let conf = world.core(leader).status().conf;
            conf.voters.len() == 3 && !conf.voters.contains(&dead) && conf.voters_outgoing.is_empty()
        })
    });
    world.remove(dead);
    world.join(7);
    world.until(60_000, "the new one follows", |world| {
        world.leader().is_some_and(|leader| world.core(leader).status().conf.learners == [7])
    });
}

/// The entry that ends a change of several voters has no data. Whoever passes over entries without data first stays
/// between two sets of voters for ever.
#[test]
fn a_change_of_several_voters_ends() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.join(2);
        world.join(3);
        world.until(60_000, "three vote", |world| {
            world.servers.keys().all(|id| {
                let conf = world.core(*id).status().conf;
                conf.voters.len() == 3 && conf.voters_outgoing.is_empty()
            })
        });
    }
}

/// The leader that began such a change crashes at any moment of it: its successor ends it.
#[test]
fn a_change_of_several_voters_ends_without_the_leader_that_began_it() {
    for delay in 0..40 {
        let mut world = World::of(delay, 4);
        let old = world.leader().unwrap();
        let spare = *world.core(old).status().conf.learners.first().unwrap();
        let victim = *world.core(old).status().conf.voters.iter().find(|id| **id != old).unwrap();
        world.remove(victim);
        world.pass(100 + delay * 25);
        world.crash(old);
        world.until(60_000, "the spare votes and the change is over", |world| {
            world.leader().is_some_and(|leader| {
                let conf = world.core(leader).status().conf;
                conf.voters.contains(&spare) && !conf.names(victim) && conf.voters_outgoing.is_empty()
            })
        });
    }
}

#[test]
fn a_disk_that_fails_stops_its_server_and_nothing_else() {
    let mut world = World::of(8, 3);
    world.faults.write_fails = 30;
    for _ in 0..40 {
        world.admit_one();
        world.pass(200);
        for id in 1..=3 {
            if world.servers[&id].core.is_none() {
                world.start(id);
            }
        }
    }
    world.heal();
    world.settle();
}

#[test]
fn a_command_that_is_refused_is_refused_everywhere() {
    let mut world = World::of(9, 3);
    let unknown = membership::Command::Remove { id: node_id(99) };
    let request = world.command(Command::Membership(unknown));
    world.until(10_000, "it has an outcome", |world| world.waits() == 0);
    let refused = Refused::Membership(membership::Refused::UnknownNode);
    assert_eq!(world.outcomes[&request], Err(refused));
}
