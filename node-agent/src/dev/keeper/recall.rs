//! Bringing home every process that is away.
//!
//! The home wardens are asked, not their agent: the sockets in the first node's directory are exactly the families
//! that may be away, while an agent's list may be a second old, or the agent dead.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use transport::frame::{FrameError, Reader, Writer};

use super::super::remains;
use crate::exit::chain;
use crate::proc;
use crate::warden::control::{FromWarden, ToWarden, WardenRole, WardenStatus};

/// Brings home the families whose home wardens have their sockets in `wardens`; `say` hears of each, also of those
/// that cannot come.
pub(super) async fn recall(wardens: &Path, say: impl Fn(String)) {
    let deadline = Instant::now() + RECALL_MAX;
    for socket in remains::sockets(wardens) {
        let status = match ask(&socket, ToWarden::Status, deadline).await.and_then(status) {
            Ok(status) if status.role == WardenRole::Home => status,
            // A warden ends when its process is home, or has ended.
            Ok(_) | Err(RecallError::Connect(_) | RecallError::Gone) => continue,
            Err(error) => {
                say(format!("cannot bring a process home: {}: {}", socket.display(), chain(&error)));
                continue;
            }
        };
        let (pid, from) = (status.process.pid, status.at.clone());
        match bring_home(&socket, status, deadline).await {
            Ok(false) => {}
            Ok(true) => say(format!("{pid} is home again from {from} and goes on")),
            Err(_) if proc::process(pid).is_none_or(|process| process.zombie) => {}
            Err(error) => {
                let why = chain(&error);
                say(format!("cannot bring {pid} home from {from}: {why}; it ends with that node"));
            }
        }
    }
}

/// Brings one family home; false if it was there.
async fn bring_home(socket: &Path, mut status: WardenStatus, deadline: Instant) -> Result<bool, RecallError> {
    loop {
        if status.at == status.home_name && !status.moving {
            return Ok(false);
        }
        match ask(socket, ToWarden::Recall, deadline).await? {
            FromWarden::Moved(_) => return Ok(true),
            // It may be on the move, and can come home once it has arrived.
            FromWarden::Failed { reason, .. } => match Instant::now() + RETRY < deadline {
                true => sleep(RETRY).await,
                false => return Err(RecallError::Refused(reason)),
            },
            _ => return Err(RecallError::Nonsense),
        }
        status = ask(socket, ToWarden::Status, deadline).await.and_then(self::status)?;
    }
}

/// What a warden answers in the end.
async fn ask(socket: &Path, question: ToWarden, deadline: Instant) -> Result<FromWarden, RecallError> {
    let asking = async {
        let stream = UnixStream::connect(socket).await.map_err(RecallError::Connect)?;
        let (reader, writer) = stream.into_split();
        // Both halves stay open until the answer is there.
        let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
        writer.send(&question, &[]).await.map_err(RecallError::Talk)?;
        loop {
            match reader.recv::<FromWarden>().await.map_err(RecallError::Talk)? {
                Some((FromWarden::Progress { .. }, _)) => {}
                Some((answer, _)) => return Ok(answer),
                None => return Err(RecallError::Gone),
            }
        }
    };
    timeout_at(deadline, asking).await.unwrap_or(Err(RecallError::Late))
}

fn status(answer: FromWarden) -> Result<WardenStatus, RecallError> {
    match answer {
        FromWarden::Status(status) => Ok(status),
        _ => Err(RecallError::Nonsense),
    }
}

/// Why a family stays away.
#[derive(Debug, Error)]
enum RecallError {
    #[error("its warden cannot be reached")]
    Connect(#[source] std::io::Error),
    #[error("its warden cannot be talked to")]
    Talk(#[source] FrameError),
    #[error("its warden has ended")]
    Gone,
    #[error("its warden said: {0}")]
    Refused(String),
    #[error("its warden answered something else than was asked")]
    Nonsense,
    #[error("its warden needs more than {} s", RECALL_MAX.as_secs())]
    Late,
}

/// For all families together.
const RECALL_MAX: Duration = Duration::from_secs(30);

const RETRY: Duration = Duration::from_millis(50);
