//! The brake: when more is moved all over the cluster than can be right, every move must gain twice as much.

use std::collections::VecDeque;
use std::time::Duration;

use super::tunables::Tunables;

/// The moves that left this node lately.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brake {
    moves: VecDeque<Duration>,
}

impl Brake {
    /// A move left this node.
    pub fn note(&mut self, now: Duration) {
        if self.moves.len() == MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back(now);
    }

    /// Moves that left this node within the brake's window, as it tells the others.
    #[must_use]
    pub fn recent(&self, now: Duration, tunables: &Tunables) -> u8 {
        let recent = self.moves.iter().filter(|at| now.saturating_sub(**at) < tunables.brake_window).count();
        u8::try_from(recent).unwrap_or(u8::MAX)
    }

    /// The gain that a move needs now, in seconds, when other nodes tell of so many recent moves each.
    #[must_use]
    pub fn benefit_min_s(&self, now: Duration, others: impl Iterator<Item = u8>, tunables: &Tunables) -> f64 {
        let own = (f64::from(self.recent(now, tunables)), 1.0);
        let (moves, nodes) = others.fold(own, |sum, moves| (sum.0 + f64::from(moves), sum.1 + 1.0));
        let per_s = moves / nodes / tunables.brake_window.as_secs_f64();
        if per_s > tunables.brake_above_per_s { 2.0 * tunables.benefit_min_s } else { tunables.benefit_min_s }
    }
}

/// Moves that are remembered: more than enough for any sensible bound.
const MOVES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_moves_of_many_nodes_ask_for_twice_the_gain() {
        let (mut brake, tunables) = (Brake::default(), Tunables::default());
        for second in 0..20 {
            brake.note(Duration::from_secs(second));
        }
        let needed = |now_s, others: &[u8]| {
            brake.benefit_min_s(Duration::from_secs(now_s), others.iter().copied(), &tunables)
        };
        assert_eq!(needed(20, &[]), 1.0);
        assert_eq!(needed(20, &[16, 12]), 1.0);
        assert_eq!(needed(20, &[0, 1]), 0.5, "one busy node is no storm");
        assert_eq!(needed(50, &[]), 0.5, "that was long ago");
    }
}
