//! What cannot move is refused before it is stopped, with the reason.

use std::fs;

use cluster_tests::lab::{Ground, Program, User};
use cluster_tests::programs::nginx_configuration;
use cluster_tests::support::{PATIENCE, cluster, wait_for};

use super::plain::page;

/// As it is installed, nginx has a master and workers that share writable memory.
pub(crate) fn nginx(ground: Ground) {
    let lab = cluster(ground, 2);
    let home = lab.node(1);
    home.write_file("/tmp/page", b"served by n1\n").unwrap();
    home.write_file("/tmp/nginx.conf", nginx_configuration("access_log off;").as_bytes()).unwrap();
    let nginx = Program::new("nginx").args(&["-e", "stderr", "-c", "/tmp/nginx.conf", "-g", "daemon off;"]);
    let master = home.exec(&nginx.user(User::Root)).unwrap();
    wait_for("nginx's answer", || page(home.address()).is_some());
    let worker = master.child("nginx", PATIENCE).unwrap();
    for part in [worker, master.whole()] {
        let is_left_alone = || {
            let before = (stops(part.outer_pid), maps(part.outer_pid));
            let refused = home.homing(&["move", &part.pid.to_string(), "n2"]).unwrap();
            let reason = String::from_utf8_lossy(&refused.errors).into_owned();
            assert_eq!(refused.code, REFUSED, "{reason}");
            assert!(reason.contains("/dev/zero (deleted)"), "{reason}");
            assert!(reason.contains("writable memory shared"), "{reason}");
            (stops(part.outer_pid), maps(part.outer_pid)) == before
        };
        // It may run for reasons of its own; a stop would show each time.
        assert!((0..ATTEMPTS).any(|_| is_left_alone()), "process {} has been stopped", part.pid);
        let why = home.homing(&["why", &part.pid.to_string()]).unwrap().text();
        assert!(why.contains("/dev/zero (deleted)"), "{why}");
        assert_eq!(page(home.address()).as_deref(), Some("served by n1\n"));
    }
    assert!(lab.node(2).bodies().unwrap().is_empty());
}

/// How often a process that waits has been made to run: a stop and its end are two more.
fn stops(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().filter(|line| line.contains("ctxt_switches")).collect()
}

fn maps(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap()
}

/// Refused moves during which it may happen to run.
const ATTEMPTS: u32 = 5;

/// Exit code: it cannot move now.
const REFUSED: i32 = 6;
