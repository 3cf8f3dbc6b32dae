//! Memory that is another one when it arrives.

use cluster_tests::lab::{Ground, Program, User, programs};
use cluster_tests::support::{PATIENCE, migrate, restart, times};

use super::case::{Ledger, cluster};

/// A bit of some batches of pages is flipped behind the digest: they are sent again. If all are, the move is called off,
/// and the program goes on where it was.
pub(crate) fn memory_damaged_on_its_way(ground: Ground) {
    let lab = cluster(ground, 3);
    lab.node(1).install(&programs().unwrap().join("memhash"), "/tmp/memhash").unwrap();
    restart(&lab, 1..=3, &[], &[("HOMING_FAIL", "pages:damage 50")]);
    let passes = times(150, 1500).to_string();
    let memhash = Program::new("/tmp/memhash").args(&["16", &passes]).user(User::Worker);
    let running = lab.node(1).exec(&memhash).unwrap();
    let mut moves = 0;
    'moves: loop {
        for to in ["n2", "n3", "home"] {
            let moved = lab.node(1).homing(&["move", &running.pid().to_string(), to]).unwrap();
            if running.whole().has_ended() {
                break 'moves;
            }
            assert_eq!(moved.code, 0, "{}", String::from_utf8_lossy(&moved.errors));
            moves += 1;
        }
    }
    let finished = running.finish(PATIENCE).unwrap();
    assert_eq!(finished.code, 0, "{}", finished.text());
    assert!(moves >= 3, "{moves} moves were too few");
    println!("{moves} moves with every fiftieth batch damaged: {}", finished.text().trim());

    restart(&lab, 1..=3, &[], &[("HOMING_FAIL", "pages:damage 1")]);
    let ledger = Ledger::start(&lab, 6000);
    ledger.wait_for_more();
    let refused = lab.node(1).homing(&["move", &ledger.pid().to_string(), "n2"]).unwrap();
    let reason = String::from_utf8_lossy(&refused.errors).into_owned();
    assert_eq!(refused.code, 1, "{reason}");
    assert!(reason.contains("damaged 3 times in a row"), "{reason}");
    ledger.wait_for_more();
    restart(&lab, 1..=3, &[], &[]);
    migrate(&lab, ledger.pid(), "n2");
    ledger.ends_well();
}
