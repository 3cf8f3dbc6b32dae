//! The real gossip alone among very many nodes: how old is what a node decides by, and what does it cost?

use node_agent::balance::{NodeNumber, Random};
use node_agent::gossip::{Action, Event, Gossip, LoadEntry, Settings};

use super::outcome::{mean, quantile};
use super::world::node_number;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ages {
    /// Mean age of the freshest 32 entries of a node, in intervals.
    pub mean: f64,
    /// 99 % of them are no older, in intervals.
    pub p99: f64,
    /// The mean age of all that nodes keep, in intervals.
    pub mean_of_all: f64,
    /// Bytes that a node sends each interval.
    pub bytes_sent: f64,
    /// Bytes that the node that got most got each interval.
    pub bytes_received_max: f64,
}

/// Lets `nodes` talk for so many intervals, of whose messages this part gets lost, and looks at the tables at the end.
#[must_use]
pub fn ages(nodes: usize, intervals: u32, lost: f64, seed: u64) -> Ages {
    let mut random = Random::new(seed);
    let settings = Settings::default();
    let members: Vec<NodeNumber> = (0..nodes).map(node_number).collect();
    let new = |node: &NodeNumber| Gossip::new(settings, *node, 1, random.bits());
    let mut all: Vec<Gossip> = members.iter().map(new).collect();
    let own = LoadEntry { cores_x4: 16, speed_permille: 1000, mem_total_mib: 1024, ..LoadEntry::default() };
    let (mut sent, mut received) = (0_usize, vec![0_usize; nodes]);
    // Times in steps: nodes whose rounds are due in one step talk in an order of chance, as they would.
    let step = settings.interval / STEPS;
    let mut due: Vec<Vec<usize>> = vec![(0..nodes).collect()];
    let steps = intervals * STEPS;
    due.resize(steps as usize + 1, Vec::new());
    for number in 0..steps {
        let now = step * number;
        for node in std::mem::take(&mut due[number as usize]) {
            let actions = all[node].step(Event::Tick { now, own, members: &members });
            let next = all[node].next_round().map_or(0, |next| next.as_nanos().div_ceil(step.as_nanos()));
            let next = usize::try_from(next).unwrap_or(usize::MAX).max(number as usize + 1);
            if let Some(due) = due.get_mut(next) {
                due.push(node);
            }
            for action in actions {
                let Action::Send { to, message } = action else { continue };
                for peer in to {
                    sent += message.bytes();
                    if random.unit() >= lost {
                        received[peer.0 as usize] += message.bytes();
                        all[peer.0 as usize].step(Event::Received { now, message: &message });
                    }
                }
            }
        }
    }
    let now = step * steps;
    let age = |entry: &LoadEntry| entry.age().as_secs_f64() / settings.interval.as_secs_f64();
    let looked_at = || all.iter().step_by((nodes / NODES_LOOKED_AT).max(1));
    let freshest: Vec<f64> =
        looked_at().flat_map(|node| node.table().freshest(now, 32)).map(|entry| age(&entry)).collect();
    let kept: Vec<f64> = looked_at()
        .flat_map(|node| node.table().freshest(now, usize::MAX))
        .map(|entry| age(&entry))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a mean of many")]
    let bytes = |bytes: usize| bytes as f64 / f64::from(intervals);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let count = nodes as f64;
    Ages {
        mean: mean(&freshest),
        p99: quantile(&freshest, 0.99),
        mean_of_all: mean(&kept),
        bytes_sent: bytes(sent) / count,
        bytes_received_max: bytes(received.into_iter().max().unwrap_or(0)),
    }
}

/// Nodes whose tables are looked at.
const NODES_LOOKED_AT: usize = 512;

/// Steps of an interval.
const STEPS: u32 = 100;
