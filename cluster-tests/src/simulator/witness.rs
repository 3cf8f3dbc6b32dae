//! Sees everything and says what must never be: the ledger of each family's calls, the epochs granted, the end of each job.

use std::collections::BTreeMap;

use migration::handoff::Seat;
use transport::Epoch;

use super::body::{Body, Reply, Thread};
use super::random::mix;
use super::word::Call;

/// What becomes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Runs,
    Exited,
    Killed,
    /// With status 75 and a reason.
    Lost,
}

#[derive(Clone, Debug, Default)]
struct Ledger {
    asked: Vec<u64>,
    history: u64,
    is_over: bool,
}

#[derive(Clone, Debug)]
struct Family {
    threads: Vec<Ledger>,
    granted: BTreeMap<Epoch, Seat>,
    job: Job,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Witness {
    families: Vec<Family>,
    /// The first thing that was wrong.
    pub(super) wrong: Option<String>,
    /// Programs are to come to their end.
    pub(super) is_enough: bool,
    pub(super) calls: u64,
    pub(super) moves: u64,
}

impl Witness {
    pub(super) fn add(&mut self, threads: usize) {
        let threads = vec![Ledger::default(); threads];
        self.families.push(Family { threads, granted: BTreeMap::new(), job: Job::Runs });
    }

    pub(super) fn complain(&mut self, wrong: impl FnOnce() -> String) {
        self.wrong.get_or_insert_with(wrong);
    }

    pub(super) fn job(&self, family: usize) -> Job {
        self.families[family].job
    }

    /// Home executes a call: each once, in order, and for the one body whose history is that of the ledger.
    pub(super) fn execute(&mut self, family: usize, call: &Call) -> Reply {
        let Family { threads, job, .. } = &mut self.families[family];
        let ledger = &mut threads[call.thread];
        let done = ledger.asked.len() as u64;
        if call.seq != done + 1 || call.history != ledger.history || *job != Job::Runs {
            let wrong =
                format!("call {call:?} is executed after {done} calls of {:x}, {job:?}", ledger.history);
            self.complain(|| wrong);
            return Reply::default();
        }
        ledger.asked.push(call.asked);
        ledger.history = mix(ledger.history, call.asked);
        ledger.is_over = self.is_enough;
        self.calls += 1;
        Reply { value: mix(call.asked, 5), is_last: self.is_enough }
    }

    /// A thread is about to learn the reply to its call: it must be the one to that call.
    pub(super) fn learn(&mut self, family: usize, number: usize, thread: &Thread, reply: Reply) {
        let ledger = &self.families[family].threads[number];
        let executed = usize::try_from(thread.calls).ok().and_then(|calls| ledger.asked.get(calls)).copied();
        if executed.is_none()
            || executed != thread.outstanding
            || executed.map(|asked| mix(asked, 5)) != Some(reply.value)
        {
            let wrong =
                format!("thread {number} is told {reply:?} for {thread:?}, executed was {executed:?}");
            self.complain(|| wrong);
        }
    }

    /// Home tells a seat that this epoch counts there.
    pub(super) fn grant(&mut self, family: usize, epoch: Epoch, seat: Seat) {
        let former = *self.families[family].granted.entry(epoch).or_insert(seat);
        if former != seat {
            self.complain(|| format!("epoch {epoch} is granted to {former:?} and to {seat:?}"));
        }
    }

    pub(super) fn was_granted(&self, family: usize, epoch: Epoch, seat: Seat) -> bool {
        self.families[family].granted.get(&epoch) == Some(&seat)
    }

    /// The body that counts must be the one that the ledger tells of.
    pub(super) fn compare(&mut self, family: usize, body: &Body) {
        let Family { threads, job, .. } = &self.families[family];
        if *job != Job::Runs {
            return;
        }
        let agrees = |(thread, ledger): (&Thread, &Ledger)| {
            let done = ledger.asked.len() as u64;
            let ahead = thread.outstanding.map(|asked| mix(thread.history, asked));
            thread.calls == done && thread.history == ledger.history
                || thread.calls + 1 == done && ahead == Some(ledger.history)
        };
        if !body.threads.iter().zip(threads).all(agrees) {
            let wrong = format!("the body that counts is {body:?}, its ledger {threads:?}");
            self.complain(|| wrong);
        }
    }

    pub(super) fn is_over(&self, family: usize) -> bool {
        self.families[family].threads.iter().all(|ledger| ledger.is_over)
    }

    /// A job ends, once.
    pub(super) fn end(&mut self, family: usize, job: Job) {
        let before = std::mem::replace(&mut self.families[family].job, job);
        if before != Job::Runs {
            self.complain(|| format!("a job that is {before:?} becomes {job:?}"));
        }
    }
}
