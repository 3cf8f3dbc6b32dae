//! The log as the raft crate reads it: in memory, a mirror of what is on disk.

use std::cell::Cell;

use raft::eraftpb::Entry;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::convert::{conf_in, entry_in, hard_in, snapshot_in};
use super::eraftpb;
use crate::cluster::rows::{Batch, Conf, Hard, Saved, Snapshot};

/// The log, and what is known of the disk.
#[derive(Debug)]
pub(super) struct Log {
    entries: Vec<Entry>,
    /// The index and term before the first entry.
    start: (u64, u64),
    pub(super) hard: Hard,
    /// The voters at the index of the snapshot on disk: where the log is taken up after a restart.
    conf: Conf,
    /// For a server that lags behind the log.
    fresh: Option<Snapshot>,
    /// A server lags behind the log, and `fresh` is too old for it.
    wanted: Cell<bool>,
}

impl Log {
    pub(super) fn new(saved: &Saved) -> Log {
        Log {
            entries: saved.entries.iter().map(entry_in).collect(),
            start: saved.start,
            hard: saved.hard.clone(),
            conf: saved.snapshot.as_ref().map(|snapshot| snapshot.conf.clone()).unwrap_or_default(),
            fresh: None,
            wanted: Cell::new(false),
        }
    }

    /// Takes over what the batch brings to the disk.
    pub(super) fn take(&mut self, batch: &Batch) {
        if batch.clear {
            self.entries.clear();
        }
        if let Some(start) = batch.start {
            self.start = start;
            self.entries.retain(|entry| entry.index > start.0);
            self.fresh = None;
        }
        if let Some(first) = batch.append.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(batch.append.iter().map(entry_in));
        }
        if let Some(hard) = &batch.hard {
            self.hard = hard.clone();
        }
    }

    /// Whether somebody waits for [`Log::offer`].
    pub(super) fn wants_snapshot(&self) -> bool {
        self.wanted.take()
    }

    /// Keeps a snapshot for those who lag behind.
    pub(super) fn offer(&mut self, snapshot: Snapshot) {
        self.fresh = Some(snapshot);
    }

    /// The index before the first entry.
    pub(super) fn start(&self) -> u64 {
        self.start.0
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.last().map_or(self.start.0, |entry| entry.index)
    }

    fn at(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.start.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.start.0 { Some(self.start.1) } else { self.at(index).map(|entry| entry.term) }
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: hard_in(&self.hard), conf_state: conf_in(&self.conf) })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.0 {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let mut entries: Vec<Entry> = (low..high).filter_map(|index| self.at(index).cloned()).collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.start.0 {
            return Err(StorageError::Compacted.into());
        }
        self.term_at(index).ok_or(StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// A snapshot must name whoever it is for among the voters and learners, or it is ignored there.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        match &self.fresh {
            Some(snapshot)
                if snapshot.index >= request_index.max(self.start.0) && snapshot.conf.names(to) =>
            {
                Ok(snapshot_in(snapshot))
            }
            _ => {
                self.wanted.set(true);
                // The only error here that the crate takes without a panic: it asks again.
                Err(StorageError::SnapshotTemporarilyUnavailable.into())
            }
        }
    }
}
