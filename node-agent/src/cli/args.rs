//! The command line's grammar.
//!
//! The doc comments of verbs and flags are the help text.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::jobs::args::{AttachArgs, JobsArgs, KillArgs, LogsArgs, SomeJobs, SubmitArgs, WaitArgs};
use super::values;
use super::warden_args::WardenArgs;
use crate::config::{self, Dirs, Ports};
use crate::dev::keeper::DEV_KEEPER_VERB;
use crate::dev::spec::NODE_INIT_VERB;
use crate::job::parent::{PARENT_VERB, PROGRAM_VERB};

/// Moves running programs between machines; whoever talks to them notices nothing.
#[derive(Debug, Parser)]
#[command(name = "homing", version, propagate_version = true)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The agent's socket [default: agent.sock in the run directory]
    #[arg(long, global = true, env = "HOMING_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where sockets are
    #[arg(long, global = true, env = "HOMING_RUN_DIR", value_name = "DIR", default_value = config::RUN_DIR)]
    pub run_dir: PathBuf,
    /// Where certificates, members and tokens are
    #[arg(long, global = true, env = "HOMING_STATE_DIR", value_name = "DIR", default_value = config::STATE_DIR)]
    pub state_dir: PathBuf,
    /// Give up waiting after this time, such as 500ms, 30s or 2m
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration)]
    pub timeout: Option<Duration>,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

impl Common {
    /// The node's directories.
    #[must_use]
    pub fn dirs(&self) -> Dirs {
        Dirs { state: self.state_dir.clone(), run: self.run_dir.clone() }
    }

    /// Where the agent answers.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.dirs().agent_socket())
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that can, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a cluster of this machine alone and print the line that adds another
    Init(InitArgs),
    /// Add this machine to a cluster
    Join(JoinArgs),
    /// Serve this node until told to stop
    Agent(AgentArgs),
    /// Start a program that can move: same terminal, same PID, same exit code
    Run(RunArgs),
    /// List the processes in homing's care
    Ps(PsArgs),
    /// List the nodes
    Nodes(ReadArgs),
    /// Move a running process to another node, or home
    #[command(alias = "migrate")]
    Move(MoveArgs),
    /// Tell where a process can move, and what stands against it
    Why(WhyArgs),
    /// Queue a program, an array of tasks or a file of command lines; prints the job's number
    Submit(Box<SubmitArgs>),
    /// List submitted jobs, with what they wait for
    Jobs(JobsArgs),
    /// Print what a job has written
    Logs(LogsArgs),
    /// Print what a job writes from now on, and pass Ctrl-C on to it
    Attach(AttachArgs),
    /// Wait until jobs are over; ends with the status of the first that failed
    Wait(WaitArgs),
    /// Send a signal to what runs of a job
    Kill(KillArgs),
    /// Let nothing more of a job start
    Hold(SomeJobs),
    /// Let a held job start
    Resume(SomeJobs),
    /// End jobs: what waits never starts, what runs is told to end
    Cancel(SomeJobs),
    /// Check what this machine needs, each failing check with its fix
    Doctor(ReadArgs),
    /// Watch nodes, processes and flows in the terminal
    Top,
    /// Make nodes on this machine, to try things out
    Dev(DevArgs),
    /// Tell what happened, and why
    Events(EventsArgs),
    /// Make, list or revoke join tokens
    #[command(subcommand)]
    Token(TokenVerb),
    /// Keep one family at one node; started by an agent
    #[command(hide = true)]
    Warden(WardenArgs),
    /// Watch over one attempt of a job; started by an agent
    #[command(hide = true, name = PARENT_VERB)]
    JobParent {
        /// Its record
        record: PathBuf,
    },
    /// Become the program of a job; started by its parent
    #[command(hide = true, name = PROGRAM_VERB)]
    JobProgram {
        /// Its record
        record: PathBuf,
    },
    /// Hold the nodes of `dev`; started by it
    #[command(hide = true, name = DEV_KEEPER_VERB)]
    DevKeeper {
        /// How many
        #[arg(long)]
        nodes: u8,
    },
    /// Be the first process of a node of this machine
    #[command(hide = true, name = NODE_INIT_VERB)]
    NodeInit {
        /// The node, as JSON
        spec: String,
    },
}

