//! The parent of one attempt of a job: the hidden verb `job-parent`.
//!
//! It starts the program, keeps its output, ends it when its time is over, passes signals on, and writes down how it
//! ended. No agent is needed for any of that: agents come and go, and find the [record](super::record).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use migration::sys::{Errno, fds, readiness};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::launch::{Launch, not_started};
use super::output::{Keeper, Stream};
use super::program;
use super::record::{Lock, Record, Started, Status};
use crate::api::Request;
use crate::api::client::Client;
use crate::api::jobs::JobRequest;
use crate::exit::{ExitCode, Failure};
use crate::proc;
use crate::queue::End;

/// Keeps one attempt to its end.
///
/// # Errors
/// When there is no record of it. Everything else stands in the record then.
pub fn main(dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(ExitCode::Failed, format!("cannot keep the job of {}", dir.display()), error)
    };
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let record = Record::at(dir.to_owned());
    let Some(lock) = record.lock().map_err(failed)? else { return Ok(()) };
    if record.started().map_err(failed)?.is_some() || record.status().map_err(failed)?.is_some() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(keep(&record, &lock)).map_err(failed)
}

async fn keep(record: &Record, lock: &Lock) -> io::Result<()> {
    let launch = record.launch()?;
    let agent = Path::new(OsStr::from_bytes(&launch.agent));
    let signals = signals()?;
    let Program { child, pid, outputs } = match start(record, lock).await {
        Ok(program) => program,
        Err(end) => {
            write_down(record, lock, &Status { end, dropped_bytes: 0 }).await;
            tell(agent).await;
            return Ok(());
        }
    };
    tell(agent).await;
    let dropped = Arc::new(AtomicU64::new(0));
    let copies = outputs.map(|(output, stream)| {
        let keeper = Keeper::new(record.dir(), stream);
        tokio::spawn(copy(output, keeper, Arc::clone(&dropped)))
    });
    let mut copies = join_all(copies);
    let end = wait(child, pid, &launch, signals).await;
    // What the program has written is in the pipes; what it has left behind may hold them for long.
    let is_drained = timeout(DRAIN_MAX, &mut copies).await.is_ok();
    write_down(record, lock, &Status { end, dropped_bytes: dropped.load(Ordering::Relaxed) }).await;
    tell(agent).await;
    if !is_drained {
        copies.await;
    }
    Ok(())
}

/// A program that has begun.
struct Program {
    child: Child,
    pid: Pid,
    outputs: [(Receiver, Stream); 2],
}

/// Starts the process that becomes the program; what it is stands in the record before its first instruction.
async fn start(record: &Record, lock: &Lock) -> Result<Program, End> {
    let failed = |what: &'static str| {
        move |error: io::Error| not_started(&Failure::new(ExitCode::NotStarted, what, error))
    };
    let (ours, theirs) =
        fds::socket_pair().map_err(from_errno).map_err(failed("cannot make a socket for the program"))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(PROGRAM_VERB).arg(record.dir()).env_clear().current_dir("/");
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let mut child = command.spawn().map_err(failed("cannot start the program's process"))?;
    // Its copy of the program's end of the socket must go.
    drop(command);
    let begun = begin(record, lock, &child, ours).await;
    match begun {
        Ok((pid, outputs)) => Ok(Program { child, pid, outputs }),
        Err(end) => {
            // It ends by itself, except if it was never told to go.
            let _ = child.start_kill();
            let _ = child.wait().await;
            Err(end)
        }
    }
}

async fn begin(
    record: &Record,
    lock: &Lock,
    child: &Child,
    socket: OwnedFd,
) -> Result<(Pid, [(Receiver, Stream); 2]), End> {
    let failed = |what: &'static str| {
        move |error: io::Error| not_started(&Failure::new(ExitCode::NotStarted, what, error))
    };
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let process = child.id().and_then(proc::process);
    let process = process.ok_or_else(gone).map_err(failed("the program's process is gone"))?;
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or_else(gone);
    let pid = pid.map_err(failed("the program's process is gone"))?;
    let (out, out_end) = pipe().map_err(failed("cannot make a pipe for its output"))?;
    let (err, err_end) = pipe().map_err(failed("cannot make a pipe for its output"))?;
    record
        .write_started(lock, &Started::of(&process))
        .map_err(failed("cannot write down what is started"))?;
    let say = |word: &[u8], fd: Option<&OwnedFd>| {
        fds::send(socket.as_fd(), word, fd.map(AsFd::as_fd)).map_err(from_errno)
    };
    say(program::OUT, Some(&out_end))
        .and_then(|()| say(program::ERR, Some(&err_end)))
        .and_then(|()| say(program::GO, None))
        .map_err(failed("cannot tell the program's process to go"))?;
    drop((out_end, err_end));
    let answer = hear(socket).await.map_err(failed("cannot hear the program's process"))?;
    match answer {
        None => Ok((pid, [(out, Stream::Out), (err, Stream::Err)])),
        Some(end) => Err(end),
    }
}

