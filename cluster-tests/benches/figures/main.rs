//! What homing costs: all figures of one run on this machine, beside what else could be had.
//!
//! `cargo bench -p cluster-tests` as root measures everything in less than a quarter of an hour, `-- --quick` a part of it in
//! about a minute. `-- --json` prints the same as one JSON object. Other words name the sections to run:
//! `computing`, `calls`, `freezes`, `bulk`, `programs`, `failures`.
#![allow(clippy::cast_precision_loss, reason = "nothing here comes near 2^52")]

mod bulk;
mod calls;
mod computing;
mod failures;
mod freezes;
mod ground;
mod peers;
mod programs;
mod sample;
mod table;

use std::env;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use ground::{Bench, Result};
use table::{Report, Section};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.split_first() {
        Some((first, rest)) if first == peers::PEER => peers::play(rest),
        _ => measure(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes =
                std::iter::successors(Some(&*error as &dyn std::error::Error), |error| error.source());
            eprintln!("{}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &[String]) -> Result<()> {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let (is_quick, is_json) = (has("--quick"), has("--json"));
    let named: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| SECTIONS.iter().all(|(known, _)| known != *name)) {
        return Err(format!("no section is called {unknown}").into());
    }
    let began = Instant::now();
    let bench = Bench::new(is_quick)?;
    let mut report = Report { about: about(), sections: Vec::new() };
    if !is_json {
        println!("{}\n\n{}", report.about.join("\n"), table::head());
    }
    for (name, section) in SECTIONS {
        if named.is_empty() || named.contains(&&name.to_owned()) {
            let section = section(&bench)?;
            if !is_json {
                print!("{}", section.text());
            }
            report.sections.push(section);
        }
    }
    report.about.push(format!("took {:.0} s; load at the end {}", began.elapsed().as_secs_f64(), load()));
    if is_json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("\n{}", report.about.last().map_or("", String::as_str));
    }
    Ok(())
}

/// The machine, and how busy it is with other things.
fn about() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        format!("{cores} cores of {}", processor.trim_start_matches(['\t', ' ', ':'])),
        format!("Linux {}; load at the start {}", read("/proc/sys/kernel/osrelease").trim(), load()),
    ]
}

/// Processes that ran or wanted to, over one, five and fifteen minutes.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

type Measure = fn(&Bench) -> Result<Section>;

const SECTIONS: [(&str, Measure); 6] = [
    ("computing", computing::section),
    ("calls", calls::section),
    ("freezes", freezes::section),
    ("bulk", bulk::section),
    ("programs", programs::section),
    ("failures", failures::section),
];
