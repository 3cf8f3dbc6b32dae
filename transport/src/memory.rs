//! A network within the process and outside of time, for the tests of protocol cores.
//!
//! It carries datagrams between any number of ends, and loses, delays, reorders, doubles and cuts off as it is told.
//! It has no clock and no sockets: the test says what time it is when it sends, and moves its own clock to the time
//! of each delivery. The same seed and the same sends give the same deliveries.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A point in virtual time, counted from the beginning of the test.
pub type Time = Duration;

/// One end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End(pub u32);

/// A chance, in parts of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMille(pub u16);

/// What the network does to each datagram. The default is a perfect network without delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// It is lost.
    pub loss: PerMille,
    /// It arrives twice; each copy has a delay of its own.
    pub duplication: PerMille,
    /// It is held back by up to [`Faults::reorder_delay`] more, so that later ones overtake it.
    pub reorder: PerMille,
    /// How far it is held back at most.
    pub reorder_delay: Duration,
    /// The delay of every datagram.
    pub delay: Duration,
    /// Up to this is added to the delay. Alone it does not reorder.
    pub jitter: Duration,
}

/// A datagram that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub at: Time,
    /// From whom.
    pub from: End,
    /// To whom.
    pub to: End,
    /// What.
    pub bytes: Vec<u8>,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    random: Random,
    faults: Faults,
    /// Pairs that do not hear each other, the lower end first.
    cut: BTreeSet<(End, End)>,
    /// By time of arrival, then by number, which orders those that arrive at the same time.
    under_way: BTreeMap<(Time, u64), Delivery>,
    /// Datagrams that were ever under way.
    numbered: u64,
    /// When the latest datagram that was not held back arrives, by direction.
    latest: BTreeMap<(End, End), Time>,
}

impl Network {
    /// A network without datagrams.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Network {
        Network {
            random: Random(seed),
            faults,
            cut: BTreeSet::new(),
            under_way: BTreeMap::new(),
            numbered: 0,
            latest: BTreeMap::new(),
        }
    }

    /// From now on does this to datagrams; those under way are not touched.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Cuts the two off from each other; what is under way between them is lost.
    pub fn partition(&mut self, one: End, other: End) {
        self.cut.insert(pair(one, other));
        let cut = &self.cut;
        self.under_way.retain(|_, delivery| !cut.contains(&pair(delivery.from, delivery.to)));
    }

    /// Lets the two hear each other again.
    pub fn heal(&mut self, one: End, other: End) {
        self.cut.remove(&pair(one, other));
    }

    /// Sends a datagram.
    pub fn send(&mut self, now: Time, from: End, to: End, bytes: Vec<u8>) {
        // Chance is drawn in the same order for each datagram, whatever becomes of it, so that one fault more or
        // less does not change the fate of all later ones.
        let lost = self.random.chance(self.faults.loss);
        let doubled = self.random.chance(self.faults.duplication);
        let first = self.arrival(now, from, to);
        let second = self.arrival(now, from, to);
        if lost || self.cut.contains(&pair(from, to)) {
            return;
        }
        if doubled {
            self.carry(second, from, to, bytes.clone());
        }
        self.carry(first, from, to, bytes);
    }

    /// The next datagram to arrive, taken out of the network, or `None` if nothing is under way.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.under_way.pop_first().map(|(_, delivery)| delivery)
    }

    /// When the next datagram arrives: the test's timers before then are due first.
    #[must_use]
    pub fn next_time(&self) -> Option<Time> {
        self.under_way.first_key_value().map(|(_, delivery)| delivery.at)
    }

    fn arrival(&mut self, now: Time, from: End, to: End) -> Time {
        let usual = now + self.faults.delay + self.random.up_to(self.faults.jitter);
        let held_back = self.random.chance(self.faults.reorder);
        let extra = self.random.up_to(self.faults.reorder_delay);
        // Jitter alone keeps the order: nothing arrives before what was sent earlier in the same direction.
        let latest = self.latest.entry((from, to)).or_default();
        let in_order = usual.max(*latest);
        if held_back {
            return in_order + extra;
        }
        *latest = in_order;
        in_order
    }

    fn carry(&mut self, at: Time, from: End, to: End, bytes: Vec<u8>) {
        self.numbered += 1;
        self.under_way.insert((at, self.numbered), Delivery { at, from, to, bytes });
    }
}

fn pair(one: End, other: End) -> (End, End) {
    (one.min(other), one.max(other))
}

