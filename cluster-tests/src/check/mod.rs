//! Scenarios: a program that is moved while it works does what it does natively.
//!
//! [`check`] runs the program at its home twice, once left alone and once moved along a route, and compares.

mod difference;
mod journey;
mod load;

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::lab::{Finished, Lab, LabError, LabNode, Program, Running, Work};
pub use difference::Difference;
pub use journey::{Journey, Stop};
use load::UnderLoad;
pub use load::{Client, Load, Served, Talk};

/// A program with all that it is given, and where it is moved.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What is run at `n1`.
    pub program: Program,
    /// Its standard input.
    pub input: Vec<u8>,
    /// Over which time the input is spread.
    pub input_time: Duration,
    /// Files of `n1` that are written anew before each run: path and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files of `n1` that the program writes: compared as its output is.
    pub results: Vec<String>,
    /// The name of the child that is moved; without one, the program itself.
    pub part: Option<String>,
    /// Who talks to it from outside of the cluster.
    pub load: Option<Load>,
    /// Where it goes, in turn; repeated `rounds` times.
    pub route: Vec<Stop>,
    /// How often the route is taken, unless the program ends before.
    pub rounds: usize,
    /// How long it is left at each guest.
    pub dwell: Duration,
    /// How long it is left at home before each move.
    pub dwell_home: Duration,
    /// Whether it computes all the time, which decides how a stay is proved.
    pub work: Work,
    /// After which time a run has failed.
    pub patience: Duration,
}

impl Scenario {
    /// A scenario without input, files and moves.
    #[must_use]
    pub fn new(program: Program) -> Scenario {
        Scenario {
            program,
            input: Vec::new(),
            input_time: Duration::ZERO,
            files: Vec::new(),
            results: Vec::new(),
            part: None,
            load: None,
            route: Vec::new(),
            rounds: 0,
            dwell: DEFAULT_DWELL,
            dwell_home: DEFAULT_DWELL,
            work: Work::Computes,
            patience: DEFAULT_PATIENCE,
        }
    }

    /// Moves it along `route`, `rounds` times.
    #[must_use]
    pub fn along(mut self, route: &[Stop], rounds: usize) -> Scenario {
        self.route = route.to_vec();
        self.rounds = rounds;
        self
    }
}

/// What a scenario must show beyond the output and status of the native run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expect {
    /// The program's exit code, native and moved.
    pub code: i32,
    /// How long it works natively.
    pub native_time_min: Duration,
    /// Moves completed before the program ended.
    pub moves_min: usize,
    /// Part of its CPU time, as sampled before each move, that was spent away; 0 to 1.
    pub away_share_min: f64,
}

/// Runs `scenario` natively and moved, and compares both with each other and with `expect`.
///
/// # Errors
/// [`CheckError`]: the first thing that was not as it must be.
pub fn check(lab: &Lab, scenario: &Scenario, expect: Expect) -> Result<Journey, CheckError> {
    let home = lab.node(1);
    let began = Instant::now();
    let (native, _) = run(lab, scenario, false)?;
    let native_time = began.elapsed();
    right_code("native", &native, expect.code)?;
    if native_time < expect.native_time_min {
        return Err(CheckError::TooShort { time: native_time, expected: expect.native_time_min });
    }
    let native_results = results(home, scenario)?;
    let (moved, mut journey) = run(lab, scenario, true)?;
    journey.native_time = native_time;
    if let Some(difference) = Difference::between(&native.output, &moved.output) {
        return Err(CheckError::Output { code: moved.code, difference, errors: errors(&moved) });
    }
    right_code("moved", &moved, expect.code)?;
    for (path, (native, moved)) in
        scenario.results.iter().zip(native_results.iter().zip(results(home, scenario)?))
    {
        if let Some(difference) = Difference::between(native, &moved) {
            return Err(CheckError::Result { path: path.clone(), difference });
        }
    }
    if journey.moves < expect.moves_min {
        return Err(CheckError::TooFewMoves { moves: journey.moves, expected: expect.moves_min });
    }
    if journey.away_share() < expect.away_share_min {
        return Err(CheckError::TooMuchAtHome {
            share: journey.away_share(),
            expected: expect.away_share_min,
        });
    }
    Ok(journey)
}

