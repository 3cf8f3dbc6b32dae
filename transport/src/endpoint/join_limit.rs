//! How often strangers may try to join.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Counts join attempts by address: ten at once, then one per minute.
#[derive(Debug, Default)]
pub(super) struct JoinLimit {
    by_address: HashMap<IpAddr, Attempts>,
}

#[derive(Debug)]
struct Attempts {
    left: u32,
    /// When the last one came back.
    since: Instant,
}

impl JoinLimit {
    /// Whether `address` may try now; counts the attempt if so.
    pub(super) fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, attempts| !attempts.refill(now));
            if self.by_address.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let attempts =
            self.by_address.entry(address).or_insert(Attempts { left: ATTEMPTS_AT_ONCE, since: now });
        attempts.refill(now);
        let admitted = attempts.left > 0;
        attempts.left = attempts.left.saturating_sub(1);
        admitted
    }
}

impl Attempts {
    /// Gives back what time has earned; true if nothing is missing any more.
    fn refill(&mut self, now: Instant) -> bool {
        while self.left < ATTEMPTS_AT_ONCE && now.saturating_duration_since(self.since) >= REFILL {
            self.left += 1;
            self.since += REFILL;
        }
        if self.left == ATTEMPTS_AT_ONCE {
            self.since = now;
        }
        self.left == ATTEMPTS_AT_ONCE
    }
}

/// One IPv6 host has a whole /64 to choose its addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// Attempts of one address before it must wait.
const ATTEMPTS_AT_ONCE: u32 = 10;

/// Time in which one attempt comes back.
const REFILL: Duration = Duration::from_secs(60);

/// Addresses remembered; with so many at once nobody new may join until some have been quiet for a while.
const ADDRESSES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn ten_at_once_then_one_per_minute() {
        let (mut limit, start) = (JoinLimit::default(), Instant::now());
        let admitted = |limit: &mut JoinLimit, now| (0..100).filter(|_| limit.admit(address(1), now)).count();
        assert_eq!(admitted(&mut limit, start), 10);
        assert_eq!(admitted(&mut limit, start + REFILL - Duration::from_secs(1)), 0);
        assert_eq!(admitted(&mut limit, start + REFILL), 1);
        assert_eq!(admitted(&mut limit, start + 4 * REFILL), 3);
        assert_eq!(admitted(&mut limit, start + 1000 * REFILL), 10);
        assert!(limit.admit(address(2), start));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let (mut limit, now) = (JoinLimit::default(), Instant::now());
        let host = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, last));
        assert_eq!((0..100).filter(|last| limit.admit(host(*last), now)).count(), 10);
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let (mut limit, now) = (JoinLimit::default(), Instant::now());
        let admitted = (0..10_000).filter(|n| limit.admit(address(*n), now)).count();
        assert_eq!(admitted, ADDRESSES_MAX);
        assert!(limit.admit(address(20_000), now + REFILL));
        assert_eq!(limit.by_address.len(), 1);
    }
}
