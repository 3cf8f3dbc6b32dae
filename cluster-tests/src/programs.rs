//! The self-checking guest programs: `programs/*.c` and `programs/*.go`, compiled when a test asks for them, and
//! `src/bin/*.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use thiserror::Error;

use crate::lab::{self, LabError};

/// A guest program. Each prints the same on every run and ends with the same status; what it checks is in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestProgram {
    /// Counts and computes, statically linked; ends with status 7. Arguments: numbers, steps per number.
    Counter,
    /// Five threads over all kinds of mutexes and condition variables. Argument: rounds.
    Threads,
    /// EINTR, restarts, masks, stacks and children. Argument: rounds.
    Signals,
    /// No clock steps. Argument: seconds.
    Clocks,
    /// fork, vfork, exec, wait. Argument: rounds.
    Forks,
    /// TCP, UDP and Unix sockets, epoll, eventfd, timerfd. Argument: rounds.
    Sockets,
    /// A handler with calls of its own. Argument: records.
    Handlers,
    /// A Go program: goroutines, channels, timers, files, programs of its own. Argument: rounds.
    Goroutines,
    /// Every byte of its memory. Arguments: mebibytes, passes.
    Memhash,
    /// Numbered records to a file, a pipe and a connection. Arguments: the file, records.
    Ledger,
    /// Calls that wait for a time. Arguments: rounds, milliseconds that one may be late.
    Timeouts,
    /// Reads and writes of a megabyte that block half way. Argument: rounds.
    Pieces,
    /// Memory that is mapped, moved, dropped and forked all the time. Argument: seconds.
    Churn,
    /// Programs started by threads, and threads without end. Argument: rounds.
    Execs,
    /// Clocks read without pause, under signals. Argument: millions of readings of each.
    Readings,
}

impl GuestProgram {
    /// All of them.
    pub const ALL: [GuestProgram; 15] = [
        GuestProgram::Counter,
        GuestProgram::Threads,
        GuestProgram::Signals,
        GuestProgram::Clocks,
        GuestProgram::Forks,
        GuestProgram::Sockets,
        GuestProgram::Handlers,
        GuestProgram::Goroutines,
        GuestProgram::Memhash,
        GuestProgram::Ledger,
        GuestProgram::Timeouts,
        GuestProgram::Pieces,
        GuestProgram::Churn,
        GuestProgram::Execs,
        GuestProgram::Readings,
    ];

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            GuestProgram::Counter => "counter",
            GuestProgram::Threads => "threads",
            GuestProgram::Signals => "signals",
            GuestProgram::Clocks => "clocks",
            GuestProgram::Forks => "forks",
            GuestProgram::Sockets => "sockets",
            GuestProgram::Handlers => "handlers",
            GuestProgram::Goroutines => "goroutines",
            GuestProgram::Memhash => "memhash",
            GuestProgram::Ledger => "ledger",
            GuestProgram::Timeouts => "timeouts",
            GuestProgram::Pieces => "pieces",
            GuestProgram::Churn => "churn",
            GuestProgram::Execs => "execs",
            GuestProgram::Readings => "readings",
        }
    }

    /// Its exit code when all was right.
    #[must_use]
    pub fn right_code(self) -> i32 {
        match self {
            GuestProgram::Counter => 7,
            _ => 0,
        }
    }

    /// The program, compiled into `directory` if it is not built by cargo.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn build(self, directory: &Path) -> Result<PathBuf, ProgramError> {
        let name = self.name();
        let (program, sources) =
            (directory.join(name), Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name));
        let (compiler, mut command) = match self {
            GuestProgram::Memhash | GuestProgram::Ledger => return Ok(lab::programs()?.join(name)),
            GuestProgram::Goroutines => ("go", go(&program, &sources.with_extension("go"), directory)),
            GuestProgram::Counter => ("gcc", gcc("-static", &program, &sources.with_extension("c"))),
            _ => ("gcc", gcc("-pie", &program, &sources.with_extension("c"))),
        };
        match command.status().map_err(|source| ProgramError::Compiler { compiler, source })? {
            status if status.success() => Ok(program),
            status => Err(ProgramError::Compile { name, status }),
        }
    }
}

/// nginx's configuration for the files of `/tmp` at port 8000, with these lines in its `http` block. All that it writes
/// is in `/tmp`, so that any user can run it.
#[must_use]
pub fn nginx_configuration(http: &str) -> String {
    format!(
        "\
user root;
pid /tmp/nginx.pid;
events {{ worker_connections 100; }}
http {{
    {http}
    client_body_temp_path /tmp/nginx-body;
    proxy_temp_path /tmp/nginx-proxy;
    fastcgi_temp_path /tmp/nginx-fastcgi;
    uwsgi_temp_path /tmp/nginx-uwsgi;
    scgi_temp_path /tmp/nginx-scgi;
    server {{ listen 8000; root /tmp; }}
}}
"
    )
}

/// A program that the benches run; it has no end of its own. What it measures is in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchProgram {
    /// Computes on demand.
    Work,
    /// Looks at the clock all the time, and dirties memory.
    Ticks,
    /// Makes calls on demand.
    Calls,
}

impl BenchProgram {
    /// All of them.
    pub const ALL: [BenchProgram; 3] = [BenchProgram::Work, BenchProgram::Ticks, BenchProgram::Calls];

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BenchProgram::Work => "work",
            BenchProgram::Ticks => "ticks",
            BenchProgram::Calls => "calls",
        }
    }

    /// The program, compiled into `directory`.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn build(self, directory: &Path) -> Result<PathBuf, ProgramError> {
        compile(self.name(), directory)
    }
}

/// A program that tries what no other does. What it tries is in its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostileProgram {
    /// Makes every system call there is, in every way. Argument: a file with what is expected of each.
    Sweep,
    /// Looks for the machine where its body is. Arguments: that node, the port that tells names, a process there.
    Probes,
}

impl HostileProgram {
    /// The program, compiled into `directory`.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn build(self, directory: &Path) -> Result<PathBuf, ProgramError> {
        compile(if self == HostileProgram::Sweep { "sweep" } else { "probes" }, directory)
    }
}

fn compile(name: &'static str, directory: &Path) -> Result<PathBuf, ProgramError> {
    let program = directory.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name).with_extension("c");
    let compiled = gcc("-pie", &program, &source).status();
    match compiled.map_err(|source| ProgramError::Compiler { compiler: "gcc", source })? {
        status if status.success() => Ok(program),
        status => Err(ProgramError::Compile { name, status }),
    }
}

/// Why there is no program to run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum ProgramError {
    #[error("cannot run {compiler}; install the packages gcc, libc6-dev and golang-go")]
    Compiler { compiler: &'static str, source: io::Error },
    #[error("{name} does not compile: {status}")]
    Compile { name: &'static str, status: ExitStatus },
    #[error("cannot find the programs that cargo has built")]
    Place(#[from] LabError),
}

fn gcc(linking: &str, program: &Path, source: &Path) -> Command {
    let mut command = Command::new("gcc");
    command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", linking, "-o"]).arg(program).arg(source);
    command
}

fn go(program: &Path, source: &Path, cache: &Path) -> Command {
    let mut command = Command::new("go");
    command.env("GOCACHE", cache.join("go-cache")).args(["build", "-o"]).arg(program).arg(source);
    command
}
