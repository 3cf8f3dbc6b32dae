//! Compares ways to decide where jobs run, in virtual time: the real policy and the real gossip beside others.
//!
//! `cargo run --release -p cluster-tests --bin simulate -- --nodes 256 --load 0.7 --seeds 3 --policy all`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use cluster_tests::simulate::{Options, Policy, Scenario, Summary, gossip, plot, run};
use serde::Serialize;

const USAGE: &str =
    "usage: simulate [--nodes N] [--load PART] [--seeds N] [--first-seed N] [--policy NAME,...|all]
                [--window SECONDS] [--gossip SECONDS] [--no-ties] [--no-burst] [--json] [--plot DIR]
       simulate --gossip-ages N";

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    nodes: usize,
    load: f64,
    seeds: u64,
    first_seed: u64,
    window_s: f64,
    policies: Vec<Summary>,
}

struct Arguments {
    scenario: Scenario,
    first_seed: u64,
    seeds: u64,
    policies: Vec<Policy>,
    burst: bool,
    json: bool,
    plot: Option<PathBuf>,
    gossip_ages: Option<usize>,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(arguments) => report(&arguments),
        Err(error) => {
            eprintln!("simulate: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        scenario: Scenario::reference(256, 0.7, 1),
        first_seed: 1,
        seeds: 3,
        policies: Policy::ALL.to_vec(),
        burst: true,
        json: false,
        plot: None,
        gossip_ages: None,
    };
    let mut window_s = None;
    while let Some(flag) = given.next() {
        let mut value = || given.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--nodes" => arguments.scenario.nodes = count(&flag, &value()?, 1, 100_000)?,
            "--load" => arguments.scenario.load = number(&flag, &value()?, 0.01, 0.99)?,
            "--seeds" => arguments.seeds = count(&flag, &value()?, 1, 1000)? as u64,
            "--first-seed" => arguments.first_seed = count(&flag, &value()?, 0, 1_000_000)? as u64,
            "--window" => window_s = Some(number(&flag, &value()?, 1.0, 1e6)?),
            "--gossip" => arguments.scenario.gossip_s = number(&flag, &value()?, 0.01, 10.0)?,
            "--policy" => arguments.policies = policies(&value()?)?,
            "--no-ties" => arguments.scenario.ties = false,
            "--no-burst" => arguments.burst = false,
            "--json" => arguments.json = true,
            "--plot" => arguments.plot = Some(value()?.into()),
            "--gossip-ages" => arguments.gossip_ages = Some(count(&flag, &value()?, 2, 1_000_000)?),
            _ => return Err(format!("{flag} is no flag")),
        }
    }
    let reference = Scenario::reference(arguments.scenario.nodes, 0.7, 1);
    arguments.scenario.window_s = window_s.unwrap_or(reference.window_s);
    Ok(arguments)
}

fn number(flag: &str, text: &str, min: f64, max: f64) -> Result<f64, String> {
    let number = text.parse().map_err(|_| format!("{flag} {text} is no number"))?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(format!("{flag} goes from {min} to {max}")) }
}

fn count(flag: &str, text: &str, min: usize, max: usize) -> Result<usize, String> {
    let count = text.parse().map_err(|_| format!("{flag} {text} is no whole number"))?;
    if (min..=max).contains(&count) { Ok(count) } else { Err(format!("{flag} goes from {min} to {max}")) }
}

fn policies(names: &str) -> Result<Vec<Policy>, String> {
    if names == "all" {
        return Ok(Policy::ALL.to_vec());
    }
    let named = |name| {
        Policy::named(name).ok_or_else(|| {
            let all: Vec<_> = Policy::ALL.iter().map(|policy| policy.name()).collect();
            format!("no policy {name}; there are {}", all.join(", "))
        })
    };
    names.split(',').map(named).collect()
}

fn report(arguments: &Arguments) -> ExitCode {
    if let Some(nodes) = arguments.gossip_ages {
        let ages = gossip::ages(nodes, 20, 0.05, arguments.first_seed);
        println!("{nodes} nodes, 5 % of the messages lost: {ages:?}");
        return ExitCode::SUCCESS;
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let seeds = || arguments.first_seed..arguments.first_seed + arguments.seeds;
    let policies = arguments.policies.clone();
    let scenarios = seeds().map(|seed| Scenario { seed, ..arguments.scenario }).collect();
    let mut summaries = run(&Options { scenarios, policies: policies.clone(), threads });
    for summary in &mut summaries {
        summary.makespan_ratio = None;
    }
    if arguments.burst {
        let burst = |seed| Scenario { seed, burst: Some(4.0), ..arguments.scenario };
        let bursts = run(&Options { scenarios: seeds().map(burst).collect(), policies, threads });
        for (summary, burst) in summaries.iter_mut().zip(bursts) {
            summary.makespan_ratio = burst.makespan_ratio;
        }
    }
    if let Some(folder) = &arguments.plot
        && let Err(error) = plot::write(&summaries, folder)
    {
        eprintln!("simulate: cannot write the pictures to {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    if arguments.json {
        let Scenario { nodes, load, window_s, .. } = arguments.scenario;
        let (seeds, first_seed) = (arguments.seeds, arguments.first_seed);
        let report = Report { nodes, load, seeds, first_seed, window_s, policies: summaries };
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("simulate: {error}"),
        }
    } else {
        table(&summaries);
    }
    ExitCode::SUCCESS
}

fn table(summaries: &[Summary]) {
    println!("| policy | mean | p99 | >= 10 s mean | >= 10 s p99 | moves/job | overcommit | burst |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for one in summaries {
        let burst = one.makespan_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        println!(
            "| {} | {:.3} | {:.2} | {:.3} | {:.2} | {:.3} | {:.4} | {burst} |",
            one.policy,
            one.mean_slowdown,
            one.p99,
            one.mean_long,
            one.p99_long,
            one.migrations_per_job,
            one.overcommit
        );
    }
}
