//! Memory that goes out: rounds while the program runs, the rest once it stands still.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use migration::image::Layout;
use migration::packing::Packer;
use migration::pages::{self, Run};
use migration::precopy::{Action, Event, Precopy};
use migration::tracking::{Changes, Phase, Tracking};
use migration::{digest, layout};
use tokio::sync::{mpsc, oneshot};
use transport::KeyHash;
use transport::channel::Channel;
use transport::endpoint::WardenEndpoint;
use transport::frame::{FrameReceiver, FrameSender};

use super::{PAGES_PER_BATCH, Rest, Sent, Source, is_batch};
use crate::warden::fail;
use crate::warden::memory::{Memory, Placed, Plan};

type Answer<T> = oneshot::Sender<Result<T, String>>;

/// Something to be sent, in the order of asking.
pub(super) enum Job {
    Rounds { transfer: u64, sources: Vec<Source>, done: Answer<Sent> },
    Rest { transfer: u64, sources: Vec<(Source, Layout)>, done: Answer<Rest> },
    Settle,
}

impl Job {
    pub(super) fn refuse(self, reason: &str) {
        let reason = reason.to_owned();
        match self {
            Job::Rounds { done, .. } => drop(done.send(Err(reason))),
            Job::Rest { done, .. } => drop(done.send(Err(reason))),
            Job::Settle => {}
        }
    }
}

/// Memory on its way to one receiver. Dropping it stops that, also when the receiver takes no more.
pub(super) struct Outflow {
    jobs: mpsc::UnboundedSender<Job>,
    task: tokio::task::JoinHandle<()>,
}

impl Outflow {
    pub(super) fn start(
        endpoint: Rc<WardenEndpoint>,
        to: SocketAddr,
        key: KeyHash,
        dialled: Answer<()>,
    ) -> Outflow {
        let (jobs, mut inbox) = mpsc::unbounded_channel::<Job>();
        let task = tokio::task::spawn_local(async move {
            let mut line = match dial(&endpoint, to, key).await {
                Ok(line) => line,
                Err(reason) => return drop(dialled.send(Err(reason))),
            };
            let _ = dialled.send(Ok(()));
            while let Some(job) = inbox.recv().await {
                match job {
                    Job::Rounds { transfer, sources, done } => {
                        let _ = done.send(line.rounds(transfer, sources).await);
                    }
                    Job::Rest { transfer, sources, done } => {
                        let sent = line.rest(transfer, sources).await;
                        let is_sent = sent.is_ok();
                        // Whoever goes on with the family need not wait for the answer: the receiver does not before
                        // everything is whole.
                        let _ = done.send(sent);
                        if is_sent && let Err(reason) = line.repair(transfer, true).await {
                            tracing::warn!(%reason, "the rest of the memory has not come");
                        }
                    }
                    Job::Settle => line.processes.clear(),
                }
            }
        });
        Outflow { jobs, task }
    }