/// What goes wrong before the program begins; nothing when it has begun.
async fn hear(socket: OwnedFd) -> io::Result<Option<End>> {
    let socket = readiness::readable(socket)?;
    drop(socket.readable().await?);
    let mut bytes = vec![0; ANSWER_BYTES_MAX];
    let (length, _) = fds::receive(socket.get_ref().as_fd(), &mut bytes).map_err(from_errno)?;
    Ok((length > 0).then(|| program::understand(&bytes[..length])))
}

fn pipe() -> io::Result<(Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((Receiver::from_owned_fd(reader)?, writer))
}

async fn copy(mut output: Receiver, mut keeper: Keeper, dropped: Arc<AtomicU64>) {
    let mut buffer = vec![0; COPY_BYTES];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        let before = keeper.dropped_bytes();
        keeper.keep(&buffer[..length]);
        dropped.fetch_add(keeper.dropped_bytes() - before, Ordering::Relaxed);
    }
}

/// Waits for the end of the program, and brings it about when its time is over.
async fn wait(mut child: Child, pid: Pid, launch: &Launch, mut signals: mpsc::Receiver<Signal>) -> End {
    let limit = launch.time_limit_ms.map(Duration::from_millis);
    let mut overtime = pin!(async {
        match limit {
            None => std::future::pending().await,
            Some(limit) => sleep(limit).await,
        }
        send(pid, Signal::TERM);
        sleep(GRACE).await;
        send(pid, Signal::KILL);
        std::future::pending::<()>().await;
    });
    let began = Instant::now();
    loop {
        tokio::select! {
            status = child.wait() => {
                let is_late = limit.is_some_and(|limit| began.elapsed() >= limit);
                return match status {
                    Ok(status) if !is_late => how(status),
                    Ok(_) => End::TimeLimit,
                    Err(error) => End::Lost { reason: format!("its parent cannot wait for it: {error}") },
                };
            }
            Some(signal) = signals.recv() => send(pid, signal),
            () = &mut overtime => {}
        }
    }
}

fn how(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Lost { reason: format!("it ended in a way that nobody knows: {status}") },
    }
}

/// Sends a signal to the program and to what it has started in its group.
fn send(pid: Pid, signal: Signal) {
    // It may have ended by itself.
    let _ = rustix::process::kill_process_group(pid, signal);
}

/// Signals that are meant for the program.
fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
    for passed in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2] {
        let mut stream = signal(SignalKind::from_raw(passed.as_raw()))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if sender.send(passed).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Writes the status down, however long that takes: nobody else knows it.
async fn write_down(record: &Record, lock: &Lock, status: &Status) {
    let mut pause = WRITE_RETRY_MIN;
    while let Err(error) = record.write_status(lock, status) {
        tracing::error!("{}: cannot write the status down yet: {error}", record.dir().display());
        if !record.dir().exists() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(WRITE_RETRY_MAX);
    }
}

/// Tells the agent to look; one that is not there looks by itself when it comes.
async fn tell(agent: &Path) {
    let telling =
        async { Client::connect(agent).await?.ask(&Request::Job(JobRequest::Look), |_, _| {}).await };
    let _ = timeout(TELL_MAX, telling).await;
}

fn from_errno(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

/// The verb that becomes a job's parent.
pub const PARENT_VERB: &str = "job-parent";

/// The verb that becomes a job's program.
pub const PROGRAM_VERB: &str = "job-program";

/// After the program's end, for what it has left in its pipes.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Between SIGTERM and SIGKILL for a program whose time is over.
pub const GRACE: Duration = Duration::from_secs(10);

const TELL_MAX: Duration = Duration::from_secs(1);

const WRITE_RETRY_MIN: Duration = Duration::from_millis(100);

const WRITE_RETRY_MAX: Duration = Duration::from_secs(5);

const COPY_BYTES: usize = 64 << 10;

const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Signals that wait to be passed on; more of them wait in the kernel.
const SIGNALS_MAX: usize = 16;
