//! Orders that come while another one is being carried out.

use cluster_tests::lab::{Ground, Program, User};
use cluster_tests::support::{PATIENCE, migrate, nobody_is_away, times, wait_for};

use super::case::{Ledger, cluster};

/// Of two moves asked for at once one is made, and the other one is told why not; a kill always wins.
pub(crate) fn orders_that_cross(ground: Ground) {
    let lab = cluster(ground, 3);
    let home = lab.node(1);
    let ledger = Ledger::start(&lab, times(8000, 40_000));
    let pid = ledger.pid().to_string();
    let mut refused = 0;
    for round in 0..times(6, 50) {
        let orders = ["n2", "n3"].map(|to| home.start_homing(&["move", &pid, to]).unwrap());
        let ends = orders.map(|order| order.finish(PATIENCE).unwrap());
        let codes = ends.each_ref().map(|end| end.code);
        for end in ends.iter().filter(|end| end.code != 0) {
            let reason = String::from_utf8_lossy(&end.errors).into_owned();
            assert!(reason.contains("moving") || reason.contains("moved"), "round {round}: {reason}");
            refused += 1;
        }
        assert!(codes.contains(&0), "round {round}: {codes:?}");
        ledger.wait_for_more();
    }
    println!("{refused} of the orders came too early");
    ledger.ends_well();

    for round in 0..times(6, 50) {
        let sleeper = home.exec(&Program::new("sleep").args(&["300"]).user(User::Worker)).unwrap();
        let pid = sleeper.pid().to_string();
        if round % 2 == 1 {
            migrate(&lab, sleeper.pid(), "n2");
        }
        let order = home.start_homing(&["move", &pid, "n3"]).unwrap();
        cluster_tests::lab::kill(sleeper.outer_pid());
        assert_eq!(sleeper.finish(PATIENCE).unwrap().code, KILLED);
        order.finish(PATIENCE).unwrap();
        wait_for("the end of its body", || nobody_is_away(&lab));
    }
}

/// As a shell says it: 128 and SIGKILL.
const KILLED: i32 = 137;
