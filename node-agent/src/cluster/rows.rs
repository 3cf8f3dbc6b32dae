//! The log and its messages as plain types: what is written to disk and what servers send each other.
//!
//! They mirror those of the raft crate, whose own encoding is never parsed here: it recurses without a limit
//! (RUSTSEC-2024-0437).

use serde::{Deserialize, Serialize};

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it holds.
    pub kind: EntryKind,
    /// The term in which it was proposed.
    pub term: u64,
    /// Its place in the log, from 1.
    pub index: u64,
    /// A [`Proposal`](super::Proposal), a change of the voters, or nothing.
    pub data: Vec<u8>,
}

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A proposal, or nothing: a new leader begins with an empty entry.
    Normal,
    /// A change of one voter.
    Change,
    /// A change of several voters, or nothing: the end of such a change.
    ChangeV2,
}

/// Who votes and who only follows, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conf {
    /// They vote.
    pub voters: Vec<u64>,
    /// They follow.
    pub learners: Vec<u64>,
    /// While the voters change: the former ones, who still have a say.
    pub voters_outgoing: Vec<u64>,
    /// Those who only follow as soon as the change is over.
    pub learners_next: Vec<u64>,
    /// Whether the change ends by itself.
    pub auto_leave: bool,
}

impl Conf {
    /// Whether it names this server in any way.
    #[must_use]
    pub fn names(&self, id: u64) -> bool {
        [&self.voters, &self.learners, &self.voters_outgoing].iter().any(|ids| ids.contains(&id))
    }
}

/// What a server must never forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hard {
    /// The latest term that it has seen.
    pub term: u64,
    /// For whom it voted in that term, or 0.
    pub vote: u64,
    /// Up to which index the log is agreed, as far as it knows.
    pub commit: u64,
}

/// The result of the log up to an index, in place of the entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last index that it holds.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The voters at that index.
    pub conf: Conf,
    /// The encoded [`State`](super::State) at that index.
    pub state: Vec<u8>,
}

/// A message between servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the raft crate.
    pub kind: i32,
    /// To whom.
    pub to: u64,
    /// From whom.
    pub from: u64,
    /// The sender's term.
    pub term: u64,
    /// The term of the entry before `entries`.
    pub log_term: u64,
    /// The index of the entry before `entries`, or another one, by kind.
    pub index: u64,
    /// To be appended.
    pub entries: Vec<Entry>,
    /// Up to where the log is agreed.
    pub commit: u64,
    /// That entry's term.
    pub commit_term: u64,
    /// Without its state, which travels as raw bytes beside the message.
    pub snapshot: Option<Snapshot>,
    /// The sender needs a snapshot of at least this index.
    pub request_snapshot: u64,
    /// Whether it refuses.
    pub reject: bool,
    /// Where to try again.
    pub reject_hint: u64,
    /// Whatever the sender wants back.
    pub context: Vec<u8>,
    /// The candidate's priority.
    pub priority: i64,
}

/// What has to be on disk before anything that depends on it leaves this server: one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Replaces the former snapshot.
    pub snapshot: Option<Snapshot>,
    /// The log begins after this index and term; what stands before is dropped.
    pub start: Option<(u64, u64)>,
    /// Nothing of the log before this batch holds any more.
    pub clear: bool,
    /// Appended; entries of the same and of later indices are replaced.
    pub append: Vec<Entry>,
    /// Replaces the former one.
    pub hard: Option<Hard>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Batch::default()
    }
}

/// What a server finds on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The latest; a joiner has none yet.
    pub snapshot: Option<Snapshot>,
    /// The index and term before the first entry.
    pub start: (u64, u64),
    /// In order, without gaps.
    pub entries: Vec<Entry>,
    /// The latest.
    pub hard: Hard,
}

impl Saved {
    /// A disk with nothing on it.
    #[must_use]
    pub fn nothing() -> Saved {
        Saved { snapshot: None, start: (0, 0), entries: Vec::new(), hard: Hard::default() }
    }

    /// Writes a batch, as a disk does.
    pub fn write(&mut self, batch: &Batch) {
        if batch.clear {
            self.entries.clear();
        }
        if let Some(snapshot) = &batch.snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(start) = batch.start {
            self.start = start;
            self.entries.retain(|entry| entry.index > start.0);
        }
        if let Some(first) = batch.append.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(batch.append.iter().cloned());
        }
        if let Some(hard) = &batch.hard {
            self.hard = hard.clone();
        }
    }
}

/// A disk that keeps batches.
pub trait Disk {
    /// Writes all of a batch or nothing of it, and returns when it would outlive a power cut.
    ///
    /// # Errors
    /// Why not. Whoever gets an error must not go on: what was promised to others may be lost.
    fn write(&mut self, batch: &Batch) -> Result<(), String>;
}
