//! Memory that comes in: put in place in the order in which it was sent.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use migration::digest;
use migration::packing;
use migration::pages::{self, Run};
use migration::staging::Piece;
use tokio::sync::{Notify, mpsc, oneshot};
use transport::channel::Channel;
use transport::endpoint::WardenEndpoint;
use transport::frame::{FrameReceiver, FrameSender};

use super::{Order, PAGES_PER_BATCH, Target, is_batch};
use crate::warden::memory::{Memory, Placed};

/// Everything that has come so far.
pub(super) struct Inflow {
    orders: mpsc::UnboundedSender<Order>,
    state: RefCell<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    /// What belongs to an earlier transfer is not wanted any more.
    first: u64,
    /// Nowhere: of a process that has ended.
    targets: HashMap<u32, Option<Target>>,
    /// What each transfer that is under way has brought.
    sums: HashMap<u64, digest::Transfer>,
    complete: HashSet<u64>,
    /// Pages of a transfer that did not come to their digest, by process, since its last mark.
    damaged: HashMap<u64, Vec<(u32, Vec<Run>)>>,
    /// Answers in a row, by transfer, that had to name some.
    repairs: HashMap<u64, u32>,
    /// Why a transfer is of no use, in the words for whoever waits for it.
    failures: BTreeMap<u64, String>,
}

impl State {
    /// It is over. That it has failed is remembered: more of it may come.
    fn forget(&mut self, transfer: u64) {
        self.sums.remove(&transfer);
        self.complete.remove(&transfer);
        self.damaged.remove(&transfer);
        self.repairs.remove(&transfer);
    }

    /// What is remembered of transfers, whose numbers the sender chooses.
    fn open(&self) -> usize {
        self.sums.len() + self.complete.len() + self.damaged.len() + self.repairs.len()
    }
}

impl Inflow {
    pub(super) fn new(orders: mpsc::UnboundedSender<Order>) -> Inflow {
        Inflow { orders, state: RefCell::default(), news: Notify::new() }
    }

    pub(super) fn expect(&self, transfer: u64) {
        *self.state.borrow_mut() = State { first: transfer, ..State::default() };
    }

    /// Waits until a transfer is whole; what it has brought.
    pub(super) async fn received(&self, transfer: u64) -> Result<digest::Transfer, String> {
        loop {
            let waiting = self.news.notified();
            {
                let mut state = self.state.borrow_mut();
                if let Some(failure) = state.failures.get(&transfer).cloned() {
                    state.forget(transfer);
                    return Err(failure);
                }
                if transfer < state.first {
                    return Err("the transfer was given up".to_owned());
                }
                if state.complete.contains(&transfer) {
                    let sum = state.sums.get(&transfer).copied().unwrap_or_default();
                    state.forget(transfer);
                    return Ok(sum);
                }
            }
            waiting.await;
        }
    }

    async fn take(&self, frame: Memory, tail: &Bytes, answers: &mut FrameSender) -> Result<(), String> {
        let transfer = frame.transfer();
        if transfer < self.state.borrow().first {
            return Ok(());
        }
        if self.state.borrow().open() > OPEN_MAX {
            return Err(format!("more than {OPEN_MAX} transfers are open"));
        }
        match frame {
            Memory::Layout { .. } | Memory::Batch { .. } if self.has_failed(transfer) => {}
            Memory::Layout { pid, plan, .. } => {
                self.sum(transfer, |sum| sum.mappings(pid, &plan)).map_err(|error| error.to_string())?;
                let (done, answer) = oneshot::channel();
                let ordered = self.orders.send(Order { transfer, pid, plan, done });
                ordered.map_err(|_| "the warden ends".to_owned())?;
                match answer.await.unwrap_or_else(|_| Err("the warden gave the process up".to_owned())) {
                    Ok(target) => drop(self.state.borrow_mut().targets.insert(pid, target)),
                    Err(reason) => self.fail(transfer, format!("the mappings of process {pid}: {reason}")),
                }
            }
            Memory::Batch { runs, .. } if !is_batch(&runs) => {
                self.fail(transfer, format!("a batch of more than {PAGES_PER_BATCH} pages"));
            }
            Memory::Batch { pid, runs, unpacked_bytes, digest, again, .. } => {
                if !again {
                    self.sum(transfer, |sum| sum.batch(digest));
                }
                let whole = unpacked(tail, unpacked_bytes).ok();
                let Some(data) = whole.filter(|data| digest::batch(pid, &runs, data) == digest) else {
                    self.note_damage(transfer, pid, runs);
                    return Ok(());
                };
                if let Err(error) = self.place(pid, &runs, &data) {
                    self.fail(transfer, format!("putting pages of process {pid} in place: {error}"));
                }
            }
            Memory::Mark { number, .. } => self.answer(transfer, number, answers).await?,
            Memory::Complete { number, .. } => {
                if !self.state.borrow().damaged.contains_key(&transfer) {
                    self.state.borrow_mut().complete.insert(transfer);
                    self.news.notify_waiters();
                }
                self.answer(transfer, number, answers).await?;
            }
        }
        Ok(())
    }

