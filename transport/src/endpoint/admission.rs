//! How many handshakes may be under way: what a stranger can cost.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the handshakes that are under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    pending: Arc<Mutex<Pending>>,
}

#[derive(Debug, Default)]
struct Pending {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// What to do with someone who knocks.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Begin the handshake and keep the slot until it has ended.
    Enter(Slot),
    /// Let it first prove that it receives what is sent to its address.
    Retry,
    /// Send it away.
    Refuse,
}

/// One handshake; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    /// Decides about a handshake from `address`, which has or has not proved that it is its own.
    pub(super) fn knock(&self, address: IpAddr, validated: bool) -> Verdict {
        let mut pending = self.lock();
        if pending.total >= PENDING_MAX {
            return Verdict::Refuse;
        }
        if pending.total >= PENDING_UNVALIDATED_MAX && !validated {
            return Verdict::Retry;
        }
        let here = pending.by_address.entry(address).or_default();
        if *here >= PENDING_PER_ADDRESS_MAX {
            return Verdict::Refuse;
        }
        *here += 1;
        pending.total += 1;
        Verdict::Enter(Slot { admission: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut pending = self.admission.lock();
        pending.total -= 1;
        if let Some(here) = pending.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                pending.by_address.remove(&self.address);
            }
        }
    }
}

/// Handshakes under way at one endpoint.
const PENDING_MAX: usize = 256;

/// From here on an address must be proved first, so that forged ones cannot take all places.
const PENDING_UNVALIDATED_MAX: usize = 64;

/// Handshakes under way from one address.
const PENDING_PER_ADDRESS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: usize) -> IpAddr {
        IpAddr::from(u128::try_from(last).unwrap().to_be_bytes())
    }

    #[test]
    fn one_address_takes_only_its_share() {
        let admission = Admission::default();
        let mut slots: Vec<_> =
            (0..PENDING_PER_ADDRESS_MAX).map(|_| admission.knock(address(1), false)).collect();
        assert!(slots.iter().all(|verdict| matches!(verdict, Verdict::Enter(_))));
        assert!(matches!(admission.knock(address(1), true), Verdict::Refuse));
        assert!(matches!(admission.knock(address(2), false), Verdict::Enter(_)));
        slots.pop();
        assert!(matches!(admission.knock(address(1), false), Verdict::Enter(_)));
    }

    #[test]
    fn forged_addresses_cannot_take_all_places() {
        let admission = Admission::default();
        let forged: Vec<_> = (0..1000).map(|n| admission.knock(address(n), false)).collect();
        let entered = forged.iter().filter(|verdict| matches!(verdict, Verdict::Enter(_))).count();
        assert_eq!(entered, PENDING_UNVALIDATED_MAX);
        assert!(matches!(forged.last(), Some(Verdict::Retry)));

        let proved: Vec<_> = (0..1000).map(|n| admission.knock(address(n + 5000), true)).collect();
        let entered = proved.iter().filter(|verdict| matches!(verdict, Verdict::Enter(_))).count();
        assert_eq!(entered, PENDING_MAX - PENDING_UNVALIDATED_MAX);
        assert!(matches!(proved.last(), Some(Verdict::Refuse)));

        drop((forged, proved));
        assert_eq!(admission.lock().total, 0);
        assert!(admission.lock().by_address.is_empty());
    }
}
