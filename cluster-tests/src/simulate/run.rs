//! Several policies on several seeds, and what is said of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Serialize;

use super::outcome::{Outcome, mean, quantile};
use super::policy::Policy;
use super::workload::{Scenario, Workload};
use super::world::simulate;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// One scenario for each seed.
    pub scenarios: Vec<Scenario>,
    /// On each of them.
    pub policies: Vec<Policy>,
    /// How many at the same time.
    pub threads: usize,
}

/// One policy on all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Its name.
    pub policy: &'static str,
    /// Mean over all jobs of the response time by what the job would take alone on the fastest processor.
    pub mean_slowdown: f64,
    /// 99 % of all jobs have no more.
    pub p99: f64,
    /// The mean of those with 10 s of work or more.
    pub mean_long: f64,
    /// 99 % of those have no more.
    pub p99_long: f64,
    /// Completed moves for each job.
    pub migrations_per_job: f64,
    /// Moves back within a minute.
    pub returns: usize,
    /// Moves within the residency.
    pub hasty: usize,
    /// Part of all nodes' time in which more memory was used than there was.
    pub overcommit: f64,
    /// Time to the end of the last job of a burst by the least that is possible; not set where none was simulated.
    pub makespan_ratio: Option<f64>,
    /// Every slowdown, for plots.
    #[serde(skip)]
    pub slowdowns: Vec<f64>,
}

/// Runs every policy on every scenario; the makespan ratios are those of the scenarios themselves.
///
/// # Panics
/// When a run panics.
#[must_use]
pub fn run(options: &Options) -> Vec<Summary> {
    let workloads: Vec<Workload> = options.scenarios.iter().map(Workload::generate).collect();
    let seeds = workloads.len();
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<(Outcome, f64)>>> = Mutex::new(vec![None; seeds * options.policies.len()]);
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(policy) = options.policies.get(number / seeds.max(1)) else { break };
                    let workload = &workloads[number % seeds];
                    let outcome = simulate(&options.scenarios[number % seeds], workload, *policy);
                    let ratio = outcome.makespan_s / workload.makespan_min_s();
                    outcomes.lock().expect("no run panicked")[number] = Some((outcome, ratio));
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("no run panicked");
    let of = |number: usize| outcomes[number * seeds..][..seeds].iter().flatten().collect::<Vec<_>>();
    options.policies.iter().enumerate().map(|(number, policy)| summary(*policy, &of(number))).collect()
}

fn summary(policy: Policy, outcomes: &[&(Outcome, f64)]) -> Summary {
    let slowdowns: Vec<f64> = outcomes.iter().flat_map(|(outcome, _)| outcome.slowdowns.clone()).collect();
    let long: Vec<f64> = outcomes.iter().flat_map(|(outcome, _)| outcome.of_long()).collect();
    let migrations: usize = outcomes.iter().map(|(outcome, _)| outcome.migrations).sum();
    let over = |value: fn(&(Outcome, f64)) -> f64| {
        mean(&outcomes.iter().map(|outcome| value(outcome)).collect::<Vec<_>>())
    };
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let migrations_per_job = migrations as f64 / slowdowns.len().max(1) as f64;
    Summary {
        policy: policy.name(),
        mean_slowdown: mean(&slowdowns),
        p99: quantile(&slowdowns, 0.99),
        mean_long: mean(&long),
        p99_long: quantile(&long, 0.99),
        migrations_per_job,
        returns: outcomes.iter().map(|(outcome, _)| outcome.returns).sum(),
        hasty: outcomes.iter().map(|(outcome, _)| outcome.hasty).sum(),
        overcommit: over(|(outcome, _)| outcome.overcommit),
        makespan_ratio: Some(over(|(_, ratio)| *ratio)),
        slowdowns,
    }
}
