//! What holds a process where its home and those it talks to are.

use super::load::NodeNumber;

/// How far nodes are from each other.
pub trait Distance {
    /// The measured round trip between two nodes, in seconds.
    fn rtt_s(&self, a: NodeNumber, b: NodeNumber) -> f64;
}

/// All nodes are as far from each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SameDistance(pub f64);

impl Distance for SameDistance {
    fn rtt_s(&self, _: NodeNumber, _: NodeNumber) -> f64 {
        self.0
    }
}

/// A process that a process exchanges messages with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peer {
    /// Where it is.
    pub node: NodeNumber,
    /// Messages per CPU-second.
    pub messages_per_cpu_s: f64,
}

/// Home and peers of one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ties<'a> {
    /// The home node.
    pub home: NodeNumber,
    /// System calls that would be forwarded home, per CPU-second.
    pub calls_per_cpu_s: f64,
    /// The ends of its message flows.
    pub peers: &'a [Peer],
}

impl Ties<'_> {
    /// A process of which nothing is known but its home.
    #[must_use]
    pub fn only_home(home: NodeNumber) -> Ties<'static> {
        Ties { home, calls_per_cpu_s: 0.0, peers: &[] }
    }

    /// Seconds that one CPU-second takes at `node`, with the waits for calls and messages. 1 where everything is near;
    /// the design's 1/mu.
    #[must_use]
    pub fn slowdown_at(&self, node: NodeNumber, distance: &impl Distance) -> f64 {
        let wait = |to: NodeNumber, per_cpu_s: f64| {
            if to == node { 0.0 } else { per_cpu_s.max(0.0) * distance.rtt_s(node, to).max(RTT_MIN_S) }
        };
        let peers = self.peers.iter().take(PEERS_MAX);
        let messages: f64 = peers.map(|peer| wait(peer.node, peer.messages_per_cpu_s)).sum();
        1.0 + wait(self.home, self.calls_per_cpu_s) + messages
    }

    /// Whether the process waits for home for much of its time when it is at `node`.
    #[must_use]
    pub fn lives_by_calls(&self, node: NodeNumber, distance: &impl Distance) -> bool {
        node != self.home
            && self.calls_per_cpu_s * distance.rtt_s(node, self.home).max(RTT_MIN_S) > LIVES_BY_CALLS
    }

    /// The nodes that are candidates whatever the gossip says: home, and where the peers are.
    pub fn nodes(&self) -> impl Iterator<Item = NodeNumber> + '_ {
        std::iter::once(self.home).chain(self.peers.iter().take(PEERS_MAX).map(|peer| peer.node))
    }
}

/// No round trip between two machines is shorter, in seconds.
const RTT_MIN_S: f64 = 50e-6;

/// Seconds of waiting for each CPU-second from which on a process is said to live by calls.
const LIVES_BY_CALLS: f64 = 0.5;

/// Peers of a process that count; the caller puts the busiest first.
pub const PEERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_messages_take_time_only_across_nodes() {
        let peers = [Peer { node: NodeNumber(2), messages_per_cpu_s: 1000.0 }];
        let ties = Ties { home: NodeNumber(1), calls_per_cpu_s: 20_000.0, peers: &peers };
        let far = SameDistance(100e-6);
        assert!((ties.slowdown_at(NodeNumber(1), &far) - 1.1).abs() < 1e-9);
        assert!((ties.slowdown_at(NodeNumber(2), &far) - 3.0).abs() < 1e-9);
        assert!((ties.slowdown_at(NodeNumber(3), &far) - 3.1).abs() < 1e-9);
        assert!((ties.slowdown_at(NodeNumber(2), &SameDistance(0.0)) - 2.0).abs() < 1e-9, "never nothing");
    }
}
