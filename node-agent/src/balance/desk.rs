//! The handshake at the target: it alone knows its load, so it has the last word, and what it promised counts as load
//! from then on.

use std::fmt;
use std::time::Duration;

use super::load::{NodeLoad, NodeNumber};
use super::tunables::{self, Tunables};

/// Whose promise: the asking node, and its number for the process.
pub type Key = (NodeNumber, u64);

/// What somebody wants to bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Whose.
    pub key: Key,
    /// Processors.
    pub demand: f64,
    /// Memory, in MiB.
    pub mem_mib: f64,
    /// When it is asked for, on the target's clock.
    pub now: Duration,
}

/// Why a target takes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is drained or blocked, or its owner is at work.
    Closed,
    /// As many as may arrive at a time are arriving.
    NoSlot,
    /// It would have too little memory.
    Memory,
    /// It is not worth it under the target's own numbers.
    NotWorthIt,
    /// The claim makes no sense.
    BadClaim,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Closed => "it takes nobody now",
            Refusal::NoSlot => "too many arrive at the same time",
            Refusal::Memory => "too little memory would remain",
            Refusal::NotWorthIt => "its load is not what the source believed",
            Refusal::BadClaim => "the claim makes no sense",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Promise {
    claim: Claim,
    /// `None` once the transfer has begun: then the warden that receives it keeps the promise alive.
    expires: Option<Duration>,
}

/// What a node has promised to those who asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desk {
    promises: Vec<Promise>,
}

impl Desk {
    /// What is promised to programs and processes that are not there yet: processors, and memory in MiB.
    #[must_use]
    pub fn promised(&self, now: Duration) -> (f64, f64) {
        let valid = self.promises.iter().filter(|promise| promise.valid(now));
        valid.fold((0.0, 0.0), |sum, promise| (sum.0 + promise.claim.demand, sum.1 + promise.claim.mem_mib))
    }

    /// How many arrive at the time.
    #[must_use]
    pub fn arriving(&self, now: Duration) -> usize {
        self.promises.iter().filter(|promise| promise.valid(now)).count()
    }

    /// The node's measured load with all that is promised.
    #[must_use]
    pub fn load(&self, measured: &NodeLoad, now: Duration) -> NodeLoad {
        let (demand, mem_mib) = self.promised(now);
        measured.with(demand, mem_mib)
    }

    /// Promises room if the doors are open, a slot is free, memory stays below `memory_max` and `worth_it` says so of
    /// the node's true load with all promises. `measured` is that load without them.
    ///
    /// # Errors
    /// The first of these reasons that fails.
    pub fn admit(
        &mut self,
        claim: &Claim,
        measured: &NodeLoad,
        memory_max: f64,
        tunables: &Tunables,
        worth_it: impl FnOnce(&NodeLoad) -> bool,
    ) -> Result<(), Refusal> {
        let Claim { key, demand, mem_mib, now } = *claim;
        if !(demand.is_finite() && mem_mib.is_finite() && demand >= 0.0 && mem_mib >= 0.0) {
            return Err(Refusal::BadClaim);
        }
        // A repeated question must not count against itself.
        self.promises.retain(|promise| promise.valid(now) && promise.claim.key != key);
        let truth = self.load(measured, now);
        if !measured.doors.open() {
            Err(Refusal::Closed)
        } else if self.promises.len() >= tunables::in_slots(measured.cores()) {
            Err(Refusal::NoSlot)
        } else if truth.with(demand, mem_mib).memory_share() > memory_max {
            Err(Refusal::Memory)
        } else if !worth_it(&truth) {
            Err(Refusal::NotWorthIt)
        } else {
            self.promises.push(Promise { claim: *claim, expires: Some(now + tunables.reservation) });
            Ok(())
        }
    }

    /// The transfer has begun; false if the promise has expired, and the process must not come.
    pub fn begin(&mut self, key: Key, now: Duration) -> bool {
        let promise = self.promises.iter_mut().find(|promise| promise.claim.key == key && promise.valid(now));
        promise.map(|promise| promise.expires = None).is_some()
    }

    /// Whether the process may still be committed here: it has a promise, the doors are open, and the memory of all who
    /// are here or were promised room is below `memory_max`.
    #[must_use]
    pub fn may_commit(&self, key: Key, measured: &NodeLoad, memory_max: f64, now: Duration) -> bool {
        let promised = self.promises.iter().any(|promise| promise.claim.key == key && promise.valid(now));
        promised && measured.doors.open() && self.load(measured, now).memory_share() <= memory_max
    }

    /// The process is here and counts by itself, or does not come.
    pub fn release(&mut self, key: Key) {
        self.promises.retain(|promise| promise.claim.key != key);
    }
}

impl Promise {
    fn valid(&self, now: Duration) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(process: u64, now_s: u64) -> Claim {
        let now = Duration::from_secs(now_s);
        Claim { key: (NodeNumber(9), process), demand: 1.0, mem_mib: 100.0, now }
    }

    fn admit(desk: &mut Desk, claim: &Claim) -> Result<(), Refusal> {
        let node = NodeLoad::new(NodeNumber(1), 4.0, 1.0, 1000.0).unwrap();
        desk.admit(claim, &node, 0.9, &Tunables::default(), |_| true)
    }

    #[test]
    fn a_repeated_question_takes_one_slot() {
        let mut desk = Desk::default();
        assert_eq!(admit(&mut desk, &claim(1, 0)), Ok(()));
        assert_eq!(admit(&mut desk, &claim(1, 1)), Ok(()));
        assert_eq!(desk.arriving(Duration::from_secs(1)), 1);
        assert_eq!(desk.promised(Duration::from_secs(1)), (1.0, 100.0));
    }

    #[test]
    fn a_transfer_that_has_begun_keeps_its_promise() {
        let mut desk = Desk::default();
        admit(&mut desk, &claim(1, 0)).unwrap();
        admit(&mut desk, &claim(2, 0)).unwrap();
        assert!(desk.begin(claim(1, 0).key, Duration::from_secs(4)));
        assert_eq!(desk.arriving(Duration::from_secs(60)), 1);
        assert!(!desk.begin(claim(2, 0).key, Duration::from_secs(60)), "it came too late");
        desk.release(claim(1, 0).key);
        assert_eq!(desk.arriving(Duration::from_secs(60)), 0);
    }

    #[test]
    fn claims_that_make_no_sense_are_refused() {
        let mut desk = Desk::default();
        for (demand, mem_mib) in [(f64::NAN, 1.0), (1.0, f64::INFINITY), (-1.0, 1.0)] {
            assert_eq!(admit(&mut desk, &Claim { demand, mem_mib, ..claim(1, 0) }), Err(Refusal::BadClaim));
        }
    }
}
