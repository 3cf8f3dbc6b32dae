//! The one source of chance of a run: SplitMix64, so that a seed says everything.

/// Numbers that look random and follow from a seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(mix(seed, 0x686f_6d69_6e67))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        scramble(self.0)
    }

    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From `start` up to and without `end`.
    pub(super) fn within(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end - start)
    }

    /// True in so many of a thousand cases.
    pub(super) fn in_thousand(&mut self, cases: u64) -> bool {
        self.below(1000) < cases
    }
}

/// Another number for each pair.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    scramble(one.rotate_left(23).wrapping_add(GOLDEN) ^ other)
}

fn scramble(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
