//! Explicit-state search: every state that can be reached, each looked at once.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What can be searched.
pub(crate) trait Model: Clone + Hash {
    /// One thing that may happen.
    type Step: Copy + Debug;

    /// All that may happen next.
    fn steps(&self) -> Vec<Self::Step>;

    /// What comes of it; an error if it must never come to that.
    fn take(&self, step: Self::Step) -> Result<Self, String>;

    /// Nothing is left to be done.
    fn is_done(&self) -> bool;
}

/// How far to search, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) states_max: usize,
    /// Whether from every state a way must lead to an end.
    pub(crate) liveness: bool,
}

/// What a search has found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) depth: usize,
    /// The first thing that was wrong, and the steps that led to it.
    pub(crate) violation: Option<(String, Vec<String>)>,
    /// Every state was looked at.
    pub(crate) is_whole: bool,
}

/// Searches breadth first, so that what is wrong is found on a shortest way.
///
/// States are told apart by 64 bits of their hash: among ten million, any two are taken for one with a probability of
/// three in a million.
pub(crate) fn explore<M: Model>(start: &M, scope: Scope) -> Found {
    let mut search = Search::default();
    let mut found = Found::default();
    let mut queue = VecDeque::new();
    search.enter(start, None);
    queue.push_back((0, 0, start.clone()));
    while let Some((number, depth, state)) = queue.pop_front() {
        found.depth = depth;
        for step in state.steps() {
            found.transitions += 1;
            let next = match state.take(step) {
                Ok(next) => next,
                Err(wrong) => {
                    let mut way = search.way_to(start, number);
                    way.push(format!("{step:?}"));
                    return Found { states: search.origins.len(), violation: Some((wrong, way)), ..found };
                }
            };
            let (entered, is_new) = search.enter(&next, Some(number));
            if scope.liveness {
                search.before[entered as usize].push(number);
            }
            if is_new && search.origins.len() <= scope.states_max {
                queue.push_back((entered, depth + 1, next));
            }
        }
    }
    found.states = search.origins.len();
    found.is_whole = found.states <= scope.states_max;
    if scope.liveness && found.is_whole {
        let stuck = search.stuck();
        found.violation =
            stuck.map(|number| ("no way leads to an end".to_owned(), search.way_to(start, number)));
    }
    found
}

#[derive(Default)]
struct Search {
    known: HashMap<u64, u32, BuildHasherDefault<Mix>>,
    /// From which state each was reached first.
    origins: Vec<Option<u32>>,
    /// For each state, those that lead to it.
    before: Vec<Vec<u32>>,
    done: Vec<u32>,
}

impl Search {
    /// The state's number, and whether it was never seen before.
    fn enter<M: Model>(&mut self, state: &M, origin: Option<u32>) -> (u32, bool) {
        let next = u32::try_from(self.origins.len()).expect("no search goes that far");
        let number = *self.known.entry(fingerprint(state)).or_insert(next);
        if number == next {
            self.origins.push(origin);
            self.before.push(Vec::new());
            if state.is_done() {
                self.done.push(number);
            }
        }
        (number, number == next)
    }

    /// A state from which no way leads to an end.
    fn stuck(&self) -> Option<u32> {
        let mut ends = vec![false; self.origins.len()];
        let mut queue = self.done.clone();
        while let Some(number) = queue.pop() {
            if !std::mem::replace(&mut ends[number as usize], true) {
                queue.extend(&self.before[number as usize]);
            }
        }
        ends.iter().position(|ends| !ends).and_then(|number| u32::try_from(number).ok())
    }

    /// The steps to a state, found by taking them again.
    fn way_to<M: Model>(&self, start: &M, number: u32) -> Vec<String> {
        let origin = |number: &u32| self.origins[*number as usize];
        let mut numbers: Vec<u32> = std::iter::successors(Some(number), origin).collect();
        numbers.reverse();
        let (mut state, mut way) = (start.clone(), Vec::new());
        for next in numbers.into_iter().skip(1) {
            let leads_there = |step: &M::Step| {
                let successor = state.take(*step).ok()?;
                (self.known.get(&fingerprint(&successor)) == Some(&next)).then_some((*step, successor))
            };
            let Some((step, successor)) = state.steps().iter().find_map(leads_there) else { break };
            way.push(format!("{step:?}"));
            state = successor;
        }
        way
    }
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Mix::default();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Several times as fast as the standard library's, which also withstands whoever wants states to be taken for each
/// other: nearly all the time of a search goes into this.
#[derive(Default)]
struct Mix(u64);

impl Mix {
    fn mix(&mut self, word: u64) {
        let mut mixed = (self.0.rotate_left(23) ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ mixed >> 31;
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(byte.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word.cast_unsigned() as u64);
    }
}
