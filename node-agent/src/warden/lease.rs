//! The lease as a rule without clock and socket: what follows for a family from how long home was silent.
//!
//! None of this decides what counts: home executes no call of a body that does not, and runs no second one. It only saves the
//! guest from computing for nobody.

use std::time::{Duration, Instant};

/// Whether home was heard of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It was.
    Kept,
    /// For longer than an idle connection is quiet it was not: it is to be asked.
    Doubtful,
    /// Not for 0.8 of the lease.
    Lost,
}

/// Whether a family stands still for want of a home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// No.
    #[default]
    None,
    /// It shall, as soon as nothing stands in the way.
    Due,
    /// It does.
    Holds,
}

/// What becomes of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is to stand still: [`Hold::Holds`] once it does.
    StandStill,
    /// It goes on.
    GoOn,
}

impl Hold {
    /// What follows from how home was heard of.
    pub fn step(&mut self, contact: Contact) -> Option<Turn> {
        let (next, turn) = match (contact, *self) {
            (Contact::Lost, Hold::None) => (Hold::Due, Some(Turn::StandStill)),
            (Contact::Kept, Hold::Holds) => (Hold::None, Some(Turn::GoOn)),
            (Contact::Kept, Hold::Due | Hold::None) => (Hold::None, None),
            (Contact::Doubtful, hold) | (Contact::Lost, hold @ (Hold::Due | Hold::Holds)) => (hold, None),
        };
        *self = next;
        turn
    }
}

/// The last sign of life, as told by the bytes that have come so far: any datagram is one.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    bytes: u64,
    last: Instant,
    looked: Instant,
}

impl Signs {
    /// `bytes` have come until now.
    #[must_use]
    pub fn new(bytes: u64, now: Instant) -> Signs {
        Signs { bytes, last: now, looked: now }
    }

    /// So many have come by now.
    pub fn look(&mut self, bytes: u64, now: Instant, lease: Duration) -> Contact {
        if bytes != self.bytes {
            // They have come at some time since the last look. Were they taken for later than they are, the family would
            // stand still too late.
            (self.bytes, self.last) = (bytes, self.looked);
        }
        self.looked = now;
        match now.duration_since(self.last) {
            silence if silence >= lease / 10 * TENTHS_OF_LEASE => Contact::Lost,
            silence if silence >= keep_alive(lease) * 2 => Contact::Doubtful,
            _ => Contact::Kept,
        }
    }
}

/// How long nothing was heard where a family has never run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unborn {
    since: Option<Instant>,
}

impl Unborn {
    /// Whether what is here has never run, and home has said nothing for a while: there is nothing to be lost then, and home
    /// lets the family go on where it was.
    pub fn is_forsaken(&mut self, has_run: bool, contact: Contact, now: Instant) -> bool {
        if has_run || contact == Contact::Kept {
            self.since = None;
            return false;
        }
        now.duration_since(*self.since.get_or_insert(now)) >= UNBORN_PATIENCE
    }
}

/// When to look again: more often than an idle connection shows that it lives, or signs that come in time would seem late.
#[must_use]
pub fn pause(contact: Contact, lease: Duration) -> Duration {
    let usual = keep_alive(lease) / 2;
    match contact {
        Contact::Kept => usual,
        Contact::Doubtful | Contact::Lost => ASK_PAUSE.min(usual),
    }
}

/// How often an idle connection shows that it lives, where a lease of this length runs.
#[must_use]
pub fn keep_alive(lease: Duration) -> Duration {
    KEEP_ALIVE.min(lease / 6)
}

/// Of the lease, after which the family stands still.
const TENTHS_OF_LEASE: u32 = 8;

/// For home, where nothing has run yet.
const UNBORN_PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions to a home that says nothing. They are small; only where the connection had as much under way as it
/// may when the link was cut they wait for QUIC's own timers.
pub const ASK_PAUSE: Duration = Duration::from_millis(250);

/// Of an idle connection, unless its lease is a short one.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_stands_still_before_home_gives_it_up_though_its_clock_is_slow_by_a_tenth() {
        for seconds in [5, 10, 120, 7200] {
            let lease = Duration::from_secs(seconds);
            // A sign counts from before it came, so only the last look can be late.
            let latest = lease / 10 * TENTHS_OF_LEASE + pause(Contact::Doubtful, lease);
            assert!(latest * 10 / 9 < lease, "{latest:?} of {lease:?}");
        }
    }

    #[test]
    fn contact_is_lost_at_four_fifths_of_the_lease_and_kept_by_any_byte() {
        let (began, lease) = (Instant::now(), Duration::from_secs(10));
        let mut signs = Signs::new(0, began);
        let mut look = |bytes, seconds| signs.look(bytes, began + Duration::from_secs(seconds), lease);
        assert_eq!(look(0, 1), Contact::Kept);
        assert_eq!(look(0, 7), Contact::Doubtful);
        assert_eq!(look(1, 7), Contact::Kept);
        assert_eq!(look(1, 14), Contact::Doubtful);
        assert_eq!(look(1, 15), Contact::Lost);
        assert_eq!(look(1, 16), Contact::Lost);
        assert_eq!(look(2, 17), Contact::Kept);
        // What has come since then came at 17 already, for all that is known.
        assert_eq!(look(3, 25), Contact::Lost);
    }
}
