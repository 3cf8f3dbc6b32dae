//! One shared machine of all processors: everybody gets the same share, on the fastest processors that are free, and
//! moving costs nothing. No memory, no calls, no messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::workload::Workload;

/// When each job would end there, in seconds.
#[must_use]
pub fn finishes_s(workload: &Workload) -> Vec<f64> {
    let mut speeds: Vec<f64> =
        workload.nodes.iter().flat_map(|node| vec![node.speed; node.cores as usize]).collect();
    speeds.sort_by(|a, b| b.total_cmp(a));
    let mut sums = vec![0.0];
    for speed in speeds {
        sums.push(sums[sums.len() - 1] + speed);
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = |jobs: usize| sums[jobs.min(sums.len() - 1)] / jobs as f64;
    let mut finishes = vec![0.0; workload.jobs.len()];
    // All get the same, so they end in the order of what they had to get.
    let mut running: BinaryHeap<Reverse<(Work, usize)>> = BinaryHeap::new();
    let (mut now_s, mut given_s) = (0.0, 0.0);
    let mut arrivals = workload.jobs.iter().enumerate().peekable();
    loop {
        let arrival = arrivals.peek().map(|(_, job)| job.arrival_s);
        let finish = running.peek().map(|Reverse((due, _))| now_s + (due.0 - given_s) / rate(running.len()));
        match (arrival, finish) {
            (None, None) => return finishes,
            (Some(arrival_s), finish) if finish.is_none_or(|finish_s| arrival_s <= finish_s) => {
                if !running.is_empty() {
                    given_s += (arrival_s - now_s) * rate(running.len());
                }
                now_s = arrival_s;
                if let Some((number, job)) = arrivals.next() {
                    running.push(Reverse((Work(given_s + job.work_s), number)));
                }
            }
            (_, Some(finish_s)) => {
                now_s = finish_s;
                if let Some(Reverse((due, number))) = running.pop() {
                    given_s = due.0;
                    finishes[number] = now_s;
                }
            }
            (Some(_), None) => unreachable!("an arrival comes before no finish"),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Work(f64);

impl Eq for Work {}

impl PartialOrd for Work {
    fn partial_cmp(&self, other: &Work) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Work {
    fn cmp(&self, other: &Work) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::workload::{JobSpec, NodeSpec};

    #[test]
    fn jobs_share_the_fastest_processors() {
        let node = |speed| NodeSpec { cores: 1, speed, mem_mib: 1.0 };
        let job = |arrival_s, work_s| JobSpec {
            arrival_s,
            home: 0,
            work_s,
            mem_mib: 1.0,
            calls_per_cpu_s: 0.0,
            peer: None,
        };
        let nodes = vec![node(1.0), node(2.0)];
        let workload = Workload { nodes, jobs: vec![job(0.0, 5.0), job(1.0, 1.5)] };
        // Alone at speed 2 for 1 s, then both at 1.5 until the second ends, then at 2 again.
        assert_eq!(finishes_s(&workload), [2.75, 2.0]);
    }
}
