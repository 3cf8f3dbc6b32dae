//! The search: runs inputs one after the other and judges each.

use std::any::Any;
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::mutate::{Material, mutate};
use crate::pool::{Entry, Pool};
use crate::random::Random;
use crate::watch::Watch;

/// How long a search goes on, and what it makes of an input.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Where chance begins.
    pub seed: u64,
    /// So long, at most.
    pub time: Duration,
    /// So many inputs, at most.
    pub inputs: u64,
    /// Longer than this no input may take.
    pub input_time_max: Duration,
    /// More than this no input may have allocated at a time, in bytes.
    pub allocated_max: u64,
    /// Every input is written there before it runs.
    pub trace: Option<PathBuf>,
}

/// What a search without a finding has done.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Inputs, those of the corpus included.
    pub inputs: u64,
    /// For so long.
    pub time: Duration,
    /// Inputs that the target accepted.
    pub accepted: u64,
    /// Different outcomes.
    pub outcomes: usize,
    /// The longest time that one input took.
    pub slowest: Duration,
    /// The most that one input had allocated at a time, in bytes.
    pub allocated: u64,
}

/// An input that must not be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is wrong with it.
    pub flaw: Flaw,
    /// The input.
    pub input: Vec<u8>,
    /// How many inputs ran, this one included.
    pub inputs: u64,
}

/// What is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The target panicked, with this message.
    Panic(String),
    /// It took so long, also when it was tried again.
    Slow(Duration),
    /// It had allocated so many bytes at a time.
    Allocated(u64),
    /// The corpus says that it is valid, and the target refuses it.
    Refused(PathBuf),
    /// It cannot be written down.
    Trace(io::ErrorKind),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Panic(message) => write!(f, "the target panicked: {message}"),
            Flaw::Slow(time) => write!(f, "one input took {time:?}"),
            Flaw::Allocated(bytes) => write!(f, "one input had {bytes} bytes allocated at a time"),
            Flaw::Refused(path) => write!(f, "{} should be valid and is refused", path.display()),
            Flaw::Trace(error) => write!(f, "the input cannot be written down: {error}"),
        }
    }
}

/// Runs the corpus, then mutations of it.
pub(crate) fn search(
    corpus: &[Entry],
    (words, length_max): (&[&[u8]], usize),
    budget: &Budget,
    watch: &Watch,
    target: &mut dyn FnMut(&[u8]) -> Outcome,
) -> Result<Ran, Finding> {
    let began = Instant::now();
    let mut random = Random::new(budget.seed);
    let mut pool = Pool::default();
    let mut trial = Trial { budget, watch, target, ran: Ran::default() };
    for entry in corpus {
        let heard = trial.run(&entry.input)?;
        if entry.must_be_accepted() && !heard.outcome.accepted {
            return Err(trial.finding(Flaw::Refused(entry.path.clone()), &entry.input));
        }
        pool.keep(entry.input.clone());
        pool.offer(&entry.input, heard.signature(), &mut random);
    }
    let mut input = Vec::new();
    while trial.ran.inputs < budget.inputs && began.elapsed() < budget.time {
        input.clear();
        input.extend_from_slice(pool.pick(&mut random));
        let material = Material { other: pool.pick(&mut random), words, length_max };
        mutate(&mut input, &material, &mut random);
        let heard = trial.run(&input)?;
        pool.offer(&input, heard.signature(), &mut random);
    }
    Ok(Ran { time: began.elapsed(), outcomes: pool.outcomes(), ..trial.ran })
}

/// What was heard of an input.
struct Heard {
    outcome: Outcome,
    allocations: u64,
    allocated_total: u64,
}

impl Heard {
    /// Inputs of one signature are alike. How often memory was allocated tells how far a decoder has got.
    fn signature(&self) -> u64 {
        let order = |number: u64| number.checked_ilog2().map_or(0, |order| order + 1);
        let allocations =
            if self.allocations < 32 { self.allocations } else { 32 + u64::from(order(self.allocations)) };
        let mut hasher = DefaultHasher::new();
        (self.outcome.class, self.outcome.accepted, allocations, order(self.allocated_total))
            .hash(&mut hasher);
        hasher.finish()
    }
}

struct Trial<'a> {
    budget: &'a Budget,
    watch: &'a Watch,
    target: &'a mut dyn FnMut(&[u8]) -> Outcome,
    ran: Ran,
}

impl Trial<'_> {
    fn run(&mut self, input: &[u8]) -> Result<Heard, Finding> {
        self.ran.inputs += 1;
        if let Some(trace) = &self.budget.trace
            && let Err(error) = fs::write(trace, input)
        {
            return Err(self.finding(Flaw::Trace(error.kind()), input));
        }
        let (heard, mut time) = self.once(input)?;
        // A busy machine makes any input slow now and then, but not always the same one.
        for _ in 0..RETRIES {
            if time > self.budget.input_time_max {
                time = time.min(self.once(input)?.1);
            }
        }
        self.ran.slowest = self.ran.slowest.max(time);
        self.ran.accepted += u64::from(heard.outcome.accepted);
        if time > self.budget.input_time_max { Err(self.finding(Flaw::Slow(time), input)) } else { Ok(heard) }
    }

    fn once(&mut self, input: &[u8]) -> Result<(Heard, Duration), Finding> {
        let mut outcome = Err("it did not run".to_owned());
        let target = &mut self.target;
        self.watch.begin(input);
        let memory = allocation_counter::measure(|| {
            // After a panic the search ends, so nobody sees what it has left half done.
            outcome = catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|panic| message(&*panic));
        });
        let time = self.watch.end();
        self.ran.allocated = self.ran.allocated.max(memory.bytes_max);
        let outcome = outcome.map_err(|message| self.finding(Flaw::Panic(message), input))?;
        if memory.bytes_max > self.budget.allocated_max {
            return Err(self.finding(Flaw::Allocated(memory.bytes_max), input));
        }
        let heard = Heard { outcome, allocations: memory.count_total, allocated_total: memory.bytes_total };
        Ok((heard, time))
    }

    fn finding(&self, flaw: Flaw, input: &[u8]) -> Finding {
        Finding { flaw, input: input.to_vec(), inputs: self.ran.inputs }
    }
}

impl Default for Ran {
    fn default() -> Ran {
        Ran {
            inputs: 0,
            time: Duration::ZERO,
            accepted: 0,
            outcomes: 0,
            slowest: Duration::ZERO,
            allocated: 0,
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// How often an input that seems to be slow is tried again.
const RETRIES: u32 = 2;
