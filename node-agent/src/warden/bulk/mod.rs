//! The pages thread: a connection of its own for memory, so that calls never wait behind it.
//!
//! It reads and writes the memory of processes through `/proc/PID/mem`, which needs no tracing. What does need it,
//! giving a process its mappings, it asks of the warden's main thread.

mod inflow;
mod outflow;

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use migration::digest;
use migration::image::Layout;
use migration::layout::Side;
use migration::pages::{Changed, Run};
use migration::staging::Piece;
use migration::tracking::SharedWritten;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use transport::KeyHash;
use transport::endpoint::{Options, Profile, WardenEndpoint};
use transport::identity::WardenKey;

use inflow::Inflow;
use outflow::{Job, Outflow};

use super::common::for_calls;
use super::memory::Plan;

/// A process whose memory is sent.
#[derive(Debug)]
pub(super) struct Source {
    /// Its pid at home.
    pub pid: u32,
    /// Its pid here.
    pub outer: u32,
    /// How its mappings are read.
    pub side: Side,
    /// What tells a changed page of a home mapping.
    pub changed: Changed,
    /// Tracks its writes; without it nothing is sent before the process stands still.
    pub uffd: Option<OwnedFd>,
    /// Of its home mappings, at a guest.
    pub written: SharedWritten,
    /// Pages that hold homing's own code.
    pub left_out: Vec<u64>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Bytes of pages.
    pub raw_bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Rounds while the program ran.
    pub rounds: u32,
}

/// What was sent of a program that stands still, and what its whole transfer must come to.
pub(super) type Rest = (Sent, digest::Transfer);

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Sent) {
        self.raw_bytes += more.raw_bytes;
        self.wire_bytes += more.wire_bytes;
        self.rounds += more.rounds;
    }
}

/// Whose place the memory takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiver {
    /// An empty process at a guest: any memory can go there at any time.
    Vessel,
    /// A deputy at home, which is at work until the body stands still.
    Deputy,
}

/// The mappings that a process must have before more of its pages can be put in place. Only the main thread may
/// change them.
#[derive(Debug)]
pub(super) struct Order {
    /// What brings them.
    pub transfer: u64,
    /// The process at home.
    pub pid: u32,
    /// Its mappings.
    pub plan: Plan,
    /// Where its pages go, or why they cannot; nowhere if the process has ended meanwhile.
    pub done: oneshot::Sender<Result<Option<Target>, String>>,
}

/// Where the pages of one process go.
#[derive(Debug)]
pub(super) struct Target {
    /// `/proc/PID/mem`.
    pub memory: File,
    /// Its userfaultfd, at a guest.
    pub uffd: Option<OwnedFd>,
    /// The pages are staged there for now.
    pub staged: Option<Vec<Piece>>,
}

enum Command {
    Dial { to: SocketAddr, key: KeyHash, done: oneshot::Sender<Result<(), String>> },
    Job(Job),
    Settle,
    Stop,
    Expect(u64),
    Refuse(u64),
    Await { transfer: u64, done: oneshot::Sender<Result<digest::Transfer, String>> },
    Allow(KeyHash),
}

/// The handle to the pages thread.
#[derive(Debug)]
pub(super) struct Bulk {
    commands: mpsc::UnboundedSender<Command>,
    addr: SocketAddr,
}

