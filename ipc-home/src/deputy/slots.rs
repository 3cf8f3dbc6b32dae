//! The call buffers of one process, by number: given out to its shadow threads and used again after them.
//!
//! A server that makes a thread for each connection would otherwise run out of numbers, and leave memory behind with
//! every one of them.

use std::collections::BTreeSet;

use migration::foothold::SLOTS_MAX;

/// Which numbers are in use.
#[derive(Debug)]
pub(super) struct Slots {
    /// The lowest one that was never given out.
    next: u32,
    /// Those below it that nobody uses.
    free: BTreeSet<u32>,
}

impl Slots {
    /// The first `count` are in use.
    pub(super) fn given(count: u32) -> Slots {
        Slots { next: count, free: BTreeSet::new() }
    }

    /// Of the child of a fork, whose one thread goes on with its parent's number.
    pub(super) fn after_fork(&self, own: u32) -> Slots {
        Slots { next: self.next, free: (0..self.next).filter(|&slot| slot != own).collect() }
    }

    /// The lowest one that is not in use: its buffer may be in memory already.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop_first().or_else(|| {
            let slot = self.next;
            (slot < SLOTS_MAX).then(|| {
                self.next += 1;
                slot
            })
        })
    }

    /// Its thread has ended.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.insert(slot);
    }

    /// One more thread would have no buffer.
    pub(super) fn are_all_in_use(&self) -> bool {
        self.next >= SLOTS_MAX && self.free.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_once_its_thread_has_ended() {
        let mut slots = Slots::given(2);
        assert_eq!(slots.take(), Some(2));
        slots.give_back(1);
        assert_eq!([slots.take(), slots.take()], [Some(1), Some(3)]);
    }

    #[test]
    fn threads_without_end_one_after_another_never_run_out() {
        let mut slots = Slots::given(1);
        for _ in 0..3 * SLOTS_MAX {
            let slot = slots.take().unwrap();
            assert_eq!(slot, 1);
            slots.give_back(slot);
        }
    }

    #[test]
    fn the_child_of_a_fork_keeps_its_parents_number_and_no_other() {
        let mut child = Slots::given(3).after_fork(1);
        assert_eq!([child.take(), child.take(), child.take()], [Some(0), Some(2), Some(3)]);
    }

    #[test]
    fn there_are_no_more_than_fit_the_foothold() {
        let mut slots = Slots::given(SLOTS_MAX - 1);
        assert!(!slots.are_all_in_use());
        assert_eq!(slots.take(), Some(SLOTS_MAX - 1));
        assert!(slots.are_all_in_use());
        assert_eq!(slots.take(), None);
        slots.give_back(7);
        assert!(!slots.are_all_in_use());
    }
}
