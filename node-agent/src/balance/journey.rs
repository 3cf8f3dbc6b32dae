//! Where a process has been, and what that forbids it.

use std::time::Duration;

use super::decision::Cause;
use super::load::NodeNumber;
use super::tunables::Tunables;

/// The moves of one process, kept by its home, which grants every one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journey {
    moved: Option<Duration>,
    left: Vec<(NodeNumber, Duration)>,
    failures: u8,
    sticky_until: Option<Duration>,
}

impl Journey {
    /// The process left `from` for another node.
    pub fn moved(&mut self, from: NodeNumber, now: Duration) {
        self.moved = Some(now);
        self.failures = 0;
        self.left.retain(|(node, _)| *node != from);
        if self.left.len() == LEFT_MAX {
            self.left.remove(0);
        }
        self.left.push((from, now));
    }

    /// A move did not come about. After some of them the process is left alone for a while.
    pub fn failed(&mut self, now: Duration, tunables: &Tunables) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= tunables.failures_max {
            self.failures = 0;
            self.sticky_until = Some(now + tunables.sticky);
        }
    }

    /// Whether a move for this reason may begin: it has been here long enough, and the last moves did not all fail.
    #[must_use]
    pub fn may_leave(&self, cause: Cause, now: Duration, tunables: &Tunables) -> bool {
        let stay = match cause {
            Cause::Benefit => tunables.residency,
            Cause::Memory => RESIDENCY_SHORT.min(tunables.residency),
            Cause::Owner | Cause::Drain | Cause::Recall => return true,
        };
        let stayed = self.moved.is_none_or(|moved| now.saturating_sub(moved) >= stay);
        stayed && self.sticky_until.is_none_or(|until| now >= until)
    }

    /// Whether a move to `node` for this reason is no return that is too early.
    #[must_use]
    pub fn may_go_to(&self, node: NodeNumber, cause: Cause, now: Duration, tunables: &Tunables) -> bool {
        let recently = |left: &(NodeNumber, Duration)| now.saturating_sub(left.1) < tunables.no_return;
        cause != Cause::Benefit || !self.left.iter().any(|left| left.0 == node && recently(left))
    }
}

/// Nodes that are remembered as left. A process that stays [`Tunables::residency`] at each is at no more of them within
/// [`Tunables::no_return`].
const LEFT_MAX: usize = 16;

/// The residency of a process that has to make room.
const RESIDENCY_SHORT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_make_a_process_stay_for_a_while() {
        let tunables = Tunables::default();
        let mut journey = Journey::default();
        for second in 0..5 {
            assert!(journey.may_leave(Cause::Benefit, Duration::from_secs(second), &tunables));
            journey.failed(Duration::from_secs(second), &tunables);
        }
        assert!(!journey.may_leave(Cause::Memory, Duration::from_secs(303), &tunables));
        assert!(journey.may_leave(Cause::Drain, Duration::from_secs(5), &tunables), "it has to");
        assert!(journey.may_leave(Cause::Benefit, Duration::from_secs(304), &tunables));
    }

    #[test]
    fn the_longest_possible_tour_is_remembered() {
        let tunables = Tunables::default();
        let stays = tunables.no_return.as_secs() / tunables.residency.as_secs();
        assert!(u64::try_from(LEFT_MAX).unwrap() > stays);
    }
}
