//! What all actors share: time, chance, the network and the witness. An actor says what it wants here, and the world does it
//! behind its step.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::network::Network;
use super::plan::Fault;
use super::plant::Bug;
use super::points::{Point, Points};
use super::random::Random;
use super::witness::Witness;
use super::word::{Address, Timer, Word};

/// In microseconds since the run began.
pub(super) type Time = u64;

#[derive(Clone, Debug)]
pub(super) enum Due {
    Deliver {
        from: Address,
        to: Address,
        word: Word,
    },
    /// Of one life of its actor.
    Ring {
        at: Address,
        life: u64,
        timer: Timer,
    },
    Fault(Fault),
}

/// What an actor wants.
#[derive(Debug)]
pub(super) enum Wish {
    Send(Address, Word),
    Ring(Time, Timer),
    /// A guest warden of this incarnation, for this family.
    Spawn(u64, usize),
    /// It dies here.
    Die,
}

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) points: Points,
    pub(super) bug: Option<Bug>,
    pub(super) network: Network,
    pub(super) witness: Witness,
    pub(super) lease: Duration,
    pub(super) wishes: Vec<Wish>,
    /// How fast the clock of the actor's node goes, in thousandths.
    pub(super) rate: u64,
    pub(super) incarnations: u64,
    pub(super) nodes_of_guests: std::collections::BTreeMap<u64, usize>,
    base: Instant,
    agenda: BinaryHeap<Reverse<(Time, u64)>>,
    /// What is due; the agenda has the place.
    entries: Vec<Option<Due>>,
    free: Vec<usize>,
    numbers: u64,
}

impl Stage {
    pub(super) fn new(random: Random, points: Points, network: Network, bug: Option<Bug>) -> Stage {
        Stage {
            now: 0,
            random,
            points,
            bug,
            network,
            witness: Witness::default(),
            lease: LEASE,
            wishes: Vec::new(),
            rate: 1000,
            incarnations: 0,
            nodes_of_guests: std::collections::BTreeMap::new(),
            base: Instant::now(),
            agenda: BinaryHeap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            numbers: 0,
        }
    }

    pub(super) fn send(&mut self, to: Address, word: Word) {
        self.wishes.push(Wish::Send(to, word));
    }

    /// After so long on the actor's own clock.
    pub(super) fn after(&mut self, pause: Duration, timer: Timer) {
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX / 2000);
        self.wishes.push(Wish::Ring(self.now + pause_us * 1000 / self.rate, timer));
    }

    /// The time on the actor's own clock.
    pub(super) fn clock(&self) -> Instant {
        self.base + Duration::from_micros(self.now * self.rate / 1000)
    }

    pub(super) fn hits(&mut self, point: Point) -> bool {
        self.points.hit(point, &mut self.random)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// A while between the two, in milliseconds.
    pub(super) fn while_ms(&mut self, start: u64, end: u64) -> Duration {
        Duration::from_micros(self.random.within(start * 1000, end * 1000))
    }

    /// Entries of one instant keep their order.
    pub(super) fn put(&mut self, time: Time, due: Due) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.entries[slot] = Some(due);
        self.numbers += 1;
        self.agenda.push(Reverse((time, self.numbers << SLOT_BITS | slot as u64)));
    }

    pub(super) fn take(&mut self) -> Option<Due> {
        let Reverse((time, number)) = self.agenda.pop()?;
        let slot = usize::try_from(number & ((1 << SLOT_BITS) - 1)).ok()?;
        self.now = time;
        self.free.push(slot);
        self.entries[slot].take()
    }
}

/// At most so many things are due at a time: 2 to the power of it.
const SLOT_BITS: u32 = 20;

/// As in the tests of the real wardens.
pub(super) const LEASE: Duration = Duration::from_secs(5);