/// SplitMix64: small, and good enough to choose fates.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn chance(&mut self, chance: PerMille) -> bool {
        self.next() % 1000 < u64::from(chance.0)
    }

    fn up_to(&mut self, max: Duration) -> Duration {
        let nanoseconds = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next() % nanoseconds.saturating_add(1).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: End = End(1);
    const B: End = End(2);
    const C: End = End(3);
    const MS: Duration = Duration::from_millis(1);

    /// Sends `count` numbered datagrams from A to B, one per millisecond.
    fn sent(network: &mut Network, count: u32) {
        for n in 0..count {
            network.send(n * MS, A, B, n.to_le_bytes().to_vec());
        }
    }

    fn run(seed: u64, faults: Faults, count: u32) -> Vec<Delivery> {
        let mut network = Network::new(seed, faults);
        sent(&mut network, count);
        std::iter::from_fn(|| network.next_delivery()).collect()
    }

    fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
        deliveries.iter().map(|delivery| u32::from_le_bytes(delivery.bytes[..].try_into().unwrap())).collect()
    }

    fn everything_wrong() -> Faults {
        Faults {
            loss: PerMille(100),
            duplication: PerMille(100),
            reorder: PerMille(100),
            reorder_delay: 20 * MS,
            delay: 5 * MS,
            jitter: 3 * MS,
        }
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        assert_eq!(run(7, everything_wrong(), 1000), run(7, everything_wrong(), 1000));
        assert_ne!(run(7, everything_wrong(), 1000), run(8, everything_wrong(), 1000));
    }

    #[test]
    fn a_perfect_network_delivers_at_once_and_in_order() {
        let deliveries = run(1, Faults::default(), 100);
        assert_eq!(numbers(&deliveries), (0..100).collect::<Vec<_>>());
        assert!(deliveries.iter().zip(0..).all(|(delivery, n)| delivery.at == n * MS));
        assert!(deliveries.iter().all(|delivery| (delivery.from, delivery.to) == (A, B)));
    }

    #[test]
    fn loss_loses_about_its_share() {
        let arrived = run(1, Faults { loss: PerMille(300), ..Faults::default() }, 10_000).len();
        assert!((6_700..7_300).contains(&arrived), "{arrived}");
        assert!(run(1, Faults { loss: PerMille(1000), ..Faults::default() }, 100).is_empty());
    }

    #[test]
    fn duplication_doubles_about_its_share() {
        let arrived = run(1, Faults { duplication: PerMille(300), ..Faults::default() }, 10_000).len();
        assert!((12_700..13_300).contains(&arrived), "{arrived}");
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let deliveries = run(1, Faults { delay: 10 * MS, jitter: 50 * MS, ..Faults::default() }, 1000);
        assert!(numbers(&deliveries).is_sorted());
        assert!(deliveries.iter().zip(0..).all(|(delivery, n)| delivery.at >= (n + 10) * MS));
        assert!(deliveries.is_sorted_by_key(|delivery| delivery.at));
    }

    #[test]
    fn reorder_lets_later_ones_overtake_and_loses_none() {
        let faults = Faults { reorder: PerMille(100), reorder_delay: 20 * MS, ..Faults::default() };
        let deliveries = run(1, faults, 1000);
        let mut numbers = numbers(&deliveries);
        let overtaken = numbers.windows(2).filter(|two| two[0] > two[1]).count();
        assert!(overtaken > 20, "{overtaken}");
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_partition_cuts_one_pair_in_both_directions_until_it_is_healed() {
        let mut network = Network::new(1, Faults { delay: 10 * MS, ..Faults::default() });
        network.send(Time::ZERO, A, B, b"under way".to_vec());
        network.partition(B, A);
        network.send(MS, A, B, b"forth".to_vec());
        network.send(MS, B, A, b"back".to_vec());
        network.send(MS, A, C, b"around".to_vec());
        assert_eq!(network.next_time(), Some(11 * MS));
        assert_eq!(network.next_delivery().unwrap().bytes, b"around");
        assert_eq!(network.next_delivery(), None);
        network.heal(A, B);
        network.send(20 * MS, A, B, b"again".to_vec());
        assert_eq!(network.next_delivery().unwrap().bytes, b"again");
    }

    #[test]
    fn one_fault_less_does_not_change_the_fate_of_others() {
        let lossy = Faults { loss: PerMille(200), delay: MS, jitter: 5 * MS, ..Faults::default() };
        let cut_once = |cut: bool| {
            let mut network = Network::new(3, lossy);
            if cut {
                network.partition(A, B);
            }
            network.send(Time::ZERO, A, B, vec![9; 4]);
            network.heal(A, B);
            sent(&mut network, 200);
            let deliveries: Vec<_> = std::iter::from_fn(|| network.next_delivery()).collect();
            deliveries.into_iter().filter(|delivery| delivery.bytes != [9; 4]).collect::<Vec<_>>()
        };
        assert_eq!(cut_once(true), cut_once(false));
    }
}
