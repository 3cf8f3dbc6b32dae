//! The measures of other schedulers, as their papers have them, for nodes of several processors that are not alike.

use node_agent::balance::NodeLoad;

use super::world::World;

/// What a job costs at a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Jobs for each processor, by its speed.
    Load,
    /// Opportunity cost: `N^(load/L) + N^(memory used)`, where N is the number of nodes and L the smallest power of two
    /// that no load exceeds; a job costs what it adds.
    Opportunity {
        /// N.
        nodes: f64,
        /// L.
        scale: f64,
    },
}

impl Measure {
    /// Opportunity cost in this cluster as it is now.
    pub(super) fn opportunity(world: &World<'_>) -> Measure {
        let loads = world.machines.iter().map(|machine| per_speed(&machine.measured()));
        let scale = loads.fold(1.0, f64::max).log2().ceil().exp2();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let nodes = world.machines.len() as f64;
        Measure::Opportunity { nodes, scale }
    }

    /// What a job of so much memory costs at a node where it is not.
    #[must_use]
    pub fn cost(self, node: &NodeLoad, mem_mib: f64) -> f64 {
        let after = node.with(1.0, mem_mib);
        match self {
            Measure::Load => per_speed(&after),
            Measure::Opportunity { nodes, scale } => {
                let total =
                    |node: &NodeLoad| nodes.powf(per_speed(node) / scale) + nodes.powf(node.memory_share());
                total(&after) - total(node)
            }
        }
    }
}

/// Whether a target that turns out to cost `truth` takes a job that its home believed to cost `claimed` there.
#[must_use]
pub fn acceptable(truth: f64, claimed: f64, at_home: f64) -> bool {
    truth <= 0.97 * at_home || truth <= 1.2 * claimed
}

/// Whether a process of this age moves by the rule of Harchol-Balter and Downey: it is expected to live as long again,
/// and gains more by it than the move costs. Lengths are jobs for each processor.
#[must_use]
pub fn old_enough(age_s: f64, cost_s: f64, here: &NodeLoad, there: &NodeLoad) -> bool {
    let length = |node: &NodeLoad| (node.demand() / node.cores()).max(1.0) / node.speed();
    let shorter = length(here) - length(&there.with(1.0, 0.0));
    shorter > 0.0 && age_s > cost_s / shorter
}

/// Jobs for each processor of speed 1.
fn per_speed(node: &NodeLoad) -> f64 {
    node.demand() / (node.cores() * node.speed())
}
