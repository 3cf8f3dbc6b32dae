//! Clients that talk to a program from outside of the cluster while it is moved.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::{LabNode, Program, Running, User};

use super::CheckError;

/// Clients of a program that serves, and how it is told to end.
///
/// The clients check all that they are told; what the program serves is therefore compared by them, and its own
/// output and exit code as for any other program.
#[derive(Clone, Debug)]
pub struct Load {
    /// The TCP port that the program listens on.
    pub port: u16,
    /// Each one talks from a thread of its own.
    pub clients: Vec<Client>,
    /// How long they talk at least.
    pub time: Duration,
    /// The signal, as `kill` calls it, after which the program ends in an orderly way.
    pub end: &'static str,
    /// What must be true at home when all is over: how the program tells what it has been asked for.
    pub after: fn(&LabNode, &[Served]) -> Result<(), String>,
}

/// Talks to the program until [`Talk::goes_on`] says that it is enough; an error is what was not as it must be.
pub type Client = fn(&mut Talk) -> Result<(), String>;

/// What one client was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that were answered.
    pub requests: u64,
    /// The longest that it waited for an answer.
    pub longest_wait: Duration,
}

/// One client's side of a load.
#[derive(Debug)]
pub struct Talk {
    /// Where the program listens.
    pub server: SocketAddr,
    /// The client's number among all, from 0.
    pub number: usize,
    served: Served,
    over: Arc<AtomicBool>,
}

impl Talk {
    /// False when it is enough.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// How many requests have been answered: the number of the next one.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.served.requests
    }

    /// Makes one request by `ask`, and counts it when it is answered.
    ///
    /// # Errors
    /// What `ask` says, with the number of the request.
    pub fn ask<T>(&mut self, ask: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let asked = Instant::now();
        let answer = ask().map_err(|reason| {
            format!("client {}, request {}: {reason}", self.number, self.served.requests)
        })?;
        self.served.longest_wait = self.served.longest_wait.max(asked.elapsed());
        self.served.requests += 1;
        Ok(answer)
    }
}

/// A load that is under way.
pub(super) struct UnderLoad {
    clients: Vec<JoinHandle<Result<Served, String>>>,
    over: Arc<AtomicBool>,
    until: Instant,
}

impl UnderLoad {
    /// Waits until the program listens, and starts to talk to it.
    pub(super) fn start(load: &Load, at: Ipv4Addr, patience: Duration) -> Result<UnderLoad, CheckError> {
        let server = SocketAddr::from((at, load.port));
        let deadline = Instant::now() + patience;
        while let Err(error) = TcpStream::connect_timeout(&server, patience) {
            if Instant::now() > deadline {
                return Err(CheckError::Load(format!("nobody listens at {server}: {error}")));
            }
            thread::sleep(POLL_INTERVAL);
        }
        let over = Arc::new(AtomicBool::new(false));
        let clients = load.clients.iter().enumerate().map(|(number, &client)| {
            let over = Arc::clone(&over);
            let mut talk = Talk { server, number, served: Served::default(), over };
            thread::spawn(move || client(&mut talk).map(|()| talk.served))
        });
        Ok(UnderLoad { clients: clients.collect(), over, until: Instant::now() + load.time })
    }

    /// True when the clients have talked long enough, or one of them has failed.
    pub(super) fn is_enough(&self) -> bool {
        Instant::now() >= self.until || self.clients.iter().any(JoinHandle::is_finished)
    }

    /// Lets the clients finish, and then tells the program to end.
    pub(super) fn end(
        self,
        load: &Load,
        home: &LabNode,
        running: &Running,
    ) -> Result<Vec<Served>, CheckError> {
        self.over.store(true, Ordering::Relaxed);
        let served = self.clients.into_iter().map(|client| {
            client.join().unwrap_or_else(|_| Err("a client panicked".into())).map_err(CheckError::Load)
        });
        let served = served.collect::<Result<_, _>>()?;
        let kill = ["-c", "kill -s \"$0\" \"$1\"", load.end, &running.pid().to_string()];
        let kill = home.exec(&Program::new("sh").args(&kill).user(User::Root))?;
        match kill.finish(PATIENCE)?.code {
            0 => Ok(served),
            _ => Err(CheckError::Load("the program ended before it was told to".into())),
        }
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);