impl Bulk {
    /// Starts the thread and binds its socket. What comes out of the second value must be done by the main thread.
    ///
    /// # Errors
    /// When no port is free.
    pub(super) fn start(
        key: Arc<WardenKey>,
        ip: IpAddr,
        ports: RangeInclusive<u16>,
        lease: Duration,
    ) -> io::Result<(Bulk, mpsc::UnboundedReceiver<Order>)> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (order, orders) = mpsc::unbounded_channel();
        let (told, addr) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("pages".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            LocalSet::new().block_on(&runtime, async move {
                // The family may start new programs for as long as it lives, whose memory then goes this way.
                let options = Options { profile: Profile::Bulk, ..for_calls(lease) };
                match WardenEndpoint::bind_with(&key, ip, ports, options) {
                    Ok(endpoint) => {
                        let _ = told.send(Ok(endpoint.local_addr()));
                        serve(Rc::new(endpoint), inbox, order).await;
                    }
                    Err(error) => {
                        let _ = told.send(Err(io::Error::other(error.to_string())));
                    }
                }
            });
        })?;
        let addr = addr.recv().map_err(|_| io::Error::other("the pages thread did not start"))??;
        Ok((Bulk { commands, addr }, orders))
    }

    /// Where pages are received.
    #[must_use]
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connects to where pages will be sent.
    pub(super) fn dial(&self, to: SocketAddr, key: KeyHash) -> oneshot::Receiver<Result<(), String>> {
        self.ask(|done| Command::Dial { to, key, done })
    }

    /// Sends rounds of pages while the processes run, as long as that makes the rest smaller.
    pub(super) fn copy(
        &self,
        transfer: u64,
        sources: Vec<Source>,
    ) -> oneshot::Receiver<Result<Sent, String>> {
        self.ask(|done| Command::Job(Job::Rounds { transfer, sources, done }))
    }

    /// Sends everything that the receiver lacks of processes that stand still, with their final mappings; what was sent now,
    /// and what the whole transfer must come to.
    pub(super) fn rest(
        &self,
        transfer: u64,
        sources: Vec<(Source, Layout)>,
    ) -> oneshot::Receiver<Result<Rest, String>> {
        self.ask(|done| Command::Job(Job::Rest { transfer, sources, done }))
    }

    /// Watches nothing any more; the connection stays.
    pub(super) fn settle(&self) {
        self.tell(Command::Settle);
    }

    /// Sends nothing any more.
    pub(super) fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// Takes in nothing of a transfer before this one.
    pub(super) fn expect(&self, transfer: u64) {
        self.tell(Command::Expect(transfer));
    }

    /// Takes in nothing more of this transfer.
    pub(super) fn refuse(&self, transfer: u64) {
        self.tell(Command::Refuse(transfer));
    }

    /// Completes when everything of a transfer is in place, with what it has come to.
    pub(super) fn received(&self, transfer: u64) -> oneshot::Receiver<Result<digest::Transfer, String>> {
        self.ask(|done| Command::Await { transfer, done })
    }

    /// Accepts pages from this peer.
    pub(super) fn allow(&self, key: KeyHash) {
        self.tell(Command::Allow(key));
    }

    fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Command) -> oneshot::Receiver<T> {
        let (done, answer) = oneshot::channel();
        self.tell(make(done));
        answer
    }

    fn tell(&self, command: Command) {
        // The thread ends only with its last handle.
        let _ = self.commands.send(command);
    }
}

async fn serve(
    endpoint: Rc<WardenEndpoint>,
    mut inbox: mpsc::UnboundedReceiver<Command>,
    orders: mpsc::UnboundedSender<Order>,
) {
    let inflow = Rc::new(Inflow::new(orders));
    tokio::task::spawn_local(inflow::accept(Rc::clone(&endpoint), Rc::clone(&inflow)));
    let mut outflow: Option<Outflow> = None;
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Allow(key) => endpoint.allow(key),
            // Whatever the former receiver has not taken by now is not for it any more.
            Command::Dial { to, key, done } => {
                outflow = Some(Outflow::start(Rc::clone(&endpoint), to, key, done));
            }
            Command::Job(job) => match &outflow {
                Some(outflow) => outflow.take(job),
                None => job.refuse("there is no connection for pages"),
            },
            Command::Settle => {
                if let Some(outflow) = &outflow {
                    outflow.take(Job::Settle);
                }
            }
            Command::Stop => outflow = None,
            Command::Expect(transfer) => inflow.expect(transfer),
            Command::Refuse(transfer) => inflow.fail(transfer, "it is not wanted any more".to_owned()),
            Command::Await { transfer, done } => {
                let inflow = Rc::clone(&inflow);
                tokio::task::spawn_local(async move {
                    let _ = done.send(inflow.received(transfer).await);
                });
            }
        }
    }
}

/// Whether a peer may mean these pages by one batch.
fn is_batch(runs: &[Run]) -> bool {
    runs.iter().map(|run| u64::from(run.pages)).sum::<u64>() <= u64::from(PAGES_PER_BATCH)
}

/// 64 KiB: packed and encrypted while it is in the processor's cache, and put in place while the next ones arrive.
const PAGES_PER_BATCH: u32 = 16;
