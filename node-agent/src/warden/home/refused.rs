//! Calls that the family's guests have refused, as home remembers them over its moves.

use std::collections::BTreeMap;

/// By name.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By guest wardens that are gone.
    before: BTreeMap<String, u64>,
    /// By the one of this number.
    now: (u64, Vec<(String, u64)>),
}

impl Refused {
    /// What a guest warden has counted so far.
    pub(super) fn update(&mut self, peer: u64, counts: Vec<(String, u64)>) {
        if self.now.0 != peer {
            for (name, count) in std::mem::take(&mut self.now.1) {
                add(&mut self.before, name, count);
            }
        }
        self.now = (peer, counts);
    }

    /// All of them, by name.
    pub(super) fn total(&self) -> Vec<(String, u64)> {
        let mut total = self.before.clone();
        for (name, count) in &self.now.1 {
            add(&mut total, name.clone(), *count);
        }
        total.into_iter().collect()
    }
}

/// The counts are what guests say.
fn add(counts: &mut BTreeMap<String, u64>, name: String, count: u64) {
    let sum = counts.entry(name).or_default();
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_guest_replace_each_other_and_those_of_several_add_up() {
        let mut refused = Refused::default();
        refused.update(1, vec![("shmget".into(), 1)]);
        refused.update(1, vec![("ptrace".into(), 1), ("shmget".into(), 3)]);
        refused.update(2, vec![("shmget".into(), 2)]);
        assert_eq!(refused.total(), [("ptrace".into(), 1), ("shmget".into(), 5)]);
        refused.update(3, vec![("shmget".into(), u64::MAX)]);
        assert_eq!(refused.total()[1].1, u64::MAX);
    }
}
