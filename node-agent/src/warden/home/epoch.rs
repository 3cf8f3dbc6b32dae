//! The record of the epochs that may be in use, which outlives the warden.

use std::io;
use std::path::Path;

use ipc_home::residence::Event;
use transport::Epoch;

use super::HomeWarden;
use crate::warden::common::write_whole;
use crate::warden::fail;

impl HomeWarden {
    /// Records that every epoch up to this one may be in use: without it the next warden would grant them again.
    pub(super) fn record(&mut self, up_to: Epoch) -> Event {
        match self.note(Record { up_to, ..self.record }) {
            Ok(()) => {
                fail::pass("home", "recorded");
                Event::Recorded
            }
            Err(error) => {
                self.trouble(format!(
                    "recording the next epochs beside {}: {error}",
                    self.common.control.display()
                ));
                Event::NotRecorded
            }
        }
    }

    /// Writes that this epoch counts, for whoever looks.
    pub(super) fn note_commit(&mut self, epoch: Epoch) -> io::Result<()> {
        self.note(Record { committed: epoch, ..self.record })
    }

    fn note(&mut self, record: Record) -> io::Result<()> {
        let path = self.common.control.with_extension(EPOCH_FILE);
        write_whole(&path, &format!("{} {}\n", record.committed.0, record.up_to.0))?;
        self.record = record;
        Ok(())
    }
}

/// What lies on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    /// The epoch of the last move that was committed.
    committed: Epoch,
    /// No later epoch than this was ever used.
    pub(super) up_to: Epoch,
}

impl Record {
    /// As a former home warden of this process has left it.
    pub(super) fn read(control: &Path) -> Record {
        let text = std::fs::read_to_string(control.with_extension(EPOCH_FILE)).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| Epoch(number.parse().unwrap_or(0)));
        let committed = numbers.next().unwrap_or_default();
        Record { committed, up_to: numbers.next().unwrap_or_default() }
    }
}

/// Beside the socket, a file with the two numbers of [`Record`].
const EPOCH_FILE: &str = "epoch";
