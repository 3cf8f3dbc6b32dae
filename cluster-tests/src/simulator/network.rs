//! The network between nodes: it loses, repeats, delays and so reorders, and is cut one way or both.

use super::random::Random;
use super::stage::Time;

#[derive(Clone, Debug)]
pub(super) struct Network {
    /// In thousandths.
    pub(super) loss: u64,
    pub(super) repeats: u64,
    /// Those that come very late.
    pub(super) stragglers: u64,
    /// At most, in microseconds.
    pub(super) delay: Time,
    /// Who is not heard by whom.
    cuts: Vec<Vec<bool>>,
}

impl Network {
    pub(super) fn new(nodes: usize, random: &mut Random) -> Network {
        let mut in_half = |most: u64| if random.in_thousand(500) { random.below(most) } else { 0 };
        let (loss, repeats, stragglers) = (in_half(300), in_half(200), in_half(100));
        let delay = 1_000 + in_half(200_000);
        Network { loss, repeats, stragglers, delay, cuts: vec![vec![false; nodes]; nodes] }
    }

    pub(super) fn cut(&mut self, from: usize, to: usize, is_cut: bool) {
        self.cuts[from][to] = is_cut;
    }

    pub(super) fn heal(&mut self) {
        (self.loss, self.repeats, self.stragglers, self.delay) = (0, 0, 0, 1_000);
        self.cuts.iter_mut().for_each(|row| row.fill(false));
    }

    /// After which times a packet arrives. Within a node it does so once, and in order.
    pub(super) fn carry(&self, from: usize, to: usize, random: &mut Random) -> [Option<Time>; 2] {
        if from == to {
            return [Some(LOCAL_US), None];
        }
        if self.cuts[from][to] || random.in_thousand(self.loss) {
            return [None, None];
        }
        let mut delay = || {
            let most = if random.in_thousand(self.stragglers) { STRAGGLER_US_MAX } else { self.delay };
            200 + random.below(most)
        };
        let first = Some(delay());
        let second = delay();
        [first, random.in_thousand(self.repeats).then_some(second)]
    }
}

/// What a packet may be late by.
const STRAGGLER_US_MAX: Time = 4_000_000;

/// Between two processes of a node, in microseconds.
const LOCAL_US: Time = 100;
