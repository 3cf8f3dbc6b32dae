//! The pages thread: a connection of its own for page contents, so that calls never wait behind them.
//!
//! It reads and writes the memory of processes through `/proc/PID/mem`, which needs no tracing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use migration::packing;
use migration::pages::{self, Run};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;
use transport::KeyHash;
use transport::channel::Channel;
use transport::endpoint::{Options, Profile, WardenEndpoint};
use transport::frame::FrameSender;
use transport::identity::WardenKey;

use super::handoff::Batch;

/// Pages of one process to be sent.
#[derive(Debug)]
pub(super) struct Load {
    /// The number of the transfer; a receiver that was told none expects 0.
    pub transfer: u64,
    /// The process at home.
    pub pid: u32,
    /// Where it is read from: its pid here.
    pub source: u32,
    /// `/proc/SOURCE/mem`.
    pub memory: File,
    /// Which pages.
    pub runs: Vec<Run>,
}

/// Where the pages of one process go.
#[derive(Debug)]
pub(super) struct Target {
    /// `/proc/PID/mem`.
    pub memory: File,
    /// Its userfaultfd, at a guest.
    pub uffd: Option<OwnedFd>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Batches.
    pub batches: u64,
    /// Bytes of pages.
    pub raw_bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Sent) {
        self.batches += more.batches;
        self.raw_bytes += more.raw_bytes;
        self.wire_bytes += more.wire_bytes;
    }
}

enum Command {
    Dial { to: SocketAddr, key: KeyHash, done: oneshot::Sender<Result<(), String>> },
    Send { load: Load, done: oneshot::Sender<Result<Sent, String>> },
    Expect(u64),
    Receive { pid: u32, target: Target },
    Forget { pid: u32 },
    Await { batches: u64, done: oneshot::Sender<Result<(), String>> },
    Allow(KeyHash),
}

/// The handle to the pages thread.
#[derive(Debug)]
pub(super) struct Bulk {
    commands: mpsc::UnboundedSender<Command>,
    addr: SocketAddr,
}

impl Bulk {
    /// Starts the thread and binds its socket.
    ///
    /// # Errors
    /// When no port is free.
    pub(super) fn start(key: Arc<WardenKey>, ip: IpAddr, ports: RangeInclusive<u16>) -> io::Result<Bulk> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (told, addr) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("pages".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            LocalSet::new().block_on(&runtime, async move {
                let options = Options { profile: Profile::Bulk, ..Options::default() };
                match WardenEndpoint::bind_with(&key, ip, ports, options) {
                    Ok(endpoint) => {
                        let _ = told.send(Ok(endpoint.local_addr()));
                        serve(Rc::new(endpoint), inbox).await;
                    }
                    Err(error) => {
                        let _ = told.send(Err(io::Error::other(error.to_string())));
                    }
                }
            });
        })?;
        let addr = addr.recv().map_err(|_| io::Error::other("the pages thread did not start"))??;
        Ok(Bulk { commands, addr })
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

    /// Sends pages of one process, behind those of earlier calls.
    pub(super) fn send(&self, load: Load) -> oneshot::Receiver<Result<Sent, String>> {
        self.ask(|done| Command::Send { load, done })
    }

    /// Completes when so many batches have been put in place since the last time.
    pub(super) fn received(&self, batches: u64) -> oneshot::Receiver<Result<(), String>> {
        self.ask(|done| Command::Await { batches, done })
    }

    /// Forgets every transfer so far and expects this one.
    pub(super) fn expect(&self, transfer: u64) {
        self.tell(Command::Expect(transfer));
    }

    /// Says where the pages of a process go; those that came before wait for it.
    pub(super) fn receive(&self, pid: u32, target: Target) {
        self.tell(Command::Receive { pid, target });
    }

    /// No more pages for this process.
    pub(super) fn forget(&self, pid: u32) {
        self.tell(Command::Forget { pid });
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

#[derive(Default)]
struct Inflow {
    transfer: u64,
    targets: HashMap<u32, Target>,
    arrived: u64,
    failure: Option<String>,
}

async fn serve(endpoint: Rc<WardenEndpoint>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let inflow = Rc::new(RefCell::new(Inflow::default()));
    let news = Rc::new(Notify::new());
    tokio::task::spawn_local(accept(Rc::clone(&endpoint), Rc::clone(&inflow), Rc::clone(&news)));
    let mut outflow: Option<Outflow> = None;
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Allow(key) => endpoint.allow(key),
            // Whatever the former receiver has not taken by now is not for it any more.
            Command::Dial { to, key, done } => {
                outflow = Some(Outflow::start(Rc::clone(&endpoint), to, key, done))
            }
            Command::Send { load, done } => match &outflow {
                // The task ends only with its connection; then the answer is dropped, which says so.
                Some(outflow) => drop(outflow.loads.send((load, done))),
                None => drop(done.send(Err("there is no connection for pages".to_owned()))),
            },
            Command::Expect(transfer) => {
                *inflow.borrow_mut() = Inflow { transfer, ..Inflow::default() };
                news.notify_waiters();
            }
            Command::Receive { pid, target } => {
                inflow.borrow_mut().targets.insert(pid, target);
                news.notify_waiters();
            }
            Command::Forget { pid } => {
                inflow.borrow_mut().targets.remove(&pid);
            }
            Command::Await { batches, done } => {
                let (inflow, news) = (Rc::clone(&inflow), Rc::clone(&news));
                tokio::task::spawn_local(async move {
                    let _ = done.send(arrived(&inflow, &news, batches).await);
                });
            }
        }
    }
}

