//! The grammar of the verbs about submitted jobs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use crate::cli::values;
use crate::config;
use crate::queue::{Array, PRIORITY_MAX, RETRIES_MAX};

/// `homing submit`.
#[derive(Clone, Debug, Default, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["command", "batch"]))]
pub struct SubmitArgs {
    /// Call it so; jobs can be named by it as long as they are not over
    #[arg(long)]
    pub name: Option<String>,
    /// Run many tasks, such as 0-99, 0-99%8 (8 at a time) or 0-90:10; each finds its index in HOMING_TASK
    #[arg(long, value_name = "A-B[:STEP][%N]")]
    pub array: Option<Array>,
    /// Start before jobs of a smaller priority [default: 50]
    #[arg(long, value_name = "0-100", value_parser = clap::value_parser!(u8).range(0..=i64::from(PRIORITY_MAX)))]
    pub priority: Option<u8>,
    /// Start when these jobs are done; if one fails, this one is cancelled
    #[arg(long, value_name = "JOB", value_delimiter = ',')]
    pub after: Vec<String>,
    /// Start when these jobs are over, whether they fail or not
    #[arg(long, value_name = "JOB", value_delimiter = ',')]
    pub after_any: Vec<String>,
    /// Cores that a task keeps busy [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpus: Option<u32>,
    /// Memory that a task needs, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub mem: Option<u64>,
    /// The node where it starts and has its files, or `any` for one with room [default: this node]
    #[arg(long, value_name = "NODE|any")]
    pub home: Option<String>,
    /// It may be at these nodes only
    #[arg(long, value_name = "NODE", value_delimiter = ',', value_parser = config::node_name)]
    pub node: Vec<String>,
    /// It must not be at these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',', value_parser = config::node_name)]
    pub not_node: Vec<String>,
    /// End it after this time, such as 30s, 2m or 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub time_limit: Option<Duration>,
    /// Run a task that fails again, so many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(RETRIES_MAX)))]
    pub retries: Option<u32>,
    /// Its working directory [default: this one]
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// A file as its standard input [default: nothing to read]
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// A file for its standard output, %j is the job and %a the index [default: see `homing logs`]
    #[arg(long, value_name = "FILE")]
    pub stdout: Option<PathBuf>,
    /// A file for its standard error
    #[arg(long, value_name = "FILE")]
    pub stderr: Option<PathBuf>,
    /// A variable for it, or one to be taken over; the job's description is kept by the cluster's servers
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub env: Vec<OsString>,
    /// Take over the whole environment, not only what every program needs
    #[arg(long)]
    pub env_all: bool,
    /// Run each line of this file by the shell, as the tasks of one array
    #[arg(long, value_name = "FILE", conflicts_with = "array")]
    pub batch: Option<PathBuf>,
    /// So many lines of the batch at a time
    #[arg(long, value_name = "N", requires = "batch", conflicts_with = "command", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_most: Option<u32>,
    /// The program and its arguments, or a job file that ends in .toml
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD|FILE.toml")]
    pub command: Vec<OsString>,
}

/// `homing jobs`.
#[derive(Clone, Debug, Args)]
pub struct JobsArgs {
    /// Only this job, task by task
    pub job: Option<String>,
    /// Also those that are over
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `homing logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// The job, or one task of it, such as 71_3
    pub job: String,
    /// Go on until it is over
    #[arg(short, long)]
    pub follow: bool,
}

/// `homing attach`.
#[derive(Clone, Debug, Args)]
pub struct AttachArgs {
    /// The job, or one task of it, such as 71_3
    pub job: String,
}

/// `homing wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// The jobs or tasks
    #[arg(required = true)]
    pub jobs: Vec<String>,
}

/// `homing kill`.
#[derive(Clone, Debug, Args)]
pub struct KillArgs {
    /// Which signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    pub signal: i32,
    /// The jobs or tasks
    #[arg(required = true)]
    pub jobs: Vec<String>,
}

/// A verb about some jobs.
#[derive(Clone, Debug, Args)]
pub struct SomeJobs {
    /// The jobs
    #[arg(required = true)]
    pub jobs: Vec<String>,
}

fn signal(text: &str) -> Result<i32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let known = |number: &i32| SIGNALS.iter().any(|(_, known)| known == number);
    let number = named.or_else(|| text.parse().ok().filter(known));
    number.ok_or_else(|| format!("`{text}` is no signal such as TERM, KILL, STOP, CONT, USR1 or 15"))
}

const SIGNALS: [(&str, i32); 20] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("TERM", 15), ("SIGKILL", 9), ("10", 10), ("CONT", 18)] {
            assert_eq!(signal(text), Ok(number));
        }
        for bad in ["", "term", "0", "-9", "99", "SIGSIGTERM"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
