//! The log on disk: one file, one durable transaction for each batch.

use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;
use transport::wire;

use super::rows::{Batch, Disk, Entry, Hard, Saved};

/// A server's log.
#[derive(Debug)]
pub struct Storage {
    database: Database,
}

/// Why a log cannot be made or opened.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A server that lost its log must not vote again: it may have promised what it has forgotten.
    #[error("{} is gone: a server without its log cannot return; remove it and join again", path.display())]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// It is damaged, in use, or the disk fails.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Storage {
    /// Makes the log of a new server, with this on it.
    ///
    /// # Errors
    /// [`StorageError::Exists`] and [`StorageError::Unusable`].
    pub fn create(path: &Path, first: &Batch) -> Result<Storage, StorageError> {
        if path.exists() {
            return Err(StorageError::Exists { path: path.to_owned() });
        }
        let unusable = |reason: String| StorageError::Unusable { path: path.to_owned(), reason };
        let database = Database::create(path).map_err(|error| unusable(error.to_string()))?;
        let mut storage = Storage { database };
        storage.put(first).map_err(|error| unusable(error.to_string()))?;
        Ok(storage)
    }

    /// Opens the log of a server and reads all of it.
    ///
    /// # Errors
    /// [`StorageError::Gone`] and [`StorageError::Unusable`].
    pub fn open(path: &Path) -> Result<(Storage, Saved), StorageError> {
        if !path.exists() {
            return Err(StorageError::Gone { path: path.to_owned() });
        }
        let unusable = |reason: String| StorageError::Unusable { path: path.to_owned(), reason };
        let database = Database::open(path).map_err(|error| unusable(error.to_string()))?;
        let storage = Storage { database };
        let saved = storage.read().map_err(|error| unusable(error.to_string()))?;
        Ok((storage, saved))
    }

    fn read(&self) -> Result<Saved, redb::Error> {
        let damaged = |error: wire::WireError| redb::Error::Corrupted(error.to_string());
        let mut saved = Saved::nothing();
        let reading = self.database.begin_read()?;
        let meta = reading.open_table(META)?;
        if let Some(bytes) = meta.get(HARD)? {
            saved.hard = wire::decode(bytes.value()).map_err(damaged)?;
        }
        if let Some(bytes) = meta.get(START)? {
            saved.start = wire::decode(bytes.value()).map_err(damaged)?;
        }
        if let Some(bytes) = meta.get(SNAPSHOT)? {
            saved.snapshot = Some(wire::decode_long(bytes.value()).map_err(damaged)?);
        }
        for row in reading.open_table(LOG)?.iter()? {
            let (_, bytes) = row?;
            saved.entries.push(wire::decode::<Entry>(bytes.value()).map_err(damaged)?);
        }
        Ok(saved)
    }

    fn put(&mut self, batch: &Batch) -> Result<(), redb::Error> {
        let unencodable = |error: wire::WireError| redb::Error::Io(std::io::Error::other(error));
        let encoded = |value: &Hard| {
            let mut bytes = Vec::new();
            wire::encode(value, &mut bytes).map(|()| bytes).map_err(unencodable)
        };
        let mut writing = self.database.begin_write()?;
        writing
            .set_durability(Durability::Immediate)
            .map_err(|error| redb::Error::Io(std::io::Error::other(error)))?;
        {
            let mut meta = writing.open_table(META)?;
            let mut log = writing.open_table(LOG)?;
            if batch.clear {
                log.retain(|_, _| false)?;
            }
            if let Some(snapshot) = &batch.snapshot {
                let mut bytes = Vec::new();
                wire::encode_long(snapshot, &mut bytes).map_err(unencodable)?;
                meta.insert(SNAPSHOT, bytes.as_slice())?;
            }
            if let Some(start) = batch.start {
                let mut bytes = Vec::new();
                wire::encode(&start, &mut bytes).map_err(unencodable)?;
                meta.insert(START, bytes.as_slice())?;
                log.retain_in(..=start.0, |_, _| false)?;
            }
            if let Some(first) = batch.append.first() {
                log.retain_in(first.index.., |_, _| false)?;
            }
            for entry in &batch.append {
                let mut bytes = Vec::new();
                wire::encode(entry, &mut bytes).map_err(unencodable)?;
                log.insert(entry.index, bytes.as_slice())?;
            }
            if let Some(hard) = &batch.hard {
                meta.insert(HARD, encoded(hard)?.as_slice())?;
            }
        }
        writing.commit()?;
        Ok(())
    }
}

impl Disk for Storage {
    fn write(&mut self, batch: &Batch) -> Result<(), String> {
        self.put(batch).map_err(|error| error.to_string())
    }
}

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const HARD: &str = "hard";
const START: &str = "start";
const SNAPSHOT: &str = "snapshot";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::rows::{Conf, EntryKind, Snapshot};

    fn entry(index: u64, term: u64) -> Entry {
        Entry { kind: EntryKind::Normal, term, index, data: vec![7; 100] }
    }

    fn first() -> Batch {
        let conf = Conf { voters: vec![1], ..Conf::default() };
        Batch {
            snapshot: Some(Snapshot { index: 1, term: 1, conf, state: vec![1, 2, 3] }),
            start: Some((1, 1)),
            hard: Some(Hard { term: 1, vote: 0, commit: 1 }),
            ..Batch::default()
        }
    }

    #[test]
    fn the_disk_keeps_what_the_plain_model_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut model, mut disk) = (Saved::nothing(), Storage::create(&path, &first()).unwrap());
        model.write(&first());
        let batches = [
            Batch { append: (2..=9).map(|index| entry(index, 1)).collect(), ..Batch::default() },
            Batch { append: (5..=6).map(|index| entry(index, 2)).collect(), ..Batch::default() },
            Batch {
                start: Some((3, 1)),
                hard: Some(Hard { term: 2, vote: 9, commit: 5 }),
                ..Batch::default()
            },
            Batch {
                clear: true,
                start: Some((20, 3)),
                snapshot: Some(Snapshot {
                    index: 20,
                    term: 3,
                    conf: Conf::default(),
                    state: vec![0; 2 << 20],
                }),
                append: vec![entry(21, 3)],
                hard: None,
            },
        ];
        for batch in batches {
            model.write(&batch);
            disk.write(&batch).unwrap();
            drop(disk);
            let (again, saved) = Storage::open(&path).unwrap();
            disk = again;
            assert_eq!(saved, model);
        }
    }

    #[test]
    fn a_lost_log_is_no_empty_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(matches!(Storage::open(&path), Err(StorageError::Gone { .. })));
        drop(Storage::create(&path, &first()).unwrap());
        assert!(matches!(Storage::create(&path, &first()), Err(StorageError::Exists { .. })));
    }

    #[test]
    fn a_damaged_log_is_refused_and_a_torn_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut disk = Storage::create(&path, &first()).unwrap();
        for index in 2..50 {
            disk.write(&Batch { append: vec![entry(index, 1)], ..Batch::default() }).unwrap();
        }
        drop(disk);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 3]).unwrap();
        assert!(matches!(Storage::open(&path), Err(StorageError::Unusable { .. })));
        std::fs::write(&path, vec![0xff; whole.len()]).unwrap();
        assert!(matches!(Storage::open(&path), Err(StorageError::Unusable { .. })));
    }
}
