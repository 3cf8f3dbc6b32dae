//! Starting wardens, finding those that a former agent started, and talking to them.
//!
//! A warden is a session of its own with its own log file, so that nothing of it ends when its agent does. Each
//! question goes over a connection of its own; a move keeps one from `Prepare` to its end.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, sleep, timeout_at};
use transport::frame::{FrameError, Reader, Writer};
use transport::{KeyHash, NodeId, ProcessId};

use crate::config::{LOST_FILE, Ports};
use crate::exit::chain;
use crate::members::node_id_to_hex;
use crate::warden::control::{Accept, FromWarden, Offer, ToWarden, WardenStatus};

/// What this node's wardens are started with.
#[derive(Debug)]
pub(super) struct Nursery {
    /// The `homing` binary.
    pub(super) program: PathBuf,
    /// Where the sockets are.
    pub(super) dir: PathBuf,
    /// The address of their UDP sockets.
    pub(super) ip: IpAddr,
    /// Their UDP ports.
    pub(super) ports: Ports,
    /// This node.
    pub(super) node_name: String,
    /// This node.
    pub(super) node_id: NodeId,
    /// Whether processes of uid 0 may move.
    pub(super) allow_root: bool,
    /// The lease of families that are away from here, in seconds.
    pub(super) lease_s: u32,
    /// What it offers to guests, if that is less than it has.
    pub(super) guest_memory_bytes: Option<u64>,
    /// Held while a home warden starts: two of them for one process would fight for it.
    pub(super) starting: Mutex<()>,
    /// Read while any warden starts: between two looks at its socket that is no longer the former one's.
    pub(super) births: RwLock<()>,
}

impl Nursery {
    /// The socket of the home warden of a process; the start time keeps a reused pid apart.
    #[must_use]
    pub(super) fn home_socket(&self, pid: u32, start_ticks: u64) -> PathBuf {
        self.dir.join(format!("home-{pid}-{start_ticks}.sock"))
    }

    /// The socket of a guest warden. The epoch keeps a family's next stay apart from the end of its last one, and an
    /// attempt from one whose warden still waits for a home warden that will not come.
    fn guest_socket(&self, process: ProcessId, epoch: u64) -> PathBuf {
        let ProcessId { home, pid, start_ticks } = process;
        let name = format!("guest-{home}-{pid}-{start_ticks}-{epoch}");
        let sockets = (1..=ATTEMPTS_MAX).map(|attempt| self.dir.join(format!("{name}.{attempt}.sock")));
        let is_free = |socket: &PathBuf| {
            remove_remains(socket);
            !socket.exists()
        };
        sockets.clone().find(is_free).or_else(|| sockets.last()).unwrap_or_default()
    }

