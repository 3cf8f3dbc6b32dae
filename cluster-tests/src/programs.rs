//! The self-checking guest programs: `programs/*.c`, compiled when a test asks for them, and `src/bin/*.rs`.

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
    /// Every byte of its memory. Arguments: mebibytes, passes.
    Memhash,
    /// Numbered records to a file, a pipe and a connection. Arguments: the file, records.
    Ledger,
}

impl GuestProgram {
    /// All of them.
    pub const ALL: [GuestProgram; 8] = [
        GuestProgram::Counter,
        GuestProgram::Threads,
        GuestProgram::Signals,
        GuestProgram::Clocks,
        GuestProgram::Forks,
        GuestProgram::Sockets,
        GuestProgram::Memhash,
        GuestProgram::Ledger,
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
            GuestProgram::Memhash => "memhash",
            GuestProgram::Ledger => "ledger",
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
        let linking = match self {
            GuestProgram::Memhash | GuestProgram::Ledger => return Ok(lab::programs()?.join(name)),
            GuestProgram::Counter => "-static",
            _ => "-pie",
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name).with_extension("c");
        let program = directory.join(name);
        let mut compiler = Command::new("gcc");
        compiler
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", linking, "-o"])
            .arg(&program)
            .arg(source);
        match compiler.status().map_err(ProgramError::Compiler)? {
            status if status.success() => Ok(program),
            status => Err(ProgramError::Compile { name, status }),
        }
    }
}

/// Why there is no program to run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum ProgramError {
    #[error("cannot run gcc; install the packages gcc and libc6-dev")]
    Compiler(#[source] io::Error),
    #[error("{name} does not compile: {status}")]
    Compile { name: &'static str, status: ExitStatus },
    #[error("cannot find the programs that cargo has built")]
    Place(#[from] LabError),
}
