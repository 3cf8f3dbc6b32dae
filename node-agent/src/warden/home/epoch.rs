//! The record of the last granted epoch, which outlives the warden.

use std::path::Path;

use transport::Epoch;

use super::HomeWarden;
use crate::warden::common::write_whole;
use crate::warden::fail;

impl HomeWarden {
    /// Grants the next epoch: the point of no return of a move. The record comes before its use.
    ///
    /// # Errors
    /// When it cannot be written; then nothing was granted.
    pub(super) fn grant(&mut self) -> Result<(), String> {
        let next = self.epoch.next();
        let record = self.common.control.with_extension(EPOCH_FILE);
        // Without it the next warden would begin anew.
        write_whole(&record, &next.0.to_string())
            .map_err(|error| format!("recording epoch {next} in {}: {error}", record.display()))?;
        self.epoch = next;
        fail::pass("home", "granted");
        Ok(())
    }
}

/// The last epoch that a former home warden of this process granted: an epoch is never granted twice.
pub(super) fn last_epoch(control: &Path) -> Epoch {
    let text = std::fs::read_to_string(control.with_extension(EPOCH_FILE)).unwrap_or_default();
    Epoch(text.trim().parse().unwrap_or(0))
}

/// Beside the socket, a file that holds the last granted epoch.
const EPOCH_FILE: &str = "epoch";