    /// Connects to the home warden of a process, starting it if there is none.
    ///
    /// # Errors
    /// When it does not start, with what it said; when it is not there by `deadline`.
    pub(super) async fn home_warden(
        &self,
        pid: u32,
        start_ticks: u64,
        deadline: Instant,
    ) -> Result<Conversation, WardenError> {
        let _alone = self.starting.lock().await;
        let _birth = self.births.read().await;
        let socket = self.home_socket(pid, start_ticks);
        if let Some(conversation) = greet(&socket, deadline).await? {
            return Ok(conversation);
        }
        remove_remains(&socket);
        let mut command = self.command("home", &socket)?;
        command.args(["--pid", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().map_err(WardenError::Start)?;
        loop {
            match greet(&socket, deadline).await {
                Ok(None) => {}
                Ok(Some(conversation)) => {
                    reap(child);
                    return Ok(conversation);
                }
                Err(error) => {
                    abandon(child, &socket).await;
                    return Err(error);
                }
            }
            let ended_how = child.try_wait().map_err(WardenError::Start)?;
            if ended_how.is_some_and(|how| how.success()) && Instant::now() < deadline {
                // Somebody else, who only asks how the family is, has found the new socket first and has left: with no
                // other visitor the warden took itself for one that is not needed.
                child = command.spawn().map_err(WardenError::Start)?;
            } else if ended_how.is_some() {
                let error = ended(&socket);
                remove_remains(&socket);
                return Err(error);
            }
            if Instant::now() >= deadline {
                abandon(child, &socket).await;
                return Err(WardenError::Late);
            }
            sleep(CONNECT_RETRY).await;
        }
    }

    /// Starts a guest warden for an offer; returns its pid and its socket, too.
    ///
    /// # Errors
    /// When it does not start, with what it said; when it does not answer by `deadline`.
    pub(super) async fn guest_warden(
        &self,
        offer: &Offer,
        deadline: Instant,
    ) -> Result<(Accept, u32, PathBuf), WardenError> {
        let _birth = self.births.read().await;
        let socket = self.guest_socket(offer.process, offer.epoch.0);
        let mut command = self.command("guest", &socket)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(WardenError::Start)?;
        let (Some(stdin), Some(stdout), Some(pid)) = (child.stdin.take(), child.stdout.take(), child.id())
        else {
            return Err(WardenError::Start(io::Error::other("no pipes to it")));
        };
        let exchange = async {
            Writer::new(stdin).send(offer, &[]).await.map_err(WardenError::Talk)?;
            let answer = Reader::new(stdout).recv::<Accept>().await.map_err(WardenError::Talk)?;
            answer.map(|(accept, _)| accept).ok_or_else(|| ended(&socket))
        };
        match timeout_at(deadline, exchange).await {
            Ok(Ok(accept)) => {
                reap(child);
                Ok((accept, pid, socket))
            }
            // What a dying warden wrote to its log says more than a broken pipe.
            Ok(Err(error)) => {
                let ended_by_itself = timeout_at(deadline, child.wait()).await.is_ok();
                let error = if ended_by_itself { ended(&socket) } else { error };
                abandon(child, &socket).await;
                Err(error)
            }
            Err(_) => {
                abandon(child, &socket).await;
                Err(WardenError::Late)
            }
        }
    }

    /// Removes what a warden that is gone has left, unless one is just starting: then the next second will do.
    pub(super) fn sweep(&self, socket: &Path) {
        if let Ok(_none) = self.births.try_write() {
            remove_remains(socket);
        }
    }

    /// The sockets of this node's wardens of one family.
    #[must_use]
    pub(super) fn sockets_of(&self, process: ProcessId) -> Vec<PathBuf> {
        let ProcessId { home, pid, start_ticks } = process;
        let (home_warden, guests) =
            (self.home_socket(pid, start_ticks), format!("guest-{home}-{pid}-{start_ticks}-"));
        let is_of_it = |socket: &PathBuf| {
            let name = socket.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&guests) || home == self.node_id && *socket == home_warden
        };
        self.sockets().into_iter().filter(is_of_it).collect()
    }

    /// The sockets in the directory.
    #[must_use]
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        self.files("sock").collect()
    }

    /// The families that were lost since the last look: the pid of the first process, and why. Each is told once, also
    /// if no agent was there at the time.
    #[must_use]
    pub(super) fn losses(&self) -> Vec<(u32, String)> {
        let taken = self.files(LOST_FILE).filter_map(|path| {
            let pid = path.file_stem()?.to_str()?.split('-').nth(1)?.parse().ok()?;
            let reason = fs::read_to_string(&path).ok()?;
            fs::remove_file(&path).ok()?;
            Some((pid, reason))
        });
        taken.collect()
    }

    /// What the wardens have in the directory, by its kind.
    fn files(&self, kind: &'static str) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(move |path| path.extension().is_some_and(|extension| extension == kind))
    }

    fn command(&self, side: &str, socket: &Path) -> Result<Command, WardenError> {
        let log = File::create(log_file(socket)).map_err(WardenError::Start)?;
        let mut command = Command::new(&self.program);
        command.args(["warden", side, "--control"]).arg(socket);
        command.args(["--ip", &self.ip.to_string(), "--ports", &self.ports.to_string()]);
        command.args(["--node-name", &self.node_name, "--node-id", &node_id_to_hex(self.node_id)]);
        command.args(["--lease", &self.lease_s.to_string()]);
        if self.allow_root {
            command.arg("--allow-root");
        }
        if let Some(bytes) = self.guest_memory_bytes {
            command.args(["--guest-memory", &bytes.to_string()]);
        }
        command.current_dir("/").stderr(log);
        Ok(command)
    }
}

/// A connection to a warden.
#[derive(Debug)]
pub(super) struct Conversation {
    reader: Reader<OwnedReadHalf>,
    writer: Writer<OwnedWriteHalf>,
}

impl Conversation {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) async fn connect(socket: &Path) -> io::Result<Conversation> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        Ok(Conversation { reader: Reader::new(reader), writer: Writer::new(writer) })
    }

    /// Asks.
    ///
    /// # Errors
    /// When the warden is gone.
    pub(super) async fn tell(&mut self, message: &ToWarden) -> Result<(), WardenError> {
        self.writer.send(message, &[]).await.map_err(WardenError::Talk)
    }

    /// The next word of the warden.
    ///
    /// # Errors
    /// When the warden is gone or says what nobody understands.
    pub(super) async fn hear(&mut self) -> Result<FromWarden, WardenError> {
        let said = self.reader.recv().await.map_err(WardenError::Talk)?;
        said.map(|(said, _)| said).ok_or(WardenError::Closed)
    }
}

