//! What came of one run.

use super::workload::Workload;

/// The outcome of one policy on one workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Response time of each job by what it would take alone on the fastest processor.
    pub slowdowns: Vec<f64>,
    /// Which of them have [`LONG_S`] of work or more.
    pub long: Vec<bool>,
    /// From the first arrival to the end of the last job, in seconds.
    pub makespan_s: f64,
    /// Moves that were completed.
    pub migrations: usize,
    /// Moves to a node that the process had left within a minute before.
    pub returns: usize,
    /// Moves within the residency.
    pub hasty: usize,
    /// Time for which nodes used more memory than they had, by nodes and length of the window.
    pub overcommit: f64,
}

impl Outcome {
    /// The outcome of jobs that ended then.
    #[must_use]
    pub fn new(workload: &Workload, finishes_s: &[f64]) -> Outcome {
        let speed = workload.speed_max();
        let jobs = || workload.jobs.iter().zip(finishes_s);
        let first_s = workload.jobs.first().map_or(0.0, |job| job.arrival_s);
        Outcome {
            slowdowns: jobs().map(|(job, end_s)| (end_s - job.arrival_s) * speed / job.work_s).collect(),
            long: workload.jobs.iter().map(|job| job.work_s >= LONG_S).collect(),
            makespan_s: finishes_s.iter().fold(0.0, |last, end_s| end_s.max(last)) - first_s,
            ..Outcome::default()
        }
    }

    /// Slowdowns of the long jobs.
    #[must_use]
    pub fn of_long(&self) -> Vec<f64> {
        let all = self.slowdowns.iter().zip(&self.long);
        all.filter(|(_, long)| **long).map(|(slowdown, _)| *slowdown).collect()
    }
}

/// The mean; 0 of nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let count = values.len() as f64;
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / count }
}

/// The value that this part of all does not exceed; 0 of nothing.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in the list"
    )]
    let place = (sorted.len() as f64 * part) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Jobs of this much work are long, in CPU-seconds.
pub const LONG_S: f64 = 10.0;