    fn sum<T>(&self, transfer: u64, add: impl FnOnce(&mut digest::Transfer) -> T) -> T {
        add(self.state.borrow_mut().sums.entry(transfer).or_default())
    }

    fn has_failed(&self, transfer: u64) -> bool {
        self.state.borrow().failures.contains_key(&transfer)
    }

    fn place(&self, pid: u32, runs: &[Run], data: &[u8]) -> io::Result<()> {
        let state = self.state.borrow();
        let target = state.targets.get(&pid).ok_or_else(|| io::Error::other("no mappings yet"))?;
        target.as_ref().map_or(Ok(()), |target| place(target, runs, data))
    }

    fn note_damage(&self, transfer: u64, pid: u32, runs: Vec<Run>) {
        let mut state = self.state.borrow_mut();
        let damaged = state.damaged.entry(transfer).or_default();
        damaged.push((pid, runs));
        let is_too_much = damaged.len() > DAMAGED_MAX;
        drop(state);
        if is_too_much {
            self.fail(transfer, format!("more than {DAMAGED_MAX} batches of memory have arrived damaged"));
        }
    }

    /// Tells the sender how it stands.
    async fn answer(&self, transfer: u64, number: u64, answers: &mut FrameSender) -> Result<(), String> {
        let damaged = self.state.borrow_mut().damaged.remove(&transfer).unwrap_or_default();
        let times = self.times_damaged(transfer, damaged.len());
        if times >= DAMAGED_TIMES_MAX {
            self.fail(transfer, format!("memory has arrived damaged {times} times in a row"));
        }
        let failure = self.state.borrow().failures.get(&transfer).cloned();
        let damaged = if failure.is_some() { Vec::new() } else { damaged };
        answers.send(&Placed { number, failure, damaged }, &[]).await.map_err(|error| error.to_string())
    }

    /// Counts the answers in a row that name damaged batches. One that is named in one answer and damaged in the next
    /// was damaged each time that it was sent.
    fn times_damaged(&self, transfer: u64, batches: usize) -> u32 {
        let mut state = self.state.borrow_mut();
        if batches == 0 {
            state.repairs.remove(&transfer);
            return 0;
        }
        tracing::warn!(transfer, batches, "memory has arrived damaged");
        let times = state.repairs.entry(transfer).or_default();
        *times += 1;
        *times
    }

    pub(super) fn fail(&self, transfer: u64, reason: String) {
        if let Entry::Vacant(first) = self.state.borrow_mut().failures.entry(transfer) {
            tracing::error!(transfer, %reason, "memory cannot be taken in");
            first.insert(reason);
        }
        let mut state = self.state.borrow_mut();
        state.forget(transfer);
        if state.failures.len() > FAILURES_MAX {
            state.failures.pop_first();
        }
        drop(state);
        self.news.notify_waiters();
    }
}

