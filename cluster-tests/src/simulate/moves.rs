//! A move of a simulated job: its memory is copied while it runs, it stands still, it goes on elsewhere.

use node_agent::balance::Cause;

use super::machine::Stage;
use super::world::{Event, World, node_number};

impl World<'_> {
    /// Begins to copy a job to a node that has promised room.
    pub(super) fn begin_move(&mut self, job: usize, to: usize, cause: Cause) {
        self.jobs[job].cause = cause;
        let mem_mib = self.workload.jobs[job].mem_mib;
        let (from, now) = (self.jobs[job].node, self.now());
        let key = (node_number(from), job as u64);
        assert!(self.machines[to].desk.begin(key, now), "what was promised just now holds");
        self.account(to);
        self.machines[to].landing_mib += mem_mib;
        self.reschedule(to);
        self.machines[from].leaving += 1;
        self.machines[from].brake.note(now);
        self.jobs[job].stage = Stage::Copying(to);
        let copied_s = self.now_s + PRE_COPY * mem_mib / BANDWIDTH_MIB_S;
        self.schedule(copied_s, Event::Freeze { job });
    }

    pub(super) fn freeze(&mut self, job: usize) {
        // A job that has ended meanwhile has taken its transfer back.
        let Stage::Copying(to) = self.jobs[job].stage else { return };
        self.leave(job);
        self.jobs[job].stage = Stage::Frozen(to);
        let frozen_s = FREEZE_S + FROZEN_PART * self.workload.jobs[job].mem_mib / BANDWIDTH_MIB_S;
        self.schedule(self.now_s + frozen_s, Event::Land { job });
    }

    pub(super) fn land(&mut self, job: usize) {
        let Stage::Frozen(to) = self.jobs[job].stage else { unreachable!("only a frozen job lands") };
        let from = self.jobs[job].node;
        self.transfer_over(job, from, to);
        self.count_move(job, from, to);
        let now = self.now();
        self.jobs[job].journey.moved(node_number(from), now);
        self.jobs[job].moved_s = Some(self.now_s);
        self.enter(job, to);
    }

    pub(super) fn transfer_over(&mut self, job: usize, from: usize, to: usize) {
        self.account(to);
        let target = &mut self.machines[to];
        target.landing_mib = (target.landing_mib - self.workload.jobs[job].mem_mib).max(0.0);
        target.desk.release((node_number(from), job as u64));
        self.machines[from].leaving -= 1;
    }

    fn count_move(&mut self, job: usize, from: usize, to: usize) {
        self.migrations += 1;
        let now_s = self.now_s;
        self.left[job].push((from, now_s));
        // Who has to make room may go anywhere, and soon.
        if self.jobs[job].cause != Cause::Benefit {
            return;
        }
        let recently = |(node, at_s): &(usize, f64)| *node == to && now_s - at_s < NO_RETURN_S;
        self.returns += usize::from(self.left[job].iter().any(recently));
        let hasty = self.jobs[job].moved_s.is_some_and(|moved_s| now_s - moved_s < RESIDENCY_S);
        self.hasty += usize::from(hasty);
    }
}

/// Throughput of a move over 10 Gbit/s, in MiB/s.
const BANDWIDTH_MIB_S: f64 = 1000.0;

/// What pre-copy sends of each byte.
const PRE_COPY: f64 = 1.15;

/// Fixed part of a freeze, in seconds.
const FREEZE_S: f64 = 0.05;

/// Part of the memory that is sent while the job stands still.
pub(super) const FROZEN_PART: f64 = 0.1;

/// A return within this time is a return too early, in seconds.
const NO_RETURN_S: f64 = 60.0;

/// A move within this time after the last is a move too early, in seconds.
const RESIDENCY_S: f64 = 5.0;
