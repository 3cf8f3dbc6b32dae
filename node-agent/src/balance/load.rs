//! What is known of a node, and what an arrival or a departure would do to those who are there.

use std::fmt;

/// A node's compact number in its cluster, given when it was admitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(pub u32);

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Why a node takes nobody, whatever its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Doors {
    /// It is being emptied.
    pub draining: bool,
    /// Its owner is at work.
    pub owner_active: bool,
    /// Its administrator lets nobody in.
    pub blocked: bool,
}

impl Doors {
    /// Whether processes of other nodes may come.
    #[must_use]
    pub fn open(self) -> bool {
        !self.draining && !self.owner_active && !self.blocked
    }
}

/// A figure that cannot be true.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} of {value} makes no sense")]
pub struct BadInput {
    /// Which figure.
    pub what: &'static str,
    /// Its value.
    pub value: f64,
}

/// One node's capacity and load, as it says itself or as it was when it last did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeLoad {
    /// Which node.
    pub node: NodeNumber,
    /// Whether it takes anybody.
    pub doors: Doors,
    cores: f64,
    speed: f64,
    demand: f64,
    mem_total_mib: f64,
    mem_used_mib: f64,
}

impl NodeLoad {
    /// An empty node of so many processors, each `speed` times as fast as the reference.
    ///
    /// # Errors
    /// When a figure is not finite or not positive.
    pub fn new(node: NodeNumber, cores: f64, speed: f64, mem_total_mib: f64) -> Result<NodeLoad, BadInput> {
        for (what, value) in [("processors", cores), ("speed", speed), ("memory", mem_total_mib)] {
            if !value.is_finite() || value <= 0.0 {
                return Err(BadInput { what, value });
            }
        }
        let doors = Doors::default();
        Ok(NodeLoad { node, doors, cores, speed, demand: 0.0, mem_total_mib, mem_used_mib: 0.0 })
    }

    /// The same node with this load, reservations included.
    ///
    /// # Errors
    /// When a figure is not finite or negative.
    pub fn loaded(self, demand: f64, mem_used_mib: f64) -> Result<NodeLoad, BadInput> {
        for (what, value) in [("demand", demand), ("used memory", mem_used_mib)] {
            if !value.is_finite() || value < 0.0 {
                return Err(BadInput { what, value });
            }
        }
        Ok(NodeLoad { demand, mem_used_mib, ..self })
    }

    /// The same node with these doors.
    #[must_use]
    pub fn with_doors(self, doors: Doors) -> NodeLoad {
        NodeLoad { doors, ..self }
    }

    /// The node once so much has come, or gone if negative.
    #[must_use]
    pub fn with(self, demand: f64, mem_mib: f64) -> NodeLoad {
        NodeLoad {
            demand: (self.demand + demand).max(0.0),
            mem_used_mib: (self.mem_used_mib + mem_mib).max(0.0),
            ..self
        }
    }

    /// Processors.
    #[must_use]
    pub fn cores(&self) -> f64 {
        self.cores
    }

    /// Speed of one processor; 1 is the reference.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Processors that are asked for, reservations included.
    #[must_use]
    pub fn demand(&self) -> f64 {
        self.demand
    }

    /// Memory, in MiB.
    #[must_use]
    pub fn mem_total_mib(&self) -> f64 {
        self.mem_total_mib
    }

    /// Memory in use or promised, in MiB.
    #[must_use]
    pub fn mem_used_mib(&self) -> f64 {
        self.mem_used_mib
    }

    /// The part of the memory that is in use or promised; above 1 the node swaps.
    #[must_use]
    pub fn memory_share(&self) -> f64 {
        self.mem_used_mib / self.mem_total_mib
    }

    /// Seconds that one CPU-second of reference work takes here.
    #[must_use]
    pub fn stretch(&self) -> f64 {
        (self.demand / self.cores).max(1.0) / (self.speed * theta(self.memory_share()))
    }

    /// By how much an arrival delays all who are here, in seconds per second.
    #[must_use]
    pub fn delay_of_arrival(&self, demand: f64, mem_mib: f64) -> f64 {
        self.demand * (self.with(demand, mem_mib).stretch() / self.stretch() - 1.0)
    }

    /// By how much a departure relieves all others, in seconds per second.
    #[must_use]
    pub fn relief_of_departure(&self, demand: f64, mem_mib: f64) -> f64 {
        let after = self.with(-demand, -mem_mib);
        (after.demand * (self.stretch() / after.stretch() - 1.0)).min(RELIEF_MAX)
    }
}

/// What is left of a node's speed when this part of its memory is in use: all of it until shortly before the memory is
/// full, then less and less.
#[must_use]
pub fn theta(memory_share: f64) -> f64 {
    let over = memory_share - THETA_KNEE;
    if over <= 0.0 { 1.0 } else { (1.0 / (1.0 + THETA_SLOPE * over)).max(THETA_MIN) }
}

/// Part of the memory from which on a node slows down.
const THETA_KNEE: f64 = 0.97;

/// How quickly: at 10 % more it has a quarter of its speed.
const THETA_SLOPE: f64 = 30.0;

/// What a node that only swaps still does.
const THETA_MIN: f64 = 0.03;

/// Relief counts no more than this, so that one hopeless node does not outweigh every other concern.
const RELIEF_MAX: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(demand: f64, used_mib: f64) -> NodeLoad {
        NodeLoad::new(NodeNumber(1), 4.0, 2.0, 1000.0).unwrap().loaded(demand, used_mib).unwrap()
    }

    #[test]
    fn work_takes_longer_when_processors_or_memory_are_short() {
        assert_eq!(node(0.0, 0.0).stretch(), 0.5);
        assert_eq!(node(4.0, 970.0).stretch(), 0.5);
        assert_eq!(node(6.0, 0.0).stretch(), 0.75);
        assert!((node(4.0, 1070.0).stretch() - 0.5 * 4.0).abs() < 1e-9);
        assert!((node(4.0, 1e6).stretch() - 0.5 / 0.03).abs() < 1e-9);
    }

    #[test]
    fn an_arrival_delays_others_only_where_something_is_short() {
        assert_eq!(node(3.0, 0.0).delay_of_arrival(1.0, 10.0), 0.0);
        assert!((node(4.0, 0.0).delay_of_arrival(1.0, 10.0) - 1.0).abs() < 1e-9);
        assert_eq!(node(4.0, 0.0).relief_of_departure(1.0, 10.0), 0.0);
        assert!((node(5.0, 0.0).relief_of_departure(1.0, 10.0) - 1.0).abs() < 1e-9);
        assert_eq!(node(4.0, 3000.0).relief_of_departure(1.0, 2500.0), 5.0);
    }
}
