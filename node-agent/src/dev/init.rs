//! The first process of a node: the hidden verb `node-init`.
//!
//! Two processes. The *holder* makes the namespaces and waits; the *init* is process 1 in them: it builds the
//! node, starts its command, adopts and reaps orphans, and tells the node's name to callers. When the starter's pipe
//! ends, the init ends, and the kernel ends every process of its pid namespace with it. In a container the engine
//! has made the namespaces, and there is only the init.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use migration::sys::namespaces::{self, Flags, NamespaceError};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{ExitCode, chain};

use super::interface::{self, InterfaceError};
use super::root::{self, RootError};
use super::spec::{CommandSpec, NODE_INTERFACE, NodeSpec, Report, Walls};

/// Runs the verb: `spec` is its argument. What went wrong is told to the starter as [`Report::Failed`].
///
/// Must be called before the process has a second thread.
#[must_use]
pub fn main(spec: &str) -> ExitCode {
    let result = match serde_json::from_str::<NodeSpec>(spec) {
        Ok(spec) => match spec.walls {
            Walls::Namespaces { clock_ahead_s } => hold(&spec, clock_ahead_s),
            Walls::Container => {
                report(&Report::Created { init: std::process::id() });
                Ok(init(&spec))
            }
        },
        Err(error) => Err(InitError::Spec(error)),
    };
    result.unwrap_or_else(|error| fail(&error))
}

/// The holder: makes the namespaces and waits for the init in them.
fn hold(spec: &NodeSpec, clock_ahead_s: i64) -> Result<ExitCode, InitError> {
    let walls = Flags::NET | Flags::MOUNT | Flags::UTS | Flags::IPC | Flags::PID | Flags::TIME;
    namespaces::unshare(walls)?;
    namespaces::set_clock_offsets(clock_ahead_s, clock_ahead_s)?;
    let child = namespaces::fork_child(|| {
        let code = namespaces::die_with_parent().map_or_else(|error| fail(&error.into()), |()| init(spec));
        code as i32
    })?;
    report(&Report::Created { init: child.get() });
    let ended = namespaces::wait_child(child)?;
    Ok(if ended.success() { ExitCode::Done } else { ExitCode::Failed })
}

/// Process 1: builds the node, then serves until the starter is gone.
fn init(spec: &NodeSpec) -> ExitCode {
    if !wait_for_link() {
        return ExitCode::Done;
    }
    let served = build(spec).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(InitError::Loop)?.block_on(serve(spec))
    });
    match served {
        Ok(()) => ExitCode::Done,
        Err(error) => fail(&error),
    }
}

/// False when the starter is gone before it has given the node its interface.
fn wait_for_link() -> bool {
    matches!(io::stdin().read(&mut [0; 1]), Ok(1))
}

fn build(spec: &NodeSpec) -> Result<(), InitError> {
    if let Walls::Namespaces { .. } = spec.walls {
        namespaces::make_mounts_private()?;
        match &spec.root {
            Some(root) => root::enter(root)?,
            None => namespaces::mount("proc", Path::new("/proc"), "")?,
        }
        namespaces::sethostname(&spec.name)?;
    }
    for file in &spec.files {
        fs::write(&file.path, &file.text)
            .map_err(|source| InitError::File { path: file.path.clone(), source })?;
    }
    interface::configure("lo", None)?;
    Ok(interface::configure(NODE_INTERFACE, Some(spec.address))?)
}

enum Event {
    StarterGone,
    ChildEnded,
    Caller(TcpStream),
}

async fn serve(spec: &NodeSpec) -> Result<(), InitError> {
    let starter = io::stdin().as_fd().try_clone_to_owned().map_err(InitError::Loop)?;
    let mut starter = pipe::Receiver::from_owned_fd(starter).map_err(InitError::Loop)?;
    let mut children = signal(SignalKind::child()).map_err(InitError::Loop)?;
    let callers = match spec.name_port {
        Some(port) => Some(listen(port).await?),
        None => None,
    };
    let command = spec.command.as_ref().map(start).transpose()?;
    report(&Report::Ready);
    loop {
        match next(&mut starter, &mut children, callers.as_ref()).await {
            Event::StarterGone => return Ok(()),
            Event::ChildEnded => reap(command)?,
            // A caller that has gone needs no answer.
            Event::Caller(mut caller) => drop(caller.write_all(spec.name.as_bytes()).await),
        }
    }
}

async fn next(starter: &mut pipe::Receiver, children: &mut Signal, callers: Option<&TcpListener>) -> Event {
    let mut ignored = [0; 16];
    loop {
        tokio::select! {
            read = starter.read(&mut ignored) => if !matches!(read, Ok(1..)) { return Event::StarterGone },
            _ = children.recv() => return Event::ChildEnded,
            Some(Ok((caller, _))) = accept(callers) => return Event::Caller(caller),
        }
    }
}

async fn accept(callers: Option<&TcpListener>) -> Option<io::Result<(TcpStream, std::net::SocketAddr)>> {
    Some(callers?.accept().await)
}

async fn listen(port: u16) -> Result<TcpListener, InitError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| InitError::Listen { port, source })
}

/// Starts the command and returns its pid; it is reaped like any other child.
fn start(command: &CommandSpec) -> Result<u32, InitError> {
    let failed = |source| InitError::Start { command: command.args.join(" "), source };
    let log = OpenOptions::new().create(true).append(true).open(&command.log).map_err(failed)?;
    let (program, args) =
        command.args.split_first().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let stderr: File = log.try_clone().map_err(failed)?;
    let child = Command::new(program)
        .args(args)
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(stderr)
        .spawn()
        .map_err(failed)?;
    Ok(child.id())
}

fn reap(command: Option<u32>) -> Result<(), InitError> {
    while let Some((pid, status)) = namespaces::reap()? {
        if Some(pid.get()) == command {
            report(&Report::CommandEnded { code: shell_code(status) });
        }
    }
    Ok(())
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

/// Nobody listens any more when this fails, and the end of standard input is on its way.
fn report(report: &Report) {
    let mut line = serde_json::to_string(report).expect("a report has only strings and numbers");
    line.push('\n');
    let _ = io::stdout().write_all(line.as_bytes());
}

fn fail(error: &InitError) -> ExitCode {
    report(&Report::Failed { reason: chain(error) });
    ExitCode::Failed
}

/// What kept the node from being made; sent to the starter as text.
#[derive(Debug, Error)]
enum InitError {
    #[error("the argument of node-init is not a node specification")]
    Spec(#[source] serde_json::Error),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("cannot write {path}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen { port: u16, source: io::Error },
    #[error("cannot start {command}")]
    Start { command: String, source: io::Error },
    #[error("cannot run the node's event loop")]
    Loop(#[source] io::Error),
}