/// Serves every connection that brings memory.
pub(super) async fn accept(endpoint: Rc<WardenEndpoint>, inflow: Rc<Inflow>) {
    while let Some(connection) = endpoint.accept().await {
        let inflow = Rc::clone(&inflow);
        tokio::task::spawn_local(async move {
            while let Some((channel, answers, frames)) = connection.accept().await {
                if channel == Channel::Pages {
                    tokio::task::spawn_local(read(Rc::clone(&inflow), frames, answers));
                }
            }
        });
    }
}

async fn read(inflow: Rc<Inflow>, mut frames: FrameReceiver, mut answers: FrameSender) {
    while let Ok(Some((frame, tail))) = frames.recv::<Memory>().await {
        if let Err(reason) = inflow.take(frame, &tail, &mut answers).await {
            return tracing::debug!(%reason, "a stream of pages has ended");
        }
    }
}

fn place(target: &Target, runs: &[Run], data: &[u8]) -> io::Result<()> {
    match &target.staged {
        None => pages::write(&target.memory, target.uffd.as_ref(), runs, data),
        Some(pieces) => {
            let runs = staged(runs, pieces).ok_or_else(|| io::Error::other("no room is staged for them"))?;
            pages::write(&target.memory, None, &runs, data)
        }
    }
}

/// Where runs of pages go while they are staged; `None` when some page has no place.
fn staged(runs: &[Run], pieces: &[Piece]) -> Option<Vec<Run>> {
    let mut placed = Vec::with_capacity(runs.len());
    for run in runs {
        let mut at = run.start;
        while at < run.end() {
            let piece = pieces.iter().find(|piece| (piece.start..piece.end).contains(&at))?;
            let end = piece.end.min(run.end());
            let pages = u32::try_from((end - at) / pages::PAGE).ok()?;
            placed.push(Run { start: piece.at + (at - piece.start), pages });
            at = end;
        }
    }
    Some(placed)
}

fn unpacked(tail: &Bytes, unpacked_bytes: u32) -> io::Result<Bytes> {
    if unpacked_bytes == 0 {
        return Ok(tail.clone());
    }
    packing::unpack(tail, unpacked_bytes, PAGES_PER_BATCH as usize * pages::PAGE_BYTES).map(Bytes::from)
}

/// How often a batch may arrive damaged: then something is broken, and the program is better off where it is.
const DAMAGED_TIMES_MAX: u32 = 3;

/// Damaged batches between two marks; an answer that names them all stays far below what a frame holds.
const DAMAGED_MAX: usize = 4096;

/// Transfers that are known to have failed, of which more may come.
const FAILURES_MAX: usize = 256;

/// A sender has one transfer under way, and one more now and then for a new program.
const OPEN_MAX: usize = 1024;

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_grew_over_two_pieces_is_split_and_a_homeless_page_is_refused() {
        let pieces = [
            Piece { start: 0x1000, end: 0x3000, at: 0x90_0000 },
            Piece { start: 0x3000, end: 0x4000, at: 0x50_0000 },
        ];
        let split = staged(&[Run { start: 0x2000, pages: 2 }], &pieces);
        assert_eq!(split, Some(vec![Run { start: 0x90_1000, pages: 1 }, Run { start: 0x50_0000, pages: 1 }]));
        assert_eq!(staged(&[Run { start: 0x3000, pages: 2 }], &pieces), None);
    }

    #[test]
    fn a_peer_cannot_make_a_batch_larger_than_it_is() {
        let run = |pages| Run { start: 0x1000, pages };
        assert!(is_batch(&[run(1), run(15)]));
        assert!(!is_batch(&[run(17)]) && !is_batch(&[run(1); 17]) && !is_batch(&[run(u32::MAX); 2]));
    }

    #[test]
    fn a_peer_cannot_open_any_number_of_transfers() {
        let inflow = Inflow::new(mpsc::unbounded_channel().0);
        let open = || inflow.state.borrow().open();
        (0..10).for_each(|transfer| inflow.note_damage(transfer, 7, Vec::new()));
        (5..20).for_each(|transfer| inflow.fail(transfer, "broken".to_owned()));
        assert_eq!(open(), 5);
        inflow.expect(20);
        assert_eq!(open(), 0);
    }
}
