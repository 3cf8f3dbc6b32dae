//! What holds for every input.

use proptest::prelude::*;

use super::*;
use crate::balance::placement::Offer;

fn loads() -> impl Strategy<Value = (f64, f64, f64, f64)> {
    (1.0_f64..64.0, 0.2_f64..4.0, 0.0_f64..200.0, 0.0_f64..12_000.0)
}

fn loaded(number: u32, (cores, speed, demand, used_mib): (f64, f64, f64, f64)) -> NodeLoad {
    node(number, cores, speed).loaded(demand, used_mib).unwrap()
}

fn benefit(here: &NodeLoad, there: &NodeLoad, age_s: f64, mem_mib: f64, ties: Ties<'_>) -> f64 {
    let (journey, tunables) = (Journey::default(), Tunables::default());
    let process = Process { age_s, mem_mib, ..process(1, ties, &journey) };
    let estimate = migration::estimate(&process, here, there, &FAR, tunables.benefit_min_s, &tunables);
    estimate.benefit_s
}

/// Rounding of a benefit, in seconds.
const ROUNDING_S: f64 = 1e-6;

proptest! {
    #[test]
    fn i05_no_move_without_benefit_under_the_targets_numbers(
        here in loads(), claimed in loads(), truth in loads(), age_s in 0.0_f64..1000.0, mem_mib in 1.0_f64..4000.0
    ) {
        let tunables = Tunables::default();
        let journey = Journey::default();
        let here = loaded(1, here).with(1.0, mem_mib);
        let process = Process { age_s, mem_mib, ..process(1, Ties::only_home(NodeNumber(1)), &journey) };
        let window = [loaded(2, claimed)];
        let truth = loaded(2, truth);
        for proposal in migration::rank(&here, &[process], &around(&window, &[], seconds(9.0), &tunables)) {
            prop_assert!(proposal.estimate.benefit_s > proposal.estimate.threshold_s);
            let claim = Claim { key: (NodeNumber(1), 1), demand: 1.0, mem_mib, now: seconds(9.0) };
            let mut desk = Desk::default();
            let answer = migration::answer(
                &mut desk, &claim, &truth, &process, &here, &FAR, tunables.benefit_min_s, &tunables,
            );
            if let Ok(confirmed) = answer {
                prop_assert!(confirmed.benefit_s > confirmed.threshold_s);
                prop_assert!(truth.with(0.0, mem_mib).memory_share() <= tunables.memory_hard);
            }
        }
    }

    #[test]
    fn i04_promises_never_exceed_the_memory(
        asked in proptest::collection::vec((0_u64..8, 0.0_f64..3000.0, 0.0_f64..4.0), 1..40)
    ) {
        let tunables = Tunables::default();
        let target = node(1, 64.0, 1.0).loaded(0.0, 1000.0).unwrap();
        let (mut desk, mut now_s) = (Desk::default(), 0.0);
        for (number, mem_mib, later_s) in asked {
            now_s += later_s;
            let claim = Claim { key: (NodeNumber(2), number), demand: 1.0, mem_mib, now: seconds(now_s) };
            let _ = desk.admit(&claim, &target, tunables.memory_hard, &tunables, |_| true);
            prop_assert!(desk.load(&target, seconds(now_s)).memory_share() <= tunables.memory_hard);
            prop_assert!(desk.arriving(seconds(now_s)) <= tunables::in_slots(64.0));
        }
    }

    #[test]
    fn i12_the_same_input_makes_the_same_decision(
        home in loads(), nodes in proptest::collection::vec(loads(), 0..40), seed in any::<u64>()
    ) {
        let tunables = Tunables::default();
        let home = loaded(1, home);
        let nodes: Vec<NodeLoad> =
            nodes.into_iter().zip(2..).map(|(load, number)| loaded(number, load)).collect();
        let program = Program { demand: 1.0, mem_mib: 256.0, ties: Ties::only_home(NodeNumber(1)) };
        let offers = |seed| -> Vec<Offer> {
            placement::rank(&program, &home, &nodes, &FAR, &mut Random::new(seed), &tunables)
        };
        prop_assert_eq!(offers(seed), offers(seed));
        for offer in offers(seed) {
            prop_assert!(offer.cost.is_finite() && offer.cost < tunables.remote_below * offer.at_home);
        }
        let journey = Journey::default();
        let process = process(1, Ties::only_home(NodeNumber(1)), &journey);
        let here = home.with(1.0, process.mem_mib);
        for proposal in migration::rank(&here, &[process], &around(&nodes, &[], seconds(9.0), &tunables)) {
            prop_assert!(proposal.estimate.benefit_s.is_finite() && proposal.estimate.merit().is_finite());
        }
    }

    #[test]
    fn i13_more_load_never_attracts(
        here in loads(), there in loads(), age_s in 0.0_f64..1000.0, more in 0.0_f64..50.0
    ) {
        let here = loaded(1, here).with(1.0, 300.0);
        let there = loaded(2, there);
        let ties = Ties::only_home(NodeNumber(1));
        let before = benefit(&here, &there, age_s, 300.0, ties);
        prop_assert!(benefit(&here, &there.with(more, 0.0), age_s, 300.0, ties) <= before + ROUNDING_S);
    }

    /// Of a node that has memory: from one that has none, more memory that leaves is more relief.
    #[test]
    fn i13_more_memory_to_move_is_never_better(
        here in loads(), there in loads(), age_s in 0.0_f64..1000.0, mem_mib in 1.0_f64..4000.0, more in 0.0_f64..4000.0
    ) {
        let here = loaded(1, (here.0, here.1, here.2 + 1.0, here.3.min(7900.0)));
        let there = loaded(2, there);
        let ties = Ties::only_home(NodeNumber(1));
        let before = benefit(&here, &there, age_s, mem_mib, ties);
        prop_assert!(benefit(&here, &there, age_s, mem_mib + more, ties) <= before + ROUNDING_S);
    }

    #[test]
    fn i13_more_calls_never_drive_a_process_from_home(
        home in loads(), guest in loads(), age_s in 0.0_f64..1000.0, calls in 0.0_f64..30_000.0, more in 0.0_f64..30_000.0
    ) {
        let (home, guest) = (loaded(1, home), loaded(2, guest));
        let ties = |calls_per_cpu_s| Ties { home: NodeNumber(1), calls_per_cpu_s, peers: &[] };
        let away = |calls| benefit(&home.with(1.0, 300.0), &guest, age_s, 300.0, ties(calls));
        prop_assert!(away(calls + more) <= away(calls) + ROUNDING_S);
        let back = |calls| benefit(&guest.with(1.0, 300.0), &home, age_s, 300.0, ties(calls));
        prop_assert!(back(calls + more) >= back(calls) - ROUNDING_S);
    }
}