/// How a scenario failed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum CheckError {
    #[error("the lab failed")]
    Lab(#[from] LabError),
    #[error("the {run} run ended with {code}, not {expected}; its errors: {errors}; its last output: {last}")]
    Code { run: &'static str, code: i32, expected: i32, errors: String, last: String },
    #[error(
        "the moved run, which ended with {code}, wrote something else than the native run: {difference}; its errors: {errors}"
    )]
    Output { code: i32, difference: Difference, errors: String },
    #[error("the moved run's {path} differs from the native run's: {difference}")]
    Result { path: String, difference: Difference },
    #[error("move {number} to {to} failed with exit code {code}: {reason}")]
    Move { number: usize, to: String, code: i32, reason: String },
    #[error("a client was not served as it must be: {0}")]
    Load(String),
    #[error("the native run took {time:?} only, not {expected:?}")]
    TooShort { time: Duration, expected: Duration },
    #[error("only {moves} moves were completed before the program ended, not {expected}")]
    TooFewMoves { moves: usize, expected: usize },
    #[error("only {share:.2} of the CPU time was spent away, not {expected:.2}")]
    TooMuchAtHome { share: f64, expected: f64 },
}

/// Runs the program to its end, and along its route meanwhile if it is to be moved.
fn run(lab: &Lab, scenario: &Scenario, moved: bool) -> Result<(Finished, Journey), CheckError> {
    let home = lab.node(1);
    let running = start(home, scenario)?;
    let under_load =
        |load| UnderLoad::start(load, home.address(), scenario.patience).map(|under| (load, under));
    let load = scenario.load.as_ref().map(under_load).transpose()?;
    let mut journey = Journey::new(match &scenario.part {
        Some(name) if moved => running.child(name, scenario.patience)?,
        _ => running.whole(),
    });
    let taken = if moved { journey.take(lab, scenario) } else { Ok(()) };
    let served = match load {
        Some((load, under_load)) => {
            journey.stay_while(|| !under_load.is_enough());
            Some((load, under_load.end(load, home, &running)?))
        }
        None => None,
    };
    taken?;
    // The rest of the program's time counts where it is spent.
    let deadline = Instant::now() + scenario.patience;
    journey.stay_while(|| Instant::now() < deadline);
    journey.leave();
    let finished = running.finish(scenario.patience)?;
    if let Some((load, served)) = served {
        (load.after)(home, &served).map_err(CheckError::Load)?;
        journey.served = served;
    }
    Ok((finished, journey))
}

fn start(home: &LabNode, scenario: &Scenario) -> Result<Running, LabError> {
    for (path, content) in &scenario.files {
        home.write_file(path, content)?;
    }
    let mut running = home.exec(&scenario.program)?;
    running.feed(scenario.input.clone(), scenario.input_time);
    Ok(running)
}

fn right_code(run: &'static str, finished: &Finished, expected: i32) -> Result<(), CheckError> {
    if finished.code == expected {
        return Ok(());
    }
    let errors = errors(finished);
    let last = finished.text().lines().last().unwrap_or_default().to_owned();
    Err(CheckError::Code { run, code: finished.code, expected, errors, last })
}

fn errors(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.errors).trim().to_owned()
}

fn results(home: &LabNode, scenario: &Scenario) -> Result<Vec<Vec<u8>>, LabError> {
    scenario.results.iter().map(|path| home.read_file(path)).collect()
}

const DEFAULT_DWELL: Duration = Duration::from_millis(200);
const DEFAULT_PATIENCE: Duration = Duration::from_secs(120);
