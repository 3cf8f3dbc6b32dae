//! A program that is away, and what must hold when the fault is over.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Lab, Program, Running, User, programs};
use cluster_tests::support::{migrate, nobody_is_away, place, wait_for};

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

/// For all the records that are left.
const RUN_TIME_MAX: Duration = Duration::from_secs(300);
