//! A decoder under attack, and its corpus on disk.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Outcome;
use crate::pool;
use crate::search::{Budget, Finding, Ran, search};
use crate::watch::Watch;

/// A decoder under attack.
#[derive(Clone, Debug)]
pub struct Target {
    name: &'static str,
    corpus: PathBuf,
    length_max: usize,
    allocated_max: u64,
    words: &'static [&'static [u8]],
}

impl Target {
    /// The target whose corpus lies in `corpora/NAME`; see [`target!`](crate::target).
    #[must_use]
    pub fn new(corpora: &str, name: &'static str) -> Target {
        Target {
            name,
            corpus: Path::new(corpora).join(name),
            length_max: LENGTH_MAX,
            allocated_max: ALLOCATED_MAX,
            words: &[],
        }
    }

    /// Inputs have at most so many bytes instead of 4 KiB.
    #[must_use]
    pub fn length_max(self, bytes: usize) -> Target {
        Target { length_max: bytes, ..self }
    }

    /// An input may allocate at most so many bytes at a time instead of [`ALLOCATED_MAX`].
    #[must_use]
    pub fn allocated_max(self, bytes: u64) -> Target {
        Target { allocated_max: bytes, ..self }
    }

    /// Words of the target's language, which chance would seldom put together.
    #[must_use]
    pub fn words(self, words: &'static [&'static [u8]]) -> Target {
        Target { words, ..self }
    }

    /// Valid inputs with their names, which `HOMING_FUZZ_CORPUS=write` writes into the corpus.
    ///
    /// # Panics
    /// When the corpus is to be written and cannot be.
    #[must_use]
    pub fn valid<N: Into<String>>(self, inputs: impl FnOnce() -> Vec<(N, Vec<u8>)>) -> Target {
        if env::var("HOMING_FUZZ_CORPUS").is_ok_and(|wish| wish == "write") {
            let inputs: Vec<_> = inputs().into_iter().map(|(name, input)| (name.into(), input)).collect();
            pool::write(&self.corpus, &inputs).expect("the corpus can be written");
        }
        self
    }

    /// Attacks `decoder` for as long as the environment says, and tells on standard output how that went.
    ///
    /// # Panics
    /// When an input is found that panics, takes too long or allocates too much; when there is no corpus.
    pub fn run(self, mut decoder: impl FnMut(&[u8]) -> Outcome) {
        let budget = self.budget();
        println!("{}: seed {}, for {:?}", self.name, budget.seed, budget.time);
        limit_address_space();
        let stuck = self.clone();
        // Nothing can be said to it any more but that the process ends.
        let watch = Watch::start(STUCK_AFTER, move |input| {
            eprintln!("{}", stuck.report(&format!("one input does not end within {STUCK_AFTER:?}"), input));
            std::process::abort();
        });
        match self.search(&budget, &watch, &mut decoder) {
            Ok(ran) => println!("{}", self.figures(&ran)),
            Err(finding) => {
                let what = format!("{} (input {} of seed {})", finding.flaw, finding.inputs, budget.seed);
                panic!("{}", self.report(&what, &finding.input));
            }
        }
    }

    /// Attacks `decoder` within a budget.
    ///
    /// # Errors
    /// The first input that must not be.
    ///
    /// # Panics
    /// When there is no corpus.
    pub fn within(&self, budget: &Budget, mut decoder: impl FnMut(&[u8]) -> Outcome) -> Result<Ran, Finding> {
        self.search(budget, &Watch::start(STUCK_AFTER, |_| {}), &mut decoder)
    }

    fn search(
        &self,
        budget: &Budget,
        watch: &Watch,
        decoder: &mut dyn FnMut(&[u8]) -> Outcome,
    ) -> Result<Ran, Finding> {
        let corpus = pool::read(&self.corpus).unwrap_or_default();
        assert!(!corpus.is_empty(), "{} holds no corpus", self.corpus.display());
        search(&corpus, (self.words, self.length_max), budget, watch, decoder)
    }

    fn budget(&self) -> Budget {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let full = env::var_os("HOMING_FULL").is_some();
        let seconds = number("HOMING_FUZZ_S").unwrap_or(if full { FULL_S } else { SHORT_S });
        let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        // What fails in the everyday run fails for everyone; the long one is for what nobody has seen yet.
        let seed = number("HOMING_FUZZ_SEED").unwrap_or(if full { moment } else { 1 });
        let trace = env::var_os("HOMING_FUZZ_TRACE").map(|_| findings().join(format!("{}-trace", self.name)));
        if trace.is_some() {
            let _ = fs::create_dir_all(findings());
        }
        Budget {
            seed,
            time: Duration::from_secs(seconds),
            inputs: u64::MAX,
            input_time_max: INPUT_TIME_MAX,
            allocated_max: self.allocated_max,
            trace,
        }
    }

    fn figures(&self, ran: &Ran) -> String {
        let Ran { inputs, time, accepted, outcomes, slowest, allocated } = ran;
        let seconds = time.as_secs_f64();
        let per_s = if seconds > 0.0 { *inputs as f64 / seconds } else { 0.0 };
        format!(
            "{}: {inputs} inputs in {seconds:.1} s ({per_s:.0}/s), {accepted} accepted, {outcomes} outcomes, \
             slowest {slowest:?}, at most {allocated} bytes allocated",
            self.name
        )
    }

    /// Writes the input down and says how to run it again.
    fn report(&self, what: &str, input: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = findings().join(format!("{}-{:016x}", self.name, hasher.finish()));
        let written = fs::create_dir_all(findings()).and_then(|()| fs::write(&path, input));
        let mut text = format!("{}: {what}\n  input of {} bytes", self.name, input.len());
        let _ = match written {
            Ok(()) => write!(text, ": {}", path.display()),
            Err(error) => write!(text, ", which cannot be written to {}: {error}", path.display()),
        };
        if input.len() <= SHOWN_BYTES_MAX {
            let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(text, "\n  in hexadecimal: {digits}");
        }
        let _ =
            write!(text, "\n  copy it to {}: every run begins with what lies there", self.corpus.display());
        text
    }
}

/// Beside the test's own binary, where nothing is kept for ever.
fn findings() -> PathBuf {
    let binary = env::current_exe().unwrap_or_default();
    binary.parent().and_then(Path::parent).map_or_else(env::temp_dir, Path::to_owned).join("fuzz")
}

/// An allocation that nobody could measure because it took the machine's memory ends the process instead.
fn limit_address_space() {
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    let limit =
        Rlimit { current: Some(maximum.map_or(ADDRESS_SPACE, |most| most.min(ADDRESS_SPACE))), maximum };
    // Where it is refused, a stricter one holds.
    let _ = setrlimit(Resource::As, limit);
}

/// Bytes of an input, unless a target has a reason for others.
const LENGTH_MAX: usize = 4096;

/// Bytes that one input may have allocated at a time, unless a target has a reason for others: 16 MiB.
pub const ALLOCATED_MAX: u64 = 16 * 1024 * 1024;

/// Of the whole process.
const ADDRESS_SPACE: u64 = 4 << 30;

/// Longer than this no input may take.
const INPUT_TIME_MAX: Duration = Duration::from_secs(1);

/// An input that takes so long is taken for one that never ends.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Seconds per target in the everyday run.
const SHORT_S: u64 = 1;

/// Seconds per target in the full run.
const FULL_S: u64 = 600;

/// Shorter inputs are shown.
const SHOWN_BYTES_MAX: usize = 256;
