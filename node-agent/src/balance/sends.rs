//! What was sent to a node since it last told its load: without it, all programs of one moment would go to the same
//! node.

use std::time::Duration;

use super::load::{NodeLoad, NodeNumber};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sent {
    to: NodeNumber,
    demand: f64,
    mem_mib: f64,
    at: Duration,
}

/// A node's own recent sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sends {
    sent: Vec<Sent>,
}

impl Sends {
    /// A process or program goes to `to`.
    pub fn note(&mut self, to: NodeNumber, demand: f64, mem_mib: f64, now: Duration) {
        self.sent.retain(|sent| now.saturating_sub(sent.at) < KEPT);
        if self.sent.len() == SENT_MAX {
            self.sent.remove(0);
        }
        self.sent.push(Sent { to, demand, mem_mib, at: now });
    }

    /// The load of a node as it was `age` ago, with what was sent there since.
    #[must_use]
    pub fn correct(&self, load: &NodeLoad, age: Duration, now: Duration) -> NodeLoad {
        let seen_at = now.saturating_sub(age);
        let since = self.sent.iter().filter(|sent| sent.to == load.node && sent.at >= seen_at);
        since.fold(*load, |load, sent| load.with(sent.demand, sent.mem_mib))
    }
}

/// Longer than any entry of the gossip is kept.
const KEPT: Duration = Duration::from_secs(30);

/// Sends that are remembered; the oldest is forgotten.
const SENT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_counts_until_the_target_tells_its_load_anew() {
        let load = NodeLoad::new(NodeNumber(1), 4.0, 1.0, 1000.0).unwrap();
        let mut sends = Sends::default();
        sends.note(NodeNumber(1), 1.0, 100.0, Duration::from_secs(10));
        let corrected = |age_s| sends.correct(&load, Duration::from_secs(age_s), Duration::from_secs(12));
        assert_eq!(corrected(3).demand(), 1.0);
        assert_eq!(corrected(1).demand(), 0.0);
        let other = NodeLoad::new(NodeNumber(2), 4.0, 1.0, 1000.0).unwrap();
        assert_eq!(sends.correct(&other, Duration::from_secs(3), Duration::from_secs(12)), other);
    }
}
