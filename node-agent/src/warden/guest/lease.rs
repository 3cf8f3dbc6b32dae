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
use crate::warden::handoff::ToHome;
use crate::warden::lease::{self, Contact, Hold, Signs, Turn};

/// Tells how it is: now and then while all is well, and every quarter of a second while it is not.
pub(super) fn watch(home: Connection, lease: Duration, events: mpsc::UnboundedSender<Event>) {
    tokio::task::spawn_local(async move {
        let mut signs = Signs::new(home.bytes_received(), Instant::now());
        let (mut before, mut pause) = (Contact::Kept, lease::pause(Contact::Kept, lease));
        let end = home.closed();
        tokio::pin!(end);
        while tokio::time::timeout(pause, &mut end).await.is_err() {
            let contact = signs.look(home.bytes_received(), Instant::now(), lease);
            if contact != Contact::Kept || contact != before {
                drop(events.send(Event::Contact(contact)));
            }
            before = contact;
            pause = lease::pause(contact, lease);
        }
    });
}

impl GuestWarden {
    /// Whether home lets the family go on where it was, since it has never run here.
    pub(super) fn is_forsaken(&mut self, contact: Contact) -> bool {
        self.unborn.is_forsaken(self.keeper.has_run(), contact, Instant::now())
    }

    pub(super) fn contact(&mut self, contact: Contact) {
        if contact != Contact::Kept {
            match self.endpoint.follow_address() {
                Ok(true) => tracing::warn!("this node has another address now"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "this node has lost its address"),
            }
            self.control.send(ToHome::AreYouThere, Bytes::new());
        }
        match self.hold.step(contact) {
            Some(Turn::StandStill) => {
                tracing::warn!("home is out of reach: the family stands still until it is heard of again");
            }
            Some(Turn::GoOn) => {
                tracing::info!("home is back: the family goes on");
                if let Stage::Living(family) = &mut self.stage {
                    family.frozen = false;
                    family.guest.thaw();
                }
            }
            None => {}
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

/// Longer than any lease.
pub(super) const LEASE_MAX: Duration = Duration::from_secs(7 * 86_400);
