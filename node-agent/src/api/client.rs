//! The command line's end of the agent's socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use transport::frame::{FrameError, Reader, Writer};

use super::{Greeting, Request, Response, VERSION};
use crate::exit::{ExitCode, Failure, chain};

/// A connection to the agent that has greeted.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    reader: Reader<OwnedReadHalf>,
    writer: Writer<OwnedWriteHalf>,
}

impl Client {
    /// Connects and compares versions.
    ///
    /// # Errors
    /// `NoAgent` if nobody answers, `Version` if the agent is another version.
    pub async fn connect(socket: &Path) -> Result<Client, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(|error| unreachable_agent(socket, &error))?;
        let (reader, writer) = stream.into_split();
        let mut client =
            Client { socket: socket.to_owned(), reader: Reader::new(reader), writer: Writer::new(writer) };
        client.writer.send(&Greeting::ours(), &[]).await.map_err(|error| client.broken(&error))?;
        let greeting = timeout(GREETING_MAX, client.reader.recv::<Greeting>()).await;
        let greeting = match greeting {
            Err(_) => return Err(client.silent()),
            Ok(Err(error)) => return Err(client.broken(&error)),
            Ok(Ok(None)) => return Err(client.closed()),
            Ok(Ok(Some((greeting, _)))) => greeting,
        };
        if greeting.version != VERSION {
            let why = format!(
                "the agent is homing {} (interface {}), this command is homing {} (interface {VERSION})",
                greeting.program,
                greeting.version,
                env!("CARGO_PKG_VERSION"),
            );
            let next = "restart the agent with the installed version; moved programs do not notice";
            return Err(Failure::new(ExitCode::Version, client.what(), why).next(next));
        }
        Ok(client)
    }

    /// Asks and returns the answer that ends the request, handing `Progress` to `on_progress`.
    ///
    /// # Errors
    /// What the agent says it could not do, or `NoAgent` if it went away.
    pub async fn ask(
        &mut self,
        request: &Request,
        mut on_progress: impl FnMut(u32, u64),
    ) -> Result<Response, Failure> {
        self.writer.send(request, &[]).await.map_err(|error| self.broken(&error))?;
        loop {
            match self.reader.recv::<Response>().await.map_err(|error| self.broken(&error))? {
                None => return Err(self.closed()),
                Some((Response::Progress { round, bytes_sent }, _)) => on_progress(round, bytes_sent),
                Some((Response::Failed(failure), _)) => return Err(failure),
                Some((response, _)) => return Ok(response),
            }
        }
    }

    fn what(&self) -> String {
        format!("cannot talk to the agent at {}", self.socket.display())
    }

    fn broken(&self, error: &FrameError) -> Failure {
        Failure::new(ExitCode::NoAgent, self.what(), chain(error)).next(NEXT)
    }

    fn closed(&self) -> Failure {
        Failure::new(ExitCode::NoAgent, self.what(), "it closed the connection").next(NEXT)
    }

    fn silent(&self) -> Failure {
        let why = format!("it gave no answer for {} s", GREETING_MAX.as_secs());
        Failure::new(ExitCode::NoAgent, self.what(), why).next(NEXT)
    }
}

/// The failure for an answer that does not belong to its request: one of the ends has an error.
#[must_use]
pub fn unexpected(response: &Response) -> Failure {
    let what = "the agent answered something else than was asked";
    Failure::new(ExitCode::Failed, what, format!("{response:?}").chars().take(200).collect::<String>())
}

fn unreachable_agent(socket: &Path, error: &io::Error) -> Failure {
    let what = format!("no agent at {}", socket.display());
    let why = match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".into(),
        io::ErrorKind::ConnectionRefused => "it does not run any more".into(),
        _ => error.to_string(),
    };
    Failure::new(ExitCode::NoAgent, what, why).next(NEXT)
}

const NEXT: &str = "start the agent (`homing agent`), or name its socket with --socket or HOMING_SOCKET";

/// An agent greets at once; one that does not is stopped or hangs.
const GREETING_MAX: Duration = Duration::from_secs(5);
