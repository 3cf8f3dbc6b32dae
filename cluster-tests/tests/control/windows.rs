//! A warden dies at each named instant of a move at which the program can still go on where it was.

use std::time::Instant;

use cluster_tests::lab::{Ground, User};
use cluster_tests::support::{cluster, is_full, nobody_is_away, place, restart, wait_for};

use crate::kills::go;
use crate::work::Worker;

/// A way of moving, the node of the warden that dies, and when.
struct Window {
    from: &'static str,
    to: &'static str,
    node: usize,
    instant: &'static str,
}

const WINDOWS: &[Window] = &[
    Window { from: "home", to: "n2", node: 2, instant: "guest.prepare" },
    Window { from: "home", to: "n2", node: 1, instant: "home.prepared" },
    Window { from: "home", to: "n2", node: 2, instant: "guest.context" },
    Window { from: "home", to: "n2", node: 1, instant: "home.ready" },
    // The new epoch is on record, but the body has not done anything yet that anybody has seen.
    Window { from: "home", to: "n2", node: 1, instant: "home.committed" },
    Window { from: "home", to: "n2", node: 2, instant: "guest.start" },
    Window { from: "home", to: "n2", node: 1, instant: "home.running" },
    // The next guest has nothing yet that would be missed.
    Window { from: "n3", to: "n2", node: 2, instant: "guest.prepare" },
    Window { from: "n3", to: "n2", node: 2, instant: "guest.context" },
    // It counts there already, and is taken back.
    Window { from: "n3", to: "n2", node: 2, instant: "guest.start" },
];

const SHORT: &[(&str, &str)] =
    &[("home", "home.ready"), ("home", "home.committed"), ("home", "guest.start"), ("n3", "guest.start")];

pub(crate) fn a_warden_that_dies_in_any_window_harms_nothing() {
    let lab = cluster(Ground::Namespaces, 3);
    let worker = Worker::start(lab.node(1), "windows", User::Worker);
    // In the short form only where it is closest.
    let is_wanted = |window: &&Window| is_full() || SHORT.contains(&(window.from, window.instant));
    for Window { from, to, node, instant } in WINDOWS.iter().filter(is_wanted) {
        go(&lab, &worker, from);
        let epoch = lab.node(1).epoch(worker.pid());
        restart(&lab, *node..=*node, &[], &[("HOMING_FAIL", &format!("{instant}:kill"))]);
        let started = Instant::now();
        let moved = lab.node(1).homing(&["move", &worker.pid().to_string(), to]).unwrap();
        let (took, said) = (started.elapsed(), String::from_utf8_lossy(&moved.errors).into_owned());
        println!(
            "{instant} on the way from {from} to {to}: code {} after {took:.1?}: {}",
            moved.code,
            said.trim()
        );
        assert_eq!(moved.code, 1, "{said}");
        worker.wait_for_more();
        restart(&lab, *node..=*node, &[], &[]);
        let name = if *from == "home" { "n1" } else { from };
        wait_for("where it is", || place(&lab, worker.pid()).is_some_and(|(at, _)| at == name));
        // The first move after it works, and gets an epoch that nobody else had.
        go(&lab, &worker, to);
        assert!(lab.node(1).epoch(worker.pid()) > epoch);
    }
    go(&lab, &worker, "home");
    wait_for("the end of what is left at the guests", || nobody_is_away(&lab));
    println!("{} lines are those of the native run", worker.finish());
}
