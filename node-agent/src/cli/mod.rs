//! The command line: understands what is asked, asks the agent, prints. Data goes to standard output, talk to
//! standard error.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use transport::version::Versions;

use crate::agent::{self, AgentError};
use crate::api::client::Client;
use crate::config::{NodeFile, read_json};
use crate::exit::{ExitCode, Failure};
use crate::hardening;
use crate::job;
use crate::mover::place::Reserve;

pub mod args;
mod cluster;
mod dev;
mod doctor;
mod movement;
mod show;
mod table;
mod top;
mod values;
pub mod warden_args;

use args::{AgentArgs, Cli, Color, Common, Verb};
use warden_args::{WardenArgs, WardenSide};

/// Runs `homing` with these arguments, the program's name first, and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, &args).into(),
    };
    // These tell their starter what goes wrong; standard error is the starter's own.
    match &cli.verb {
        Verb::NodeInit { spec } => return crate::dev::init::main(spec).into(),
        Verb::DevKeeper { nodes } => {
            return crate::dev::keeper::main(&dev::places(&cli.common), *nodes).into();
        }
        _ => {}
    }
    match dispatch(cli) {
        Ok(()) => ExitCode::Done.into(),
        Err(failure) => {
            // With standard error gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "homing: {failure}");
            failure.code.into()
        }
    }
}

fn dispatch(Cli { common, verb }: Cli) -> Result<(), Failure> {
    match verb {
        Verb::Init(args) => cluster::init(&common, args),
        Verb::Join(args) => wait(&common, cluster::join(&common, args)),
        Verb::Agent(args) => serve(&common, args),
        Verb::Run(args) => {
            let socket = common.agent_socket();
            let registered = wait(&common, async { job::register(&socket).await });
            registered.map_err(|failure| Failure { code: ExitCode::NotStarted, ..failure })?;
            Err(job::become_program(&args.command))
        }
        Verb::Ps(args) => show::ps(&common, &args),
        Verb::Nodes(args) => wait(&common, show::nodes(&common, args.json)),
        Verb::Move(args) => wait(&common, movement::migrate(&common, &args)),
        Verb::Why(args) => wait(&common, movement::why(&common, &args)),
        Verb::Doctor(args) => doctor::doctor(&common, args.json),
        Verb::Top => top::top(&common),
        Verb::Dev(args) => dev::dev(&common, &args),
        Verb::Events(args) => show::events(&common, &args),
        Verb::Token(verb) => wait(&common, cluster::token(&common, verb)),
        Verb::Warden(args) => keep(&args),
        Verb::NodeInit { .. } | Verb::DevKeeper { .. } => Ok(()),
    }
}

fn serve(common: &Common, args: AgentArgs) -> Result<(), Failure> {
    start_logging(common.verbose, common.quiet);
    hardening::of_agent()
        .map_err(|error| Failure::new(ExitCode::Failed, "the agent cannot hide its memory", error))?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let options = agent::Options {
        dirs: common.dirs(),
        socket: common.agent_socket(),
        ports: args.ports,
        allow_root: args.allow_root,
        lease_s: args.lease,
        reserve: Reserve { cpu_flags: args.without_cpu, guest_memory_bytes: args.guest_memory },
        versions: args.speak_version.map_or_else(Versions::default, Versions::announcing),
        program,
    };
    block_on(agent::serve(options))?.map_err(|error| {
        let next = match &error {
            AgentError::NoNode { .. } => "make a cluster with `homing init`, or join one with `homing join`",
            AgentError::AlreadyServed { .. } => "use that one, or stop it first",
            AgentError::Listen { .. } => "see who holds the port: homing doctor",
            _ => "run `homing doctor`",
        };
        Failure::from_error(ExitCode::Failed, "the agent cannot serve", &error).next(next)
    })
}

/// Becomes a warden, in a session of its own so that nothing that ends its agent ends it too.
fn keep(args: &WardenArgs) -> Result<(), Failure> {
    let what = match &args.side {
        WardenSide::Home { pid, .. } => format!("cannot keep the family of {pid}"),
        WardenSide::Guest { .. } => "cannot keep a guest".to_owned(),
    };
    start_logging(false, true);
    rustix::process::setsid().map_err(|error| Failure::new(ExitCode::Failed, what.as_str(), error))?;
    hardening::of_warden().map_err(|error| Failure::new(ExitCode::Failed, what.as_str(), error))?;
    crate::warden::main(args).map_err(|why| Failure::new(ExitCode::Failed, what, why))
}

/// Runs a verb to its end, or to that of `--timeout`.
fn wait(common: &Common, verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on(async {
        let Some(limit) = common.timeout else { return verb.await };
        tokio::time::timeout(limit, verb).await.unwrap_or_else(|_| {
            let why = format!("--timeout of {} is over", table::duration(limit));
            let failure = Failure::new(ExitCode::UnderWay, "still under way", why);
            Err(failure.next("it goes on; see homing ps"))
        })
    })?
}

/// Repeats a verb, until `--timeout` if there is one.
fn repeat<F: Future<Output = Result<(), Failure>>>(
    common: &Common,
    pause: Duration,
    mut verb: impl FnMut() -> F,
) -> Result<(), Failure> {
    block_on(async {
        let forever = async {
            loop {
                verb().await?;
                tokio::time::sleep(pause).await;
            }
        };
        match common.timeout {
            None => forever.await,
            Some(limit) => tokio::time::timeout(limit, forever).await.unwrap_or(Ok(())),
        }
    })?
}

fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(ExitCode::Failed, "cannot start the event loop", error))?;
    Ok(runtime.block_on(future))
}

async fn connect(common: &Common) -> Result<Client, Failure> {
    Client::connect(&common.agent_socket()).await
}

/// The file that says which node this is, if it is one.
fn node_file(common: &Common) -> Result<Option<NodeFile>, Failure> {
    read_json(&common.dirs().node_file())
        .map_err(|error| Failure::from_error(ExitCode::Failed, "cannot tell which node this is", &error))
}

/// Prints data.
fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    written.map_err(|error| Failure::new(ExitCode::Failed, "cannot write to standard output", error))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(ExitCode::Failed, "cannot print JSON", error))?;
    print(&(text + "\n"))
}

/// Talks, unless told to be quiet.
fn talk(common: &Common, text: &str) {
    if !common.quiet {
        // With standard error gone there is nobody to talk to.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Whether standard output shall have colours.
fn colourful(color: Color) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
        }
    }
}

fn misunderstood(error: &clap::Error, args: &[OsString]) -> ExitCode {
    // With standard error gone there is nobody to tell.
    let _ = error.print();
    let runs = args.iter().skip(1).find(|arg| !arg.to_string_lossy().starts_with('-'));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Done,
        // Code 2 of `run` belongs to the program.
        _ if runs.is_some_and(|verb| verb == "run") => ExitCode::NotStarted,
        _ => ExitCode::Usage,
    }
}

fn start_logging(verbose: bool, quiet: bool) {
    let level = match (verbose, quiet) {
        (true, _) => "debug,quinn=info,rustls=info",
        (_, true) => "warn",
        _ => "info,quinn=warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOMING_LOG").unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
