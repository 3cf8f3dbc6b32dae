//! The program that the demo moves: a script for the perl that every Debian has, with a pipe and a TCP client.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::dev::places::Places;

/// The running script, the two ends of its pipes and the client's end of its connection.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    pid: u32,
    to_pipe: ChildStdin,
    from_pipe: Lines<BufReader<ChildStdout>>,
    to_server: OwnedWriteHalf,
    from_server: Lines<BufReader<OwnedReadHalf>>,
    counted: u64,
}

impl Program {
    /// Starts it as `homing run` does for anyone, and connects to it from outside.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub(super) async fn start(homing: &Path, places: &Places) -> Result<Program, ProgramError> {
        let script = places.root().join("counter.pl");
        fs::write(&script, SCRIPT).map_err(ProgramError::Start)?;
        let mut command = Command::new(homing);
        command.arg("--socket").arg(places.socket()).args(["run", "--", "perl"]).arg(&script);
        // A group of its own, so that Ctrl-C reaches the demo alone, which then ends it in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(ProgramError::Start)?;
        let pid = child.id().ok_or(ProgramError::Ended)?;
        let to_pipe = child.stdin.take().ok_or(ProgramError::Ended)?;
        let stdout = child.stdout.take().ok_or(ProgramError::Ended)?;
        let mut from_pipe = BufReader::new(stdout).lines();
        let port = answer(from_pipe.next_line()).await?.parse().map_err(|_| ProgramError::NoPort)?;
        let connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let (from_server, to_server) = connection.map_err(ProgramError::Connect)?.into_split();
        let from_server = BufReader::new(from_server).lines();
        Ok(Program { child, pid, to_pipe, from_pipe, to_server, from_server, counted: 0 })
    }

    /// Its pid, which stays the same wherever it is.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it count once, and checks what both the pipe and the connection say; returns the count and how long it
    /// took.
    ///
    /// # Errors
    /// [`ProgramError::Wrong`] if anything was lost, repeated or changed; others if the program or a connection ended.
    pub(super) async fn count(&mut self) -> Result<(u64, Duration), ProgramError> {
        let asked = Instant::now();
        self.to_pipe.write_all(b"again\n").await.map_err(ProgramError::Pipe)?;
        let by_pipe = match answer(self.from_pipe.next_line()).await {
            Err(ProgramError::Ended) => return Err(self.death().await),
            answered => answered?,
        };
        let by_connection = answer(self.from_server.next_line()).await?;
        self.to_server
            .write_all(format!("{by_connection}\n").as_bytes())
            .await
            .map_err(ProgramError::Pipe)?;
        let expected = format!("{} {MEMORY_SUM}", self.counted + 1);
        if by_pipe != expected || by_connection != expected {
            return Err(ProgramError::Wrong { expected, by_pipe, by_connection });
        }
        self.counted += 1;
        Ok((self.counted, asked.elapsed()))
    }

    /// Ends its input, upon which it ends by itself.
    ///
    /// # Errors
    /// When it does not, or not with exit code 0.
    pub(super) async fn finish(mut self) -> Result<(), ProgramError> {
        drop(self.to_pipe);
        let ended = timeout(ANSWER_MAX, self.child.wait()).await.map_err(|_| ProgramError::Silent)?;
        match ended.map_err(ProgramError::Pipe)? {
            status if status.success() => Ok(()),
            status => Err(ProgramError::Failed(status)),
        }
    }
}

impl Program {
    /// How it has ended, once its pipe says so.
    async fn death(&mut self) -> ProgramError {
        match timeout(ANSWER_MAX, self.child.wait()).await {
            Ok(Ok(status)) => ProgramError::Failed(status),
            _ => ProgramError::Ended,
        }
    }
}

/// What went wrong with the demo's program.
#[derive(Debug, Error)]
pub(super) enum ProgramError {
    #[error("cannot start perl")]
    Start(#[source] io::Error),
    #[error("the program has closed its output")]
    Ended,
    #[error("the program did not say its port")]
    NoPort,
    #[error("cannot connect to the program")]
    Connect(#[source] io::Error),
    #[error("a pipe or the connection to the program is broken")]
    Pipe(#[source] io::Error),
    #[error("the program said nothing for {} s", ANSWER_MAX.as_secs())]
    Silent,
    #[error("expected `{expected}`, the pipe said `{by_pipe}`, the connection `{by_connection}`")]
    Wrong { expected: String, by_pipe: String, by_connection: String },
    #[error("the program has ended with {0}")]
    Failed(ExitStatus),
}

async fn answer(line: impl Future<Output = io::Result<Option<String>>>) -> Result<String, ProgramError> {
    let line = timeout(ANSWER_MAX, line).await.map_err(|_| ProgramError::Silent)?;
    line.map_err(ProgramError::Pipe)?.ok_or(ProgramError::Ended)
}

const SCRIPT: &str = include_str!("counter.pl");

/// The sum of the script's memory: 200 times 0 to 999.
const MEMORY_SUM: u64 = 200 * 999 * 1000 / 2;

/// Longer than any pause of a move.
const ANSWER_MAX: Duration = Duration::from_secs(20);
