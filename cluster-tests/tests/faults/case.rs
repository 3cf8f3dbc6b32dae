//! A program that is away, and what must hold when the fault is over.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User, control_groups, programs};
use cluster_tests::support::{self, migrate, nobody_is_away, place, wait_for};

/// A cluster of `count` nodes, of which nothing may be left when a test is over.
pub(crate) fn cluster(ground: Ground, count: u8) -> Census {
    let groups = control_groups();
    let lab = support::cluster(ground, count);
    let mounts = mounts(&lab);
    Census { lab: Some(lab), groups, mounts }
}

/// The lab of one test. When the test has succeeded, it is looked for what is left: at the nodes of programs that are
/// long gone, and on this machine of the nodes.
pub(crate) struct Census {
    lab: Option<Lab>,
    /// Before it was made.
    groups: BTreeSet<PathBuf>,
    /// Of each node, before anything happened.
    mounts: Vec<usize>,
}

impl Deref for Census {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.lab.as_ref().expect("taken only by drop")
    }
}

impl DerefMut for Census {
    fn deref_mut(&mut self) -> &mut Lab {
        self.lab.as_mut().expect("taken only by drop")
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        if thread::panicking() {
            return;
        }
        wait_for("the end of all wardens and bodies", || {
            nobody_is_away(&lab) && lab.nodes().iter().all(|node| node.home_wardens().is_empty())
        });
        let deadline = Instant::now() + HELD_MAX;
        loop {
            let held: Vec<String> = lab.nodes().iter().flat_map(|node| node.held().unwrap()).collect();
            if held.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "held after {HELD_MAX:?}: {held:#?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(mounts(&lab), self.mounts, "mounts of the nodes");
        let traces = lab.traces().unwrap();
        drop(lab);
        let left = traces.left_after(support::PATIENCE);
        assert!(left.is_empty(), "left on this machine: {left:?}");
        let groups = control_groups();
        assert!(groups.is_subset(&self.groups), "control groups: {groups:?}");
    }
}

fn mounts(lab: &Lab) -> Vec<usize> {
    lab.nodes().iter().map(|node| node.mounts().unwrap()).collect()
}

/// A program of `n1` that checks itself: it writes numbered records to a file, a pipe and a connection.
pub(crate) struct Ledger<'a> {
    lab: &'a Lab,
    running: Running,
    records: usize,
}

impl<'a> Ledger<'a> {
    /// At home.
    pub(crate) fn start(lab: &'a Lab, records: usize) -> Ledger<'a> {
        let home = lab.node(1);
        home.install(&programs().unwrap().join("ledger"), "/tmp/ledger").unwrap();
        let ledger = Program::new("/tmp/ledger").args(&["/tmp/records", &records.to_string()]);
        let running = home.exec(&ledger.user(User::Worker)).unwrap();
        Ledger { lab, running, records }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// How many records it has written.
    pub(crate) fn written(&self) -> usize {
        self.running.output_so_far().iter().filter(|&&byte| byte == b'\n').count()
    }

    /// True when it has written all of them.
    pub(crate) fn has_ended(&self) -> bool {
        self.running.whole().has_ended()
    }

    /// Waits until it has written some more.
    #[track_caller]
    pub(crate) fn wait_for_more(&self) {
        let enough = (self.written() + 10).min(self.records);
        wait_for("more records", || self.written() >= enough);
    }

    /// Brings it home if it is away; the next move has a home warden of its own.
    #[track_caller]
    pub(crate) fn bring_home(&self) {
        if place(self.lab, self.pid()).is_none_or(|(at, _)| at != "n1") {
            migrate(self.lab, self.pid(), "home");
        }
        wait_for("the end of the home warden", || self.lab.node(1).home_wardens().is_empty());
    }

    /// The longest time for which it writes nothing, within so long a time from now.
    pub(crate) fn longest_gap(&self, time: Duration) -> Duration {
        let (began, mut last, mut seen, mut longest) = (Instant::now(), Instant::now(), 0, Duration::ZERO);
        while began.elapsed() < time {
            let written = self.written();
            if written != seen {
                longest = longest.max(last.elapsed());
                (seen, last) = (written, Instant::now());
            }
            thread::sleep(Duration::from_millis(1));
        }
        longest.max(last.elapsed())
    }

    /// One more move succeeds, then it comes home and ends as it does when nobody disturbs it, and nothing is left.
    pub(crate) fn ends_well(self) {
        self.wait_for_more();
        for to in ["n3", "home"] {
            migrate(self.lab, self.pid(), to);
            assert!(self.written() < self.records, "it has ended before the fault was over");
        }
        let Ledger { lab, running, records } = self;
        let finished = running.finish(RUN_TIME_MAX).unwrap();
        assert_eq!(finished.code, 0, "{} {}", finished.text(), String::from_utf8_lossy(&finished.errors));
        let text = finished.text();
        let numbers = text.lines().map(|line| line.split(' ').nth(1).and_then(|word| word.parse().ok()));
        assert!(numbers.eq((1..=records).map(Some)), "records are missing, double or out of order");
        wait_for("the end of what is left", || {
            nobody_is_away(lab) && lab.nodes().iter().all(|node| node.home_wardens().is_empty())
        });
    }
}

/// For what ends with a family, but not at once.
const HELD_MAX: Duration = Duration::from_secs(20);

/// For all the records that are left.
const RUN_TIME_MAX: Duration = Duration::from_secs(300);
