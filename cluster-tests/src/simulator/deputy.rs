//! Calls at home: those of bodies that are away, and the program's own while it is here.

use std::time::Duration;

use ipc_home::replies::{Asked, Replies};
use ipc_home::residence::Verdict;
use migration::handoff::{Incarnation, Seat};

use super::guest::COMPUTE_MS_MAX;
use super::home::{Home, Original};
use super::plant::Bug;
use super::points::Point;
use super::stage::Stage;
use super::witness::Job;
use super::word::{Address, Call, Timer, Word};

impl Home {
    /// A body makes a call.
    pub(super) fn serve(&mut self, stage: &mut Stage, from: u64, call: Call) {
        if self.original == Original::Ended {
            return;
        }
        let before = self.residence.clone();
        let (verdict, actions) = self.residence.called(Seat::Guest(Incarnation(from)), call.epoch);
        if stage.has(Bug::TakenBackAfterCalls) {
            self.residence = before;
        } else {
            if stage.has(Bug::RepliesAreForgotten) && !actions.is_empty() {
                self.replies.fill(Replies::default());
            }
            self.act(stage, actions);
        }
        if verdict == Verdict::Fence && !stage.has(Bug::NobodyIsFenced) {
            return stage.send(Address::Guest(from), Word::Fenced(call.epoch));
        }
        let Call { thread, seq, .. } = call;
        let kept = if stage.has(Bug::RepliesAreShared) { 0 } else { thread };
        let is_under_way = self.under_way[thread].is_some_and(|other| other.seq == seq);
        match self.replies[kept].asked(seq, is_under_way) {
            Asked::New => self.begin_call(stage, call),
            Asked::Answered(_) if stage.has(Bug::RepeatsAreExecuted) => self.begin_call(stage, call),
            Asked::Answered(_) if stage.has(Bug::RepliesAreSentOnce) => {}
            Asked::Answered(reply) => {
                let reply = *reply;
                stage.send(Address::Guest(from), Word::Return { thread, seq, reply });
            }
            Asked::UnderWay | Asked::Stale => {}
        }
    }

    fn begin_call(&mut self, stage: &mut Stage, call: Call) {
        let Call { thread, seq, .. } = call;
        self.under_way[thread] = Some(call);
        let blocks = stage.hits(Point::CallBlocks);
        let time = if blocks { stage.while_ms(100, 4_000) } else { AT_ONCE };
        stage.after(time, Timer::CallDone { thread, seq });
    }

    /// It is executed, in the one instant in which it takes effect.
    pub(super) fn call_done(&mut self, stage: &mut Stage, thread: usize, seq: u64) {
        let Some(call) = self.under_way[thread].take_if(|call| call.seq == seq) else { return };
        let reply = stage.witness.execute(self.family, &call);
        let kept = if stage.has(Bug::RepliesAreShared) { 0 } else { thread };
        self.replies[kept].answered(seq, reply);
        match (self.residence.seat(), &mut self.original) {
            (_, Original::Runs(body)) => {
                let before = body.threads[thread];
                if body.threads[thread].learn(seq, reply) {
                    stage.witness.learn(self.family, thread, &before, reply);
                    self.compute(stage, thread);
                }
            }
            (Seat::Guest(Incarnation(to)), _) => {
                stage.send(Address::Guest(to), Word::Return { thread, seq, reply });
            }
            (Seat::Home, _) => {}
        }
        if stage.witness.is_over(self.family) {
            self.end(stage, Job::Exited);
        }
    }

    /// The program runs here; calls that it was in while it was away end, go on, or are made.
    pub(super) fn let_go(&mut self, stage: &mut Stage) {
        self.run += 1;
        let Original::Runs(body) = &mut self.original else { return };
        for (number, thread) in body.threads.iter_mut().enumerate() {
            let known =
                self.replies[number].to(thread.seq()).copied().filter(|_| thread.outstanding.is_some());
            if let Some(reply) = known {
                stage.witness.learn(self.family, number, thread, reply);
                thread.learn(thread.seq(), reply);
            }
        }
        let threads = body.threads.clone();
        for (number, thread) in threads.iter().enumerate() {
            match thread.outstanding {
                None => self.compute(stage, number),
                Some(_) if self.under_way[number].is_some_and(|call| call.seq == thread.seq()) => {}
                Some(_) => self.call_natively(stage, number),
            }
        }
    }

    fn compute(&self, stage: &mut Stage, thread: usize) {
        let Original::Runs(body) = &self.original else { return };
        if !body.threads[thread].is_over {
            let time = stage.while_ms(1, COMPUTE_MS_MAX);
            stage.after(time, Timer::Compute { thread, run: self.run });
        }
    }

    pub(super) fn call_natively(&mut self, stage: &mut Stage, thread: usize) {
        let epoch = self.residence.epoch();
        let Original::Runs(body) = &mut self.original else { return };
        let caller = &mut body.threads[thread];
        let asked = *caller.outstanding.get_or_insert_with(|| stage.random.next());
        let (seq, history) = (caller.seq(), caller.history);
        self.begin_call(stage, Call { epoch, thread, seq, asked, history });
    }
}

/// What a call takes that does not block.
const AT_ONCE: Duration = Duration::from_micros(50);
