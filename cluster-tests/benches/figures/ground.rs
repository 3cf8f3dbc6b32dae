//! Three nodes with agents, programs that are measured there, and their moves.

use std::cell::Cell;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User};
use cluster_tests::programs::BenchProgram;
use node_agent::api::client::Client;
use node_agent::api::{MoveRequest, Request, Response, Target};
use node_agent::warden::control::MoveReport;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What fails ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The nodes, and how much is measured.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) is_quick: bool,
    runtime: Runtime,
}

impl Bench {
    /// Makes a cluster of three nodes and puts the programs to its first one.
    pub(crate) fn new(is_quick: bool) -> Result<Bench> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lab = Lab::new(Ground::Namespaces, 3)?;
        lab.start_cluster()?;
        let directory = TempDir::new()?;
        for program in BenchProgram::ALL {
            lab.node(1).install(&program.build(directory.path())?, &path(program))?;
        }
        Ok(Bench { lab, is_quick, runtime })
    }

    /// One number in the quick form, another one in the whole.
    pub(crate) fn pick<T>(&self, quick: T, whole: T) -> T {
        if self.is_quick { quick } else { whole }
    }

    /// Starts one of the bench programs natively at its home, and waits until it is ready.
    pub(crate) fn start(&self, program: BenchProgram, args: &[&str]) -> Result<Measured> {
        self.run(&Program::new(path(program)).args(args))
    }

    /// The same with `homing run`.
    pub(crate) fn start_in_care(&self, program: BenchProgram, args: &[&str]) -> Result<Measured> {
        let homing = cluster_tests::lab::homing()?;
        self.run(&Program::new(homing).args(&["run", "--", &path(program)]).args(args))
    }

    /// Starts any program at its home that says when it is ready, and waits for that.
    pub(crate) fn run(&self, program: &Program) -> Result<Measured> {
        let mut running = self.lab.node(1).exec(&program.clone().user(User::Root))?;
        let mut measured = Measured { stdin: running.stdin(), running, lines: 0 };
        match measured.next_line()?.as_str() {
            "ready" => Ok(measured),
            other => Err(format!("it said {other}").into()),
        }
    }

    /// Moves a program: to `n2`, `n3` or home.
    pub(crate) fn carry(&self, measured: &Measured, to: &str) -> Result<MoveReport> {
        let socket = PathBuf::from(format!("/proc/{}/root{AGENT_SOCKET}", self.lab.node(1).init_pid()));
        let request =
            MoveRequest { pid: measured.running.pid(), to: Target::parse(to), dry_run: false, wait: true };
        self.runtime.block_on(async {
            let mut client = Client::connect(&socket).await?;
            match client.ask(&Request::Move(request), |_, _| {}).await? {
                Response::Moved { report, .. } => Ok(report),
                other => Err(format!("the agent answered {other:?}").into()),
            }
        })
    }
}

/// A program that says a line for each thing that it measures.
pub(crate) struct Measured {
    running: Running,
    stdin: Option<ChildStdin>,
    lines: usize,
}

impl Measured {
    /// Gives it a line of input and returns its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Vec<f64>> {
        let stdin = self.stdin.as_mut().ok_or("its input is closed")?;
        writeln!(stdin, "{line}")?;
        let answer = self.next_line()?;
        let number =
            |word: &str| word.parse().or_else(|_| u64::from_str_radix(word, 16).map(|bits| bits as f64));
        Ok(answer.split_whitespace().map(number).collect::<std::result::Result<_, _>>()?)
    }

    /// Its next line of output, as soon as it is there.
    fn next_line(&mut self) -> Result<String> {
        let wanted = self.lines;
        self.running.wait_for_output(PATIENCE, |output| line(output, wanted).is_some())?;
        self.lines += 1;
        let output = self.output();
        Ok(line(output.as_bytes(), wanted).ok_or("the line is gone")?)
    }

    /// Moves it, and tells how long it did not run meanwhile and in the moment afterwards, as it says itself.
    pub(crate) fn carried(&self, bench: &Bench, to: &str) -> Result<(MoveReport, Gaps)> {
        let before = self.output().len();
        let report = bench.carry(self, to)?;
        // It tells the gap when it comes to that, which may be a while after its first instruction.
        let expected_ms = report.pause_us as f64 / 2e3;
        let told = |output: &[u8]| Gaps::of(&output[before..]).longest_ms >= expected_ms;
        // The pause as homing tells it begins when the stop is asked for, so the program's own may be much shorter: then
        // what it has told by the end of this counts.
        let _ = self.running.wait_for_output(SHORT_GAP, |output| expected_ms < GAP_MIN_MS || told(output));
        std::thread::sleep(AFTERMATH);
        Ok((report, Gaps::of(&self.output().as_bytes()[before..])))
    }

    /// How long it does not run while this is done, and in the moment afterwards.
    pub(crate) fn gaps_while(&self, work: impl FnOnce() -> Result<()>) -> Result<Gaps> {
        let before = self.output().len();
        work()?;
        std::thread::sleep(AFTERMATH);
        Ok(Gaps::of(&self.output().as_bytes()[before..]))
    }

    /// How long it does not run while nothing is done to it.
    pub(crate) fn undisturbed(&self) -> Gaps {
        let before = self.output().len();
        std::thread::sleep(AFTERMATH);
        Gaps::of(&self.output().as_bytes()[before..])
    }

    fn output(&self) -> String {
        let copy = Cell::new(String::new());
        // The condition is looked at once; whether it holds does not matter.
        let _ = self.running.wait_for_output(Duration::ZERO, |output| {
            copy.set(String::from_utf8_lossy(output).into_owned());
            true
        });
        copy.into_inner()
    }
}

/// Times in which a program did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Gaps {
    pub(crate) longest_ms: f64,
    pub(crate) lost_ms: f64,
}

impl Gaps {
    /// The longest one, and the sum of all, in the lines of a program that tells those of at least a millisecond.
    fn of(output: &[u8]) -> Gaps {
        let output = String::from_utf8_lossy(output);
        let gaps = output.lines().filter_map(|line| line.strip_prefix("gap ")?.parse::<f64>().ok());
        gaps.fold(Gaps::default(), |gaps, us| Gaps {
            longest_ms: gaps.longest_ms.max(us / 1000.0),
            lost_ms: gaps.lost_ms + us / 1000.0,
        })
    }
}

/// Touches and frees memory: what the host has taken back costs seven times as much to touch.
pub(crate) fn warm(mebibytes: usize) -> Duration {
    let began = Instant::now();
    let mut memory = vec![0u8; mebibytes << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    began.elapsed()
}

fn line(output: &[u8], number: usize) -> Option<String> {
    // The last piece is not a whole line yet.
    let whole = output.iter().rposition(|byte| *byte == b'\n')?;
    output[..whole]
        .split(|byte| *byte == b'\n')
        .nth(number)
        .map(|line| String::from_utf8_lossy(line).into_owned())
}

fn path(program: BenchProgram) -> String {
    Path::new("/tmp").join(program.name()).to_string_lossy().into_owned()
}

const AGENT_SOCKET: &str = "/run/homing/agent.sock";
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Java tells only gaps of three times the others' millisecond.
const GAP_MIN_MS: f64 = 3.0;

/// How long to wait for a gap as long as half of the pause.
const SHORT_GAP: Duration = Duration::from_secs(2);

/// After a move some pages may still be missing, and the wardens tidy up: that time counts too.
const AFTERMATH: Duration = Duration::from_millis(300);