/// Connects to a warden and waits for a first word of it; nothing if there is none, or one that is just ending: its
/// socket still takes connections when it has looked for callers for the last time.
async fn greet(socket: &Path, deadline: Instant) -> Result<Option<Conversation>, WardenError> {
    let Ok(mut conversation) = Conversation::connect(socket).await else { return Ok(None) };
    let greeting = async {
        conversation.tell(&ToWarden::Status).await?;
        conversation.hear().await
    };
    match timeout_at(deadline, greeting).await {
        Ok(Ok(_)) => Ok(Some(conversation)),
        Ok(Err(_)) => Ok(None),
        Err(_) => Err(WardenError::Late),
    }
}

/// True if a warden listens there: the next one of a process has the socket of the last one.
pub(super) fn is_served(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Asks a warden how its family is.
///
/// # Errors
/// [`WardenError::Gone`] if nobody listens any more; others if it is there but gives no status in time.
pub(super) async fn status(socket: &Path) -> Result<WardenStatus, WardenError> {
    ask(socket, &ToWarden::Status).await
}

/// Tells a warden that the other one, of this key, was killed.
///
/// # Errors
/// As [`status`].
pub(super) async fn tell_of_death(socket: &Path, key: KeyHash) -> Result<(), WardenError> {
    ask(socket, &ToWarden::PeerGone { key }).await.map(drop)
}

async fn ask(socket: &Path, question: &ToWarden) -> Result<WardenStatus, WardenError> {
    let exchange = async {
        let mut conversation = match Conversation::connect(socket).await {
            Ok(conversation) => conversation,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(WardenError::Gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(WardenError::Gone),
            Err(error) => return Err(WardenError::Connect(error)),
        };
        conversation.tell(question).await?;
        match conversation.hear().await? {
            FromWarden::Status(status) => Ok(status),
            _ => Err(WardenError::Nonsense),
        }
    };
    timeout_at(Instant::now() + STATUS_MAX, exchange).await.unwrap_or(Err(WardenError::Late))
}

/// Removes the socket and the log of a warden that is gone.
fn remove_remains(socket: &Path) {
    if is_served(socket) {
        return;
    }
    // They may be gone already; whatever stays is removed with the next warden of this name.
    let _ = fs::remove_file(socket);
    let _ = fs::remove_file(log_file(socket));
}

/// A warden that cannot be used.
#[derive(Debug, Error)]
pub(super) enum WardenError {
    /// The process could not be started.
    #[error("cannot start it")]
    Start(#[source] io::Error),
    /// It started and ended.
    #[error("it ended: {0}")]
    Ended(String),
    /// It is not there in time.
    #[error("it gave no answer in time")]
    Late,
    /// Nobody listens at its socket.
    #[error("it is gone")]
    Gone,
    /// Its socket cannot be used.
    #[error("cannot connect to it")]
    Connect(#[source] io::Error),
    /// The conversation broke.
    #[error("cannot talk to it")]
    Talk(#[source] FrameError),
    /// It closed the conversation.
    #[error("it closed the connection")]
    Closed,
    /// It answered something else.
    #[error("it answered something else than was asked")]
    Nonsense,
}

impl WardenError {
    /// In one line, with causes.
    #[must_use]
    pub(super) fn line(&self) -> String {
        chain(self)
    }
}

fn log_file(socket: &Path) -> PathBuf {
    socket.with_extension("log")
}

fn ended(socket: &Path) -> WardenError {
    let log = fs::read_to_string(log_file(socket)).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    WardenError::Ended(last.trim().chars().take(LOG_LINE_CHARS_MAX).collect())
}

/// A warden lives on after its agent, but while the agent lives, it is its parent and must reap it.
fn reap(mut child: Child) {
    tokio::spawn(async move { child.wait().await });
}

/// Ends a warden that nobody has talked to yet.
async fn abandon(mut child: Child, socket: &Path) {
    // It may have ended by itself meanwhile.
    let _ = child.kill().await;
    remove_remains(socket);
}

/// At one move in one epoch, as long as their wardens are still there.
const ATTEMPTS_MAX: u32 = 16;

const CONNECT_RETRY: Duration = Duration::from_millis(5);

/// A status must be there before the next one is asked for.
const STATUS_MAX: Duration = Duration::from_millis(900);

/// Characters of a warden's last words that go into a message.
const LOG_LINE_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests;
