//! Bringing home every process that is away, through the agent that anyone would ask.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::api::client::{Client, unexpected};
use crate::api::{MoveRequest, Request, Response, Target};
use crate::exit::{ExitCode, Failure};

/// Brings the processes of this agent's node home, where they go on plainly; `say` hears of each.
///
/// # Errors
/// When the agent does not answer. A process that cannot come home is told to `say` and left.
pub(super) async fn recall(socket: &Path, say: impl Fn(String)) -> Result<(), Failure> {
    let deadline = Instant::now() + RECALL_MAX;
    let view = match Client::connect(socket).await?.ask(&Request::View { all: false }, |_, _| {}).await? {
        Response::View(view) => view,
        other => return Err(unexpected(&other)),
    };
    // Also those that seem to be home: the view may be a second old, and the agent knows better.
    for process in view.processes.iter().filter(|process| process.home == view.node) {
        match bring_home(socket, process.pid, deadline).await {
            Ok(Some(from)) => say(format!("{} is home again from {from} and goes on", process.pid)),
            Ok(None) => {}
            Err(failure) => {
                say(format!("{failure}\n{} was at {} and ends with that node", process.pid, process.at));
            }
        }
    }
    Ok(())
}

/// Brings one process home and says from where; `None` if it was there, or has ended.
async fn bring_home(socket: &Path, pid: u32, deadline: Instant) -> Result<Option<String>, Failure> {
    let request = Request::Move(MoveRequest { pid, to: Target::Home, dry_run: false, wait: true });
    let late = |_| {
        let what = format!("cannot bring {pid} home");
        Failure::new(ExitCode::UnderWay, what, format!("it took longer than {} s", RECALL_MAX.as_secs()))
    };
    loop {
        let asked = async { Client::connect(socket).await?.ask(&request, |_, _| {}).await };
        match timeout_at(deadline, asked).await.map_err(late)? {
            Ok(Response::Moved { from, .. }) => return Ok(Some(from)),
            Ok(Response::AlreadyThere { .. }) => return Ok(None),
            Ok(other) => return Err(unexpected(&other)),
            Err(failure) if failure.code == ExitCode::NotFound => return Ok(None),
            // It is on the move, and comes home once it has arrived.
            Err(failure) if failure.code == ExitCode::Refused && Instant::now() < deadline => {
                sleep(BUSY_RETRY).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// For all processes together.
pub(super) const RECALL_MAX: Duration = Duration::from_secs(30);

const BUSY_RETRY: Duration = Duration::from_millis(50);
