//! The freshest entries that a node knows.

use std::cmp::Reverse;
use std::time::Duration;

use super::entry::LoadEntry;
use crate::balance::NodeNumber;

#[derive(Clone, Copy, Debug)]
struct Row {
    entry: LoadEntry,
    /// When the entry's node said so, in milliseconds of this node's clock; before its start if negative.
    born_ms: i64,
}

/// At most [`ENTRIES_MAX`] entries, none older than [`AGE_MAX`], in the order of their nodes.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
    /// The nodes of the rows: what is searched fits a few lines of the processor's cache.
    nodes: Vec<u32>,
}

impl Table {
    /// Takes in what is newer than what is known. Nothing that is told makes an entry younger but a newer one.
    pub fn merge<'a>(&mut self, entries: impl Iterator<Item = &'a LoadEntry>, now: Duration) {
        let now_ms = milliseconds(now);
        let known = self.rows.len();
        for entry in entries.take(MERGED_MAX) {
            let row = Row { entry: *entry, born_ms: now_ms - milliseconds(entry.age()) };
            if now_ms - row.born_ms > milliseconds(AGE_MAX) {
                continue;
            }
            match self.nodes.binary_search(&entry.node) {
                Ok(place) => self.rows[place].update(row),
                Err(_) => match self.rows[known..].iter_mut().find(|new| new.entry.node == entry.node) {
                    Some(new) => new.update(row),
                    None => self.rows.push(row),
                },
            }
        }
        if self.rows.len() > ENTRIES_MAX {
            self.rows.select_nth_unstable_by_key(ENTRIES_MAX, |row| Reverse(row.born_ms));
            self.rows.truncate(ENTRIES_MAX);
            self.order();
        } else if self.rows.len() > known {
            self.order();
        }
    }

    fn order(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.entry.node);
        self.nodes.clear();
        self.nodes.extend(self.rows.iter().map(|row| row.entry.node));
    }

    /// Forgets what is too old to be of use.
    pub fn expire(&mut self, now: Duration) {
        let now_ms = milliseconds(now);
        let known = self.rows.len();
        self.rows.retain(|row| now_ms - row.born_ms <= milliseconds(AGE_MAX));
        if self.rows.len() < known {
            self.order();
        }
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: NodeNumber) {
        self.rows.retain(|row| row.entry.node != node.0);
        self.order();
    }

    /// The entry of a node, with its age now.
    #[must_use]
    pub fn get(&self, node: NodeNumber, now: Duration) -> Option<LoadEntry> {
        let place = self.nodes.binary_search(&node.0).ok()?;
        Some(self.rows[place].at(milliseconds(now)))
    }

    /// The freshest entries, at most so many, with their ages now; in no order.
    #[must_use]
    pub fn freshest(&self, now: Duration, count: usize) -> Vec<LoadEntry> {
        let now_ms = milliseconds(now);
        if self.rows.len() <= count {
            return self.rows.iter().map(|row| row.at(now_ms)).collect();
        }
        let mut order: Vec<(i64, u32)> = Vec::with_capacity(self.rows.len());
        for (place, row) in self.rows.iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "at most ENTRIES_MAX")]
            order.push((-row.born_ms, place as u32));
        }
        order.select_nth_unstable(count);
        order.iter().take(count).map(|(_, place)| self.rows[*place as usize].at(now_ms)).collect()
    }

    /// How many nodes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no node is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Row {
    fn update(&mut self, other: Row) {
        if (other.entry.incarnation, other.born_ms) > (self.entry.incarnation, self.born_ms) {
            *self = other;
        }
    }

    fn at(&self, now_ms: i64) -> LoadEntry {
        let age_10ms = u16::try_from((now_ms - self.born_ms) / 10).unwrap_or(u16::MAX);
        LoadEntry { age_10ms, ..self.entry }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Entries that are kept: the oldest go first.
pub const ENTRIES_MAX: usize = 256;

/// Entries that are older are of no use.
pub const AGE_MAX: Duration = Duration::from_secs(30);

/// Entries of one message that are looked at.
const MERGED_MAX: usize = 32;
