//! Clients of redis: its own command line, whose every answer is compared, and its own benchmark.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use cluster_tests::check::{Served, Talk};
use cluster_tests::lab::{LabNode, Program, User};

/// `redis-cli` on one connection, with keys of its own.
pub(crate) fn talk(talk: &mut Talk) -> Result<(), String> {
    let mut cli = Cli::start(talk.server)?;
    let mut counts = vec![0; KEYS];
    while talk.goes_on() {
        let number = talk.requests();
        let step = usize::try_from(number).map_err(|error| error.to_string())?;
        let key = step / STEPS % KEYS;
        let name = format!("{}:{key}", talk.number);
        let count = &mut counts[key];
        let (command, expected) = match step % STEPS {
            0 => {
                *count += 1;
                (format!("INCR count:{name}"), count.to_string())
            }
            1 => (format!("SET text:{name} {}", text(&name, *count)), "OK".to_owned()),
            2 => (format!("GET text:{name}"), text(&name, *count)),
            3 => (format!("EVAL \"{SCRIPT}\" 0 {count}"), script(*count).to_string()),
            _ => (format!("RPUSH list:{name} {count}"), count.to_string()),
        };
        talk.ask(|| cli.ask(&command, &expected))?;
        thread::sleep(PAUSE);
    }
    // What was put there is there, once and in order; the last command may not have been given for the last key.
    for (key, count) in counts.iter().enumerate() {
        let name = format!("{}:{key}", talk.number);
        if *count > 1 {
            cli.ask(&format!("GET count:{name}"), &count.to_string())?;
            cli.ask(&format!("LINDEX list:{name} 0"), "1")?;
            cli.ask(&format!("LINDEX list:{name} {}", count - 2), &(count - 1).to_string())?;
        }
    }
    cli.end()
}

/// `redis-benchmark` with ten connections, again and again: it ends with 1 at the first error.
pub(crate) fn benchmark(talk: &mut Talk) -> Result<(), String> {
    let server = talk.server;
    while talk.goes_on() {
        talk.ask(|| {
            let mut benchmark = on("redis-benchmark", server);
            let requests = INCREMENTS.to_string();
            benchmark.args(["-c", "10", "-n", &requests, "-q", "-t", "incr,lpush,mset"]);
            let output = benchmark.output().map_err(|error| error.to_string())?;
            match output.status.success() && output.stderr.is_empty() {
                true => Ok(()),
                false => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))),
            }
        })?;
        thread::sleep(BENCHMARK_PAUSE);
    }
    let mut cli = Cli::start(server)?;
    let expected = INCREMENTS * talk.requests();
    cli.ask("GET counter:__rand_int__", &expected.to_string())?;
    cli.ask("LLEN mylist", &expected.to_string())?;
    cli.end()
}

/// At the end redis has written a whole database to its home, which then goes.
pub(crate) fn has_saved(home: &LabNode, _: &[Served]) -> Result<(), String> {
    let check = format!("redis-check-rdb {DATABASE} && rm {DATABASE}");
    let check = home
        .exec(&Program::new("sh").args(&["-c", &check]).user(User::Root))
        .and_then(|check| check.finish(PATIENCE));
    let check = check.map_err(|error| error.to_string())?;
    if check.code == 0 { Ok(()) } else { Err(format!("the database is not whole: {}", check.text())) }
}

/// `redis-cli`, which takes one command per line and prints one line for its answer.
struct Cli {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Cli {
    fn start(server: SocketAddr) -> Result<Cli, String> {
        let mut cli = on("redis-cli", server);
        let cli = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = cli.map_err(|error| format!("redis-cli: {error}"))?;
        let commands = child.stdin.take().ok_or("its input is a pipe")?;
        let answers = child.stdout.take().map(BufReader::new).ok_or("its output is a pipe")?;
        Ok(Cli { child, commands, answers })
    }

    fn ask(&mut self, command: &str, expected: &str) -> Result<(), String> {
        let said = |error: std::io::Error| format!("{command}: {error}");
        writeln!(self.commands, "{command}").map_err(said)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(said)?;
        if answer.trim_end() == expected {
            return Ok(());
        }
        Err(format!("{command}: {answer:?} instead of {expected:?}"))
    }

    fn end(self) -> Result<(), String> {
        drop(self.commands);
        let output = self.child.wait_with_output().map_err(|error| error.to_string())?;
        match output.status.success() && output.stderr.is_empty() {
            true => Ok(()),
            false => Err(format!("redis-cli ended with {}", output.status)),
        }
    }
}

fn on(program: &str, server: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command
}

fn text(name: &str, count: u64) -> String {
    format!("{name}-{count}.").repeat(1 + usize::try_from(count).unwrap_or(0) % 20)
}

/// What [`SCRIPT`] returns.
fn script(start: u64) -> u64 {
    (1..=SCRIPT_STEPS).fold(start, |sum, step| (sum * 31 + step) % 1_000_003)
}

pub(crate) const PORT: u16 = 6379;
const DATABASE: &str = "/tmp/journey.rdb";

/// Of each command of a benchmark.
const INCREMENTS: u64 = 100;
const KEYS: usize = 50;
/// Commands for one key in a row.
const STEPS: usize = 5;

/// Gives redis something to compute.
const SCRIPT: &str =
    "local sum = tonumber(ARGV[1]) for step = 1, 1000000 do sum = (sum * 31 + step) % 1000003 end return sum";
const SCRIPT_STEPS: u64 = 1_000_000;

/// Leaves the processor to the others.
const PAUSE: Duration = Duration::from_millis(1);
const BENCHMARK_PAUSE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);
