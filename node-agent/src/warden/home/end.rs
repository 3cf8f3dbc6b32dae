//! The end of a family whose body is gone.

use transport::KeyHash;
use transport::endpoint::Closed;

use super::{Event, HomeWarden, Peer};
use crate::config::LOST_FILE;
use crate::exit::JOB_LOST;
use crate::warden::common::write_whole;

impl HomeWarden {
    /// A guest warden was killed, as its agent has seen: the same as the end of its control stream.
    pub(super) fn lose(&mut self, key: KeyHash) {
        if let Some((number, _)) = self.heard.iter().find(|(_, heard)| **heard == key) {
            self.told_dead = *number;
            // The receiver is this warden.
            let _ = self.events.send(Event::Control(*number, None));
        }
    }

    /// Lets every process of the family end with the status that says so, and returns the reason.
    pub(super) async fn end_family(&mut self) -> String {
        let reason = self.reason_of_loss();
        let Some(deputy) = &mut self.deputy else { return reason };
        deputy.end_all(JOB_LOST);
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        // Were the warden to end before them, they would be killed with it.
        while self.deputy.as_ref().is_some_and(|deputy| !deputy.is_empty()) {
            match tokio::time::timeout_at(deadline, self.next_event()).await {
                Ok(Some(event)) => self.handle(event),
                _ => return format!("{reason}; not every process has ended by itself"),
            }
        }
        reason
    }

    /// Leaves the reason for an agent that does not know it, maybe only the next one.
    pub(super) fn leave_word(&self, reason: &str) {
        // Without deputies it was the program at home that has ended.
        if self.deputy.is_none() {
            return;
        }
        if self.away.as_ref().is_some_and(|peer| peer.number == self.told_dead) {
            return;
        }
        self.leave(&format!("{reason}; it has ended with status {JOB_LOST}"));
    }

    /// A guest's kernel has killed processes of the family, which end here as they have there.
    pub(super) fn out_of_memory(&self, number: u64, count: u64) {
        let Some(Peer { node, .. }) = self.present().filter(|peer| peer.number == number) else { return };
        self.leave(&format!("out of memory at {node}, which has killed {count} of its processes (signal 9)"));
    }

    fn leave(&self, text: &str) {
        let word = self.common.control.with_extension(LOST_FILE);
        if let Err(error) = write_whole(&word, text) {
            tracing::warn!(path = %word.display(), %error, "nobody will be told of the end of this family");
        }
    }

    fn reason_of_loss(&self) -> String {
        match &self.away {
            Some(Peer { node, connection, .. }) if connection.end() == Some(Closed::TimedOut) => {
                let lease = super::lease(&self.common).as_secs();
                format!("no sign of life from {node} for {lease} s, the time after which the body ends there")
            }
            _ => "the guest warden is gone, and the body with it".to_owned(),
        }
    }
}

/// For processes that have nothing left to do.
const END_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