type Answer<T> = oneshot::Sender<Result<T, String>>;

/// Pages on their way to one receiver. Dropping it stops them, also when the receiver takes no more.
struct Outflow {
    loads: mpsc::UnboundedSender<(Load, Answer<Sent>)>,
    task: tokio::task::JoinHandle<()>,
}

impl Outflow {
    fn start(endpoint: Rc<WardenEndpoint>, to: SocketAddr, key: KeyHash, dialled: Answer<()>) -> Outflow {
        let (loads, mut inbox) = mpsc::unbounded_channel::<(Load, Answer<Sent>)>();
        let task = tokio::task::spawn_local(async move {
            let mut sender = match dial(&endpoint, to, key).await {
                Ok(sender) => sender,
                Err(reason) => return drop(dialled.send(Err(reason))),
            };
            let _ = dialled.send(Ok(()));
            while let Some((load, done)) = inbox.recv().await {
                let _ = done.send(send(&mut sender, &load).await);
            }
        });
        Outflow { loads, task }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn dial(endpoint: &WardenEndpoint, to: SocketAddr, key: KeyHash) -> Result<FrameSender, String> {
    let connection = endpoint.connect(to, key).await.map_err(|error| error.to_string())?;
    let (sender, _) = connection.open(Channel::Pages).await.map_err(|error| error.to_string())?;
    Ok(sender)
}

async fn send(outflow: &mut FrameSender, load: &Load) -> Result<Sent, String> {
    let mut sent = Sent::default();
    for runs in pages::batches(&load.runs, PAGES_PER_BATCH) {
        let data = pages::read(load.source, &load.memory, &runs).map_err(|error| error.to_string())?;
        sent.raw_bytes += data.len() as u64;
        let (tail, unpacked_bytes) = packing::pack(data);
        sent.wire_bytes += tail.len() as u64;
        sent.batches += 1;
        let batch = Batch { transfer: load.transfer, pid: load.pid, runs, unpacked_bytes };
        let taken = tokio::time::timeout(BATCH_LIMIT, outflow.send_bytes(&batch, tail.into())).await;
        let taken = taken.map_err(|_| format!("pages were not taken within {BATCH_LIMIT:?}"))?;
        taken.map_err(|error| error.to_string())?;
    }
    Ok(sent)
}

async fn accept(endpoint: Rc<WardenEndpoint>, inflow: Rc<RefCell<Inflow>>, news: Rc<Notify>) {
    while let Some(connection) = endpoint.accept().await {
        let (inflow, news) = (Rc::clone(&inflow), Rc::clone(&news));
        tokio::task::spawn_local(async move {
            while let Some((channel, _, mut receiver)) = connection.accept().await {
                if channel != Channel::Pages {
                    continue;
                }
                let (inflow, news) = (Rc::clone(&inflow), Rc::clone(&news));
                tokio::task::spawn_local(async move {
                    while let Ok(Some((batch, tail))) = receiver.recv::<Batch>().await {
                        place(&inflow, &news, &batch, &tail).await;
                    }
                });
            }
        });
    }
}

async fn place(inflow: &RefCell<Inflow>, news: &Notify, batch: &Batch, tail: &Bytes) {
    loop {
        let waiting = news.notified();
        {
            let mut inflow = inflow.borrow_mut();
            if batch.transfer != inflow.transfer {
                return;
            }
            if let Some(target) = inflow.targets.get(&batch.pid) {
                let placed = unpacked(tail, batch.unpacked_bytes).and_then(|data| {
                    pages::write(&target.memory, target.uffd.as_ref(), &batch.runs, data.as_ref())
                });
                if let Err(error) = placed {
                    inflow.failure =
                        Some(format!("putting pages of process {} in place: {error}", batch.pid));
                }
                inflow.arrived += 1;
                news.notify_waiters();
                return;
            }
        }
        waiting.await;
    }
}

async fn arrived(inflow: &RefCell<Inflow>, news: &Notify, batches: u64) -> Result<(), String> {
    loop {
        let waiting = news.notified();
        {
            let mut inflow = inflow.borrow_mut();
            if let Some(failure) = inflow.failure.take() {
                return Err(failure);
            }
            if inflow.arrived >= batches {
                inflow.arrived -= batches;
                return Ok(());
            }
        }
        waiting.await;
    }
}

fn unpacked(tail: &Bytes, unpacked_bytes: u32) -> io::Result<Bytes> {
    if unpacked_bytes == 0 {
        return Ok(tail.clone());
    }
    packing::unpack(tail, unpacked_bytes, PAGES_PER_BATCH as usize * pages::PAGE_BYTES).map(Bytes::from)
}

/// 1 MiB: compressible in one go, a quarter of the largest frame.
const PAGES_PER_BATCH: u32 = 256;

/// For one batch: 1 MiB, on the slowest line that is worth a move. Meanwhile the program stands still.
const BATCH_LIMIT: Duration = Duration::from_secs(10);
