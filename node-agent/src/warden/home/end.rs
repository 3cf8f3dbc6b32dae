//! The end of a family whose body is gone.

use transport::KeyHash;

use super::{Event, HomeWarden};
use crate::exit::JOB_LOST;

impl HomeWarden {
    /// A guest warden was killed, as its agent has seen: the same as the end of its control stream.
    pub(super) fn lose(&mut self, key: KeyHash) {
        if let Some((number, _)) = self.heard.iter().find(|(_, heard)| heard.key == key) {
            // The receiver is this warden.
            let _ = self.events.send(Event::Control(*number, None));
        }
    }

    /// Lets every process of the family end with the status that says so, and returns the reason.
    pub(super) async fn end_family(&mut self) -> String {
        let Some(deputy) = &mut self.deputy else { return REASON.to_owned() };
        deputy.end_all(JOB_LOST);
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        // Were the warden to end before them, they would be killed with it.
        while self.deputy.as_ref().is_some_and(|deputy| !deputy.is_empty()) {
            match tokio::time::timeout_at(deadline, self.next_event()).await {
                Ok(Some(event)) => self.handle(event),
                _ => return format!("{REASON}; not every process has ended by itself"),
            }
        }
        REASON.to_owned()
    }
}

const REASON: &str = "the guest warden is gone, and the body with it";

/// For processes that have nothing left to do.
const END_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