/// `homing init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// This node's name [default: the host name]
    #[arg(long, value_parser = config::node_name)]
    pub name: Option<String>,
    /// The cluster's name
    #[arg(long, default_value = "lab", value_parser = config::node_name)]
    pub cluster: String,
    /// Where the agent listens and where others reach it (UDP), such as 10.0.0.1:7749
    #[arg(long, value_name = "IP:PORT", value_parser = values::listen)]
    pub listen: Option<SocketAddr>,
    /// How long the printed join token holds
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "1h")]
    pub ttl: Duration,
}

/// `homing join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// A member's address, IP or IP:PORT
    #[arg(value_parser = values::listen)]
    pub addr: SocketAddr,
    /// What `homing init` or `homing token create` printed there
    pub token: String,
    /// This node's name [default: the host name]
    #[arg(long, value_parser = config::node_name)]
    pub name: Option<String>,
    /// Where the agent listens and where others reach it (UDP)
    #[arg(long, value_name = "IP:PORT", value_parser = values::listen)]
    pub listen: Option<SocketAddr>,
}

/// `homing agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// UDP ports of this node's wardens
    #[arg(long, value_name = "A-B", default_value = config::WARDEN_PORTS)]
    pub ports: Ports,
    /// Let processes of uid 0 move from and to this node
    #[arg(long)]
    pub allow_root: bool,
    /// For how many seconds a process of this node that is away lives on without a link to it; for 0.8 of them it
    /// computes, and nothing that it does then is seen
    #[arg(long, value_name = "SECONDS", default_value_t = config::LEASE_S, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub lease: u32,
    /// Processor features that guests shall not count on here, as in /proc/cpuinfo, such as avx2,avx512f
    #[arg(long, value_name = "FLAGS", value_delimiter = ',')]
    pub without_cpu: Vec<String>,
    /// Memory that guests may have here in all, such as 512M or 2G [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub guest_memory: Option<u64>,
    /// Speak as a build would whose newest protocol version is this one, to try out an upgrade
    #[arg(long, hide = true, value_name = "N")]
    pub speak_version: Option<u16>,
}

/// `homing dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// How many: n1 is this machine itself, the others are namespaces
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub nodes: u8,
    /// Let a program go round the nodes while it works
    #[arg(long)]
    pub demo: bool,
    /// Show the dashboard; --demo does on a terminal
    #[arg(long)]
    pub tui: bool,
    /// End by itself after this time, such as 30s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    pub limit: Option<Duration>,
}

/// `homing run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// A verb that only reads.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `homing ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Also list what was never started or moved by homing
    #[arg(long)]
    pub all: bool,
    /// Print again every second
    #[arg(short, long)]
    pub watch: bool,
}

/// `homing move`.
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The process, by its PID at home
    pub pid: u32,
    /// The node's name, or `home`
    #[arg(value_name = "NODE|home")]
    pub to: String,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait until the move is done
    #[arg(long, conflicts_with = "dry_run")]
    pub no_wait: bool,
}

/// `homing why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The process, by its PID at home
    pub pid: u32,
    /// Only this node
    pub node: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `homing events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on printing what happens
    #[arg(short, long)]
    pub follow: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `homing token`.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Print a token that adds one machine
    Create {
        /// How long it holds
        #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "1h")]
        ttl: Duration,
    },
    /// List tokens that can still be used
    List(ReadArgs),
    /// Make a token useless
    Revoke {
        /// Its id, as `list` prints it
        id: String,
    },
}

#[cfg(test)]
mod tests;
