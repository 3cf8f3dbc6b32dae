//! Deaths around a job.

use std::fs;

use cluster_tests::lab::{Ground, User, kill};
use cluster_tests::support::{PATIENCE, times, wait_for};

use crate::desk::Desk;

pub(crate) fn agents(ground: Ground) {
    let desk = Desk::new(ground, 1);
    for round in 0..times(2, 20) {
        // It notes each start, so that a second one would be seen.
        let script = format!(
            "echo start >>/tmp/starts{round}; seq 1 1000; until [ -e /tmp/go{round} ]; do sleep 0.01; done; seq 1 1000; exit 7"
        );
        desk.node().write_file("/tmp/script", script.as_bytes()).unwrap();
        desk.node().write_file(&format!("/tmp/starts{round}"), b"").unwrap();
        let job = desk.submit("--name it -- sh /tmp/script");
        let queued = desk.submit("--name next --after it -- echo next");
        let watchers = (round % 2 == 0).then(|| {
            desk.wait_for_state("it", "running");
            let waiter = desk.start_homing(&format!("wait {job}"));
            let follower = desk.start_homing(&format!("logs -f {job}"));
            follower.wait_for_output(PATIENCE, |output| output.ends_with(b"\n1000\n")).unwrap();
            wait_for("its question", || has_socket(waiter.outer_pid()));
            (waiter, follower)
        });
        kill(desk.node().agent_pid().unwrap());
        wait_for("the end of the agent", || desk.node().agent_pid().is_none());
        if round % 2 == 0 {
            // It ends while there is no agent at all.
            desk.node().write_file(&format!("/tmp/go{round}"), b"").unwrap();
            wait_for("the end of the program", || desk.count("/tmp/script") == 0);
        }
        desk.node().start_agent().unwrap();
        desk.node().write_file(&format!("/tmp/go{round}"), b"").unwrap();
        let native = desk.run_as(User::Worker, "sh -c \"seq 1 1000; seq 1 1000\"");
        if let Some((waiter, follower)) = watchers {
            assert_eq!(waiter.finish(PATIENCE).unwrap().code, 7, "{}", desk.logs());
            assert_eq!(follower.finish(PATIENCE).unwrap().output, native.output);
        }
        assert_eq!(desk.wait(&job), 7);
        let row = desk.row(&job);
        assert_eq!((&row["state"], &row["code"]), (&"failed".into(), &7.into()), "{row}");
        assert_eq!(desk.homing(&format!("logs {job}")).output, native.output);
        assert_eq!(desk.file(&format!("/tmp/starts{round}")), "start\n", "it ran once");
        assert_eq!(desk.wait(&queued), 143, "it waited for one that failed");
    }
}

pub(crate) fn parents(ground: Ground) {
    let desk = Desk::new(ground, 1);
    let job = desk.submit("--retries 1 -- sleep 4242");
    desk.wait_for_state(&job, "running");
    for attempt in 0..2 {
        wait_for("the attempt", || {
            let row = desk.row(&job);
            row["state"] == "running" && row["attempt"] == attempt
        });
        kill(parent(&desk));
        wait_for("the loss", || desk.row(&job)["attempt"] != attempt || desk.row(&job)["state"] == "lost");
    }
    assert_eq!(desk.wait(&job), 75, "{}", desk.logs());
    assert_eq!(desk.count("sleep 4242"), 0, "nothing of it is left");
}

pub(crate) fn has_socket(pid: u32) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links
        .filter_map(|link| fs::read_link(link.path()).ok())
        .any(|target| target.to_string_lossy().starts_with("socket:"))
}

/// The only job's parent, as this process numbers it.
fn parent(desk: &Desk) -> u32 {
    let mut found = None;
    wait_for("a job's parent", || {
        found = parents_of(desk).first().copied();
        found.is_some()
    });
    found.unwrap()
}

fn parents_of(desk: &Desk) -> Vec<u32> {
    let own = fs::read_link(format!("/proc/{}/ns/pid", desk.node().init_pid())).unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let there = fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespace == own);
        there && line.split('\0').nth(1) == Some("job-parent")
    };
    pids.filter(is_it).collect()
}
