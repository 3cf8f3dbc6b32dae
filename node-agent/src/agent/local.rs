//! The socket on which the agent answers the command line.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use migration::sys::{Errno, peer};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use transport::frame::{Reader, Writer};

use super::AgentError;
use super::access::Caller;
use super::state::Event;
use crate::api::jobs::JobRequest;
use crate::api::{Greeting, Request, Response, VERSION};
use crate::proc;
use crate::queue::Owner;

/// Opens the socket for every user; who may do what is decided request by request.
///
/// # Errors
/// When another agent answers there, or the file cannot be made.
pub(super) async fn bind(socket: &Path) -> Result<UnixListener, AgentError> {
    // An agent that was killed is still connected to while the kernel takes it down.
    let began = Instant::now();
    while UnixStream::connect(socket).await.is_ok() {
        if began.elapsed() > DYING_MAX {
            return Err(AgentError::AlreadyServed { socket: socket.to_owned() });
        }
        sleep(DYING_LOOK).await;
    }
    let failed = |source| AgentError::Socket { socket: socket.to_owned(), source };
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

/// Answers clients until the agent ends.
pub(super) async fn serve(listener: UnixListener, events: mpsc::Sender<Event>) {
    let guests = Guests::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: it passes when a client leaves.
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        let Ok(credentials) = stream.peer_cred() else { continue };
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
        let caller = Caller { uid: credentials.uid(), pid };
        let Ok(owner) = owner(&stream, &credentials) else { continue };
        if let Some(seat) = guests.seat(caller.uid) {
            let events = events.clone();
            tokio::spawn(async move {
                converse(stream, caller, owner, events).await;
                drop(seat);
            });
        }
    }
}

/// Talks to one client until it leaves, breaks the rules or stops reading.
async fn converse(stream: UnixStream, caller: Caller, owner: Owner, events: mpsc::Sender<Event>) {
    let (reader, writer) = stream.into_split();
    let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
    if writer.send(&Greeting::ours(), &[]).await.is_err() {
        return;
    }
    match timeout(GREETING_MAX, reader.recv::<Greeting>()).await {
        Ok(Ok(Some((greeting, _)))) if greeting.version == VERSION => {}
        _ => return,
    }
    while let Ok(Some((mut request, _))) = reader.recv::<Request>().await {
        if let Request::Job(JobRequest::Submit(job)) = &mut request {
            job.owner = owner.clone();
            job.spec.setting.limits = caller.pid.map(proc::limits).unwrap_or_default();
        }
        let (reply, mut responses) = mpsc::channel(RESPONSES_MAX);
        if events.send(Event::Asked { caller, request, reply }).await.is_err() {
            return;
        }
        while let Some(response) = responses.recv().await {
            if !matches!(timeout(WRITE_MAX, writer.send(&response, &[])).await, Ok(Ok(()))) {
                return;
            }
            if !matches!(response, Response::Progress { .. }) {
                break;
            }
        }
    }
}

/// As whom a client's jobs run.
fn owner(stream: &UnixStream, credentials: &UCred) -> Result<Owner, Errno> {
    let groups = peer::groups(stream.as_fd())?;
    Ok(Owner { uid: credentials.uid(), gid: credentials.gid(), groups })
}

/// Counts clients by user, so that one user cannot take all descriptors.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<u32, usize>>>);

impl Guests {
    fn seat(&self, uid: u32) -> Option<Seat> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(uid).or_default();
        if *count >= CLIENTS_PER_UID_MAX {
            return None;
        }
        *count += 1;
        Some(Seat { guests: self.clone(), uid })
    }
}

struct Seat {
    guests: Guests,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// How long a killed agent may be on its way out; on a busy machine it needs some milliseconds.
const DYING_MAX: Duration = Duration::from_secs(1);

const DYING_LOOK: Duration = Duration::from_millis(20);

const ACCEPT_RETRY: Duration = Duration::from_millis(100);

const GREETING_MAX: Duration = Duration::from_secs(5);

/// A client that reads nothing for this long is dropped.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// Responses that wait for a slow client.
const RESPONSES_MAX: usize = 64;

const CLIENTS_PER_UID_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::Client;
    use crate::exit::ExitCode;

    #[tokio::test]
    async fn an_agent_of_another_version_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut writer = Writer::new(stream);
            writer.send(&Greeting { version: VERSION + 1, program: "9.9.9".into() }, &[]).await.unwrap();
            writer
        });
        let failure = Client::connect(&socket).await.unwrap_err();
        assert_eq!(failure.code, ExitCode::Version);
        assert!(failure.to_string().contains("9.9.9"), "{failure}");
        assert!(failure.to_string().contains(env!("CARGO_PKG_VERSION")), "{failure}");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn only_one_agent_serves_a_socket_and_a_dead_one_leaves_it_usable() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent.sock");
        let first = bind(&socket).await.unwrap();
        assert!(matches!(bind(&socket).await, Err(AgentError::AlreadyServed { .. })));
        drop(first);
        assert!(bind(&socket).await.is_ok());
        assert_eq!(Client::connect(&dir.path().join("none")).await.unwrap_err().code, ExitCode::NoAgent);
    }

    #[test]
    fn one_user_has_so_many_seats_and_no_more() {
        let guests = Guests::default();
        let seats: Vec<_> = (0..CLIENTS_PER_UID_MAX).map(|_| guests.seat(7).unwrap()).collect();
        assert!(guests.seat(7).is_none());
        assert!(guests.seat(8).is_some());
        drop(seats);
        assert!(guests.seat(7).is_some());
    }
}