    pub(super) fn take(&self, job: Job) {
        if let Err(refused) = self.jobs.send(job) {
            refused.0.refuse("the connection for pages is gone");
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn dial(endpoint: &WardenEndpoint, to: SocketAddr, key: KeyHash) -> Result<Line, String> {
    let connection = endpoint.connect(to, key).await.map_err(|error| error.to_string())?;
    let (frames, answers) = connection.open(Channel::Pages).await.map_err(|error| error.to_string())?;
    Ok(Line {
        frames,
        answers,
        transfer: 0,
        sum: digest::Transfer::default(),
        processes: HashMap::new(),
        marks: 0,
        packer: Packer::default(),
    })
}

/// The connection to one receiver, and what that has.
struct Line {
    frames: FrameSender,
    answers: FrameReceiver,
    transfer: u64,
    /// Of that transfer, so far.
    sum: digest::Transfer,
    processes: HashMap<u32, Process>,
    marks: u64,
    packer: Packer,
}

/// How pages come to be sent.
#[derive(Clone, Copy, Debug)]
struct Sending {
    /// Its process stands still; otherwise it may change them, or give them up.
    still: bool,
    /// They have arrived damaged before.
    again: bool,
}

/// A process as the receiver knows it.
struct Process {
    outer: u32,
    memory: File,
    tracking: Tracking,
    layout: Option<Layout>,
}

impl Line {
    async fn rounds(&mut self, transfer: u64, sources: Vec<Source>) -> Result<Sent, String> {
        self.begin(transfer);
        let sides: Vec<_> = sources.iter().map(|source| (source.pid, source.side.clone())).collect();
        for source in sources {
            let pid = source.pid;
            // One that has just ended needs no copy.
            if let Ok(process) = Process::new(source) {
                self.processes.insert(pid, process);
            }
        }
        let (mut precopy, mut sent) = (Precopy::default(), Sent::default());
        loop {
            let mut found = Vec::new();
            for (pid, side) in &sides {
                let Some(process) = self.processes.get_mut(pid) else { continue };
                let seen = process.look(side);
                // It may end while its memory is looked at; what is left of it is known when the others stand still.
                let Ok((layout, changes)) = seen else { continue };
                self.announce(transfer, *pid, layout, Vec::new(), false).await?;
                found.push((*pid, changes));
            }
            let bytes = found.iter().map(|(_, changes)| changes.bytes()).sum();
            if precopy.step(Event::Found(bytes)) != Action::Send {
                break;
            }
            let started = Instant::now();
            for (pid, changes) in &found {
                sent +=
                    self.pages(transfer, *pid, &changes.send, Sending { still: false, again: false }).await?;
            }
            sent += self.in_place(transfer).await?;
            precopy.step(Event::Placed(bytes, started.elapsed()));
        }
        // Whatever was announced is there before anything is stopped for it.
        sent += self.in_place(transfer).await?;
        sent.rounds = precopy.rounds();
        Ok(sent)
    }

    async fn rest(&mut self, transfer: u64, sources: Vec<(Source, Layout)>) -> Result<Rest, String> {
        self.begin(transfer);
        let mut sent = Sent::default();
        for (source, layout) in sources {
            let pid = source.pid;
            // A process may have got a new body meanwhile, for a new program.
            if self.processes.get(&pid).is_none_or(|known| known.outer != source.outer) {
                self.processes.insert(pid, Process::new(source)?);
            }
            let Some(process) = self.processes.get_mut(&pid) else { continue };
            let looked = process.tracking.look(&layout, Phase::Still);
            let mut changes = looked.map_err(|errno| format!("looking at process {pid}: {errno}"))?;
            // A hole costs the receiver a call, a page of zeros a little room.
            changes.send.extend(changes.gone.split_off(changes.gone.len().min(GONE_MAX)));
            let gone = std::mem::take(&mut changes.gone);
            self.announce(transfer, pid, layout, gone, true).await?;
            sent += self.pages(transfer, pid, &changes.send, Sending { still: true, again: false }).await?;
        }
        self.mark(transfer, true).await?;
        Ok((sent, self.sum))
    }

    /// What one transfer has brought is of no use to the next.
    fn begin(&mut self, transfer: u64) {
        if self.transfer != transfer {
            self.transfer = transfer;
            self.sum = digest::Transfer::default();
            self.processes.clear();
        }
    }

    /// Tells the receiver of mappings that it does not know yet.
    async fn announce(
        &mut self,
        transfer: u64,
        pid: u32,
        layout: Layout,
        gone: Vec<Run>,
        still: bool,
    ) -> Result<(), String> {
        let Some(process) = self.processes.get_mut(&pid) else { return Ok(()) };
        if !still && process.layout.as_ref() == Some(&layout) {
            return Ok(());
        }
        let fresh = process.layout.is_none();
        process.layout = Some(layout.clone());
        let plan = Plan { layout, fresh, gone, still };
        self.sum.mappings(pid, &plan).map_err(|error| error.to_string())?;
        self.send(&Memory::Layout { transfer, pid, plan }, Bytes::new()).await
    }

    async fn pages(
        &mut self,
        transfer: u64,
        pid: u32,
        changed: &[Run],
        Sending { still, again }: Sending,
    ) -> Result<Sent, String> {
        let mut sent = Sent::default();
        for runs in pages::batches(changed, PAGES_PER_BATCH) {
            let Some(process) = self.processes.get_mut(&pid) else { return Ok(sent) };
            let data = match pages::read(process.outer, &process.memory, &runs) {
                Ok(data) => data,
                // The program has unmapped some of it since: the next look tells.
                Err(_) if !still => continue,
                Err(error) => return Err(format!("reading pages of process {pid}: {error}")),
            };
            process.tracking.sent(&runs);
            sent.raw_bytes += data.len() as u64;
            let digest = digest::batch(pid, &runs, &data);
            if !again {
                self.sum.batch(digest);
            }
            let (mut tail, unpacked_bytes) = self.packer.pack(data);
            fail::damage(&mut tail);
            sent.wire_bytes += tail.len() as u64;
            let batch = Memory::Batch { transfer, pid, runs, unpacked_bytes, digest, again };
            self.send(&batch, tail.into()).await?;
        }
        Ok(sent)
    }

    /// Waits until the receiver has everything sent so far in place.
    async fn in_place(&mut self, transfer: u64) -> Result<Sent, String> {
        self.mark(transfer, false).await?;
        self.repair(transfer, false).await
    }

    /// Sets a mark behind everything sent so far.
    async fn mark(&mut self, transfer: u64, still: bool) -> Result<(), String> {
        self.marks += 1;
        let number = self.marks;
        let mark = match still {
            true => Memory::Complete { transfer, number },
            false => Memory::Mark { transfer, number },
        };
        self.send(&mark, Bytes::new()).await
    }

    /// Sends again what has arrived damaged before the last mark, until nothing has. The receiver says when that is of
    /// no use any more.
    async fn repair(&mut self, transfer: u64, still: bool) -> Result<Sent, String> {
        let mut sent = Sent::default();
        loop {
            let damaged = self.answer().await?;
            if damaged.is_empty() {
                return Ok(sent);
            }
            for (pid, runs) in damaged {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.tracking.damaged(&runs);
                }
                sent += self.pages(transfer, pid, &runs, Sending { still, again: true }).await?;
            }
            self.mark(transfer, still).await?;
        }
    }

    /// The answer to the last mark: what has arrived damaged before it.
    async fn answer(&mut self) -> Result<Vec<(u32, Vec<Run>)>, String> {
        let gone = || "the receiver of the pages is gone".to_owned();
        loop {
            let answer = tokio::time::timeout(PLACE_LIMIT, self.answers.recv::<Placed>()).await;
            let answer = answer.map_err(|_| format!("pages were not put in place within {PLACE_LIMIT:?}"))?;
            match answer.map_err(|_| gone())?.ok_or_else(gone)?.0 {
                Placed { failure: Some(reason), .. } => return Err(reason),
                Placed { number, damaged, .. } if number == self.marks => {
                    let is_sane = damaged.iter().all(|(_, runs)| is_batch(runs));
                    let nonsense = || "the receiver of the pages names batches that none was".to_owned();
                    return is_sane.then_some(damaged).ok_or_else(nonsense);
                }
                Placed { .. } => {}
            }
        }
    }

    async fn send(&mut self, frame: &Memory, tail: Bytes) -> Result<(), String> {
        let taken = tokio::time::timeout(FRAME_LIMIT, self.frames.send_bytes(frame, tail)).await;
        let taken = taken.map_err(|_| format!("pages were not taken within {FRAME_LIMIT:?}"))?;
        taken.map_err(|error| error.to_string())
    }
}

impl Process {
    fn new(source: Source) -> Result<Process, String> {
        let Source { pid, outer, changed, uffd, written, left_out, side: _ } = source;
        let open = |name: &str| {
            let path = format!("/proc/{outer}/{name}");
            File::open(&path).map_err(|error| format!("process {pid} cannot be read ({path}): {error}"))
        };
        let tracking = Tracking::new(open("pagemap")?, changed, uffd, written, left_out);
        Ok(Process { outer, memory: open("mem")?, tracking, layout: None })
    }

    fn look(&mut self, side: &layout::Side) -> std::io::Result<(Layout, Changes)> {
        let (layout, _) = layout::read(self.outer, side)?;
        let changes = self.tracking.look(&layout, Phase::Running)?;
        Ok((layout, changes))
    }
}

/// For one frame, on the slowest line that is worth a move. For the last ones the program stands still.
const FRAME_LIMIT: Duration = Duration::from_secs(10);

/// For what is still on its way at the end of a round.
const PLACE_LIMIT: Duration = Duration::from_secs(30);

/// Holes in a program's memory that are worth a call of the receiver each.
const GONE_MAX: usize = 128;
