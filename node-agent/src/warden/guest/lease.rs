//! What becomes of a family that home is out of reach of: it computes on for 0.8 of its lease, stands still then, and
//! goes on when home is heard of again. At the end of the lease the connection is taken for gone, and the family ends.
//! While one of its threads waits for home in a call that no other node could go on with, such as fork, the others are not
//! stopped before that end.
//!
//! A family that has never run here does not wait for that: it counts elsewhere, or not yet. (Only if the guest that it came
//! from has died as well, between home's commit and a word that is lost on a cut link, does it count here already.)
//!
//! None of this decides what counts: home executes no call that it does not hear of, and runs no second body. It only
//! saves the guest from computing for nobody.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use transport::endpoint::Connection;

use super::{Event, GuestWarden, Stage};
use crate::warden::common::keep_alive;
use crate::warden::handoff::ToHome;

/// Whether home was heard of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// It was.
    Kept,
    /// For longer than an idle connection is quiet it was not: it is to be asked.
    Doubtful,
    /// Not for 0.8 of the lease.
    Lost,
}

/// Whether a family stands still for want of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// No.
    #[default]
    None,
    /// It shall, as soon as nothing stands in the way.
    Due,
    /// It does.
    Holds,
}

/// The last sign of life, as told by the bytes that have come so far: any datagram is one.
#[derive(Clone, Copy, Debug)]
struct Signs {
    bytes: u64,
    last: Instant,
}

impl Signs {
    fn look(&mut self, bytes: u64, now: Instant, lease: Duration) -> Contact {
        if bytes != self.bytes {
            (self.bytes, self.last) = (bytes, now);
        }
        match now.duration_since(self.last) {
            silence if silence >= lease / 10 * TENTHS_OF_LEASE => Contact::Lost,
            silence if silence >= keep_alive(lease) * 2 => Contact::Doubtful,
            _ => Contact::Kept,
        }
    }
}

/// Tells how it is: now and then while all is well, and every quarter of a second while it is not.
pub(super) fn watch(home: Connection, lease: Duration, events: mpsc::UnboundedSender<Event>) {
    tokio::task::spawn_local(async move {
        let mut signs = Signs { bytes: home.bytes_received(), last: Instant::now() };
        let (mut before, mut pause) = (Contact::Kept, keep_alive(lease));
        let end = home.closed();
        tokio::pin!(end);
        while tokio::time::timeout(pause, &mut end).await.is_err() {
            let contact = signs.look(home.bytes_received(), Instant::now(), lease);
            if contact != Contact::Kept || contact != before {
                drop(events.send(Event::Contact(contact)));
            }
            before = contact;
            pause =
                if contact == Contact::Kept { keep_alive(lease) } else { ASK_PAUSE.min(keep_alive(lease)) };
        }
    });
}

impl GuestWarden {
    /// Whether what is here has never run, and home has said nothing for a while: there is nothing to be lost then, and home
    /// lets the family go on where it was.
    pub(super) fn is_forsaken(&mut self, contact: Contact) -> bool {
        if self.keeper.has_run() || contact == Contact::Kept {
            self.doubtful_since = None;
            return false;
        }
        self.doubtful_since.get_or_insert_with(Instant::now).elapsed() >= UNBORN_PATIENCE
    }

    pub(super) fn contact(&mut self, contact: Contact) {
        if contact != Contact::Kept {
            self.control.send(ToHome::AreYouThere, Bytes::new());
        }
        match (contact, self.hold) {
            (Contact::Lost, Hold::None) => {
                tracing::warn!("home is out of reach: the family stands still until it is heard of again");
                self.hold = Hold::Due;
            }
            (Contact::Kept, Hold::Holds) => {
                tracing::info!("home is back: the family goes on");
                self.hold = Hold::None;
                if let Stage::Living(family) = &mut self.stage {
                    family.frozen = false;
                    family.guest.thaw();
                }
            }
            (Contact::Kept, Hold::Due) => self.hold = Hold::None,
            (Contact::Kept, Hold::None)
            | (Contact::Doubtful, _)
            | (Contact::Lost, Hold::Due | Hold::Holds) => {}
        }
    }

    /// A family that home stops, or has stopped, goes on when home says so.
    pub(super) fn hold_if_due(&mut self) {
        if self.hold != Hold::Due {
            return;
        }
        let Stage::Living(family) = &self.stage else { return };
        if !self.is_moving() && !family.frozen && !family.guest.is_busy() {
            match self.freeze(false) {
                Ok(()) => self.hold = Hold::Holds,
                Err(reason) => {
                    tracing::warn!(%reason, "the family does not stand still");
                    self.go_on();
                }
            }
        }
    }
}

/// Of the lease, after which the family stands still.
const TENTHS_OF_LEASE: u32 = 8;

/// Longer than any lease.
pub(super) const LEASE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// For home, where nothing has run yet.
const UNBORN_PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions to a home that says nothing. They are small; only where the connection had as much under way as it
/// may when the link was cut they wait for QUIC's own timers.
const ASK_PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contact_is_lost_at_four_fifths_of_the_lease_and_kept_by_any_byte() {
        let (began, lease) = (Instant::now(), Duration::from_secs(10));
        let mut signs = Signs { bytes: 0, last: began };
        let mut look = |bytes, seconds| signs.look(bytes, began + Duration::from_secs(seconds), lease);
        assert_eq!(look(0, 1), Contact::Kept);
        assert_eq!(look(0, 7), Contact::Doubtful);
        assert_eq!(look(1, 7), Contact::Kept);
        assert_eq!(look(1, 14), Contact::Doubtful);
        assert_eq!(look(1, 15), Contact::Lost);
        assert_eq!(look(1, 16), Contact::Lost);
        assert_eq!(look(2, 17), Contact::Kept);
    }
}
