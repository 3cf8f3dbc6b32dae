//! One node's load as it travels: 32 bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::balance::{BadInput, Doors, NodeLoad, NodeNumber};

/// States of a node, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u8);

impl Flags {
    /// It is being emptied.
    pub const DRAINING: Flags = Flags(1);
    /// Its owner is at work.
    pub const OWNER_ACTIVE: Flags = Flags(2);
    /// It lets nobody in.
    pub const BLOCKED: Flags = Flags(4);
    /// It is a Raft voter.
    pub const VOTER: Flags = Flags(8);
    /// Too many moves to or from it failed.
    pub const QUARANTINED: Flags = Flags(16);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// One node's load. Every field has a fixed size on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadEntry {
    /// The node's number.
    pub node: u32,
    /// Which start of its agent.
    pub incarnation: u32,
    /// Age when it was sent, in 10 ms.
    pub age_10ms: u16,
    /// Processors, in quarters.
    pub cores_x4: u16,
    /// Speed of a processor, in thousandths of the reference.
    pub speed_permille: u16,
    /// Processors asked for, in sixteenths, promises included.
    pub demand_x16: u16,
    /// Memory, in MiB.
    pub mem_total_mib: u32,
    /// Memory that is neither used nor promised, in MiB.
    pub mem_free_mib: u32,
    /// Number of the tunables that it runs with.
    pub epoch: u16,
    /// States.
    pub flags: Flags,
    /// Moves that may arrive now.
    pub in_slots: u8,
    /// Moves that may leave now.
    pub out_slots: u8,
    /// Time in which something waited for memory, in percent.
    pub mem_pressure: u8,
    /// Use of its network, in percent.
    pub nic_percent: u8,
    /// Moves that left it within 30 s.
    pub moves_30s: u8,
}

impl LoadEntry {
    /// The entry of a node with this load.
    #[must_use]
    pub fn of(load: &NodeLoad) -> LoadEntry {
        let doors = load.doors;
        let flags = [
            (doors.draining, Flags::DRAINING),
            (doors.owner_active, Flags::OWNER_ACTIVE),
            (doors.blocked, Flags::BLOCKED),
        ];
        let set = flags.iter().filter(|(set, _)| *set).fold(Flags::default(), |all, one| all.and(one.1));
        let free_mib = (load.mem_total_mib() - load.mem_used_mib()).max(0.0);
        LoadEntry {
            node: load.node.0,
            cores_x4: short(load.cores() * 4.0).max(1),
            speed_permille: short(load.speed() * 1000.0).max(1),
            demand_x16: short(load.demand() * 16.0),
            mem_total_mib: long(load.mem_total_mib()).max(1),
            mem_free_mib: long(free_mib),
            flags: set,
            ..LoadEntry::default()
        }
    }

    /// The load that the entry tells.
    ///
    /// # Errors
    /// When the sender told something that cannot be.
    pub fn load(&self) -> Result<NodeLoad, BadInput> {
        let doors = Doors {
            draining: self.flags.has(Flags::DRAINING),
            owner_active: self.flags.has(Flags::OWNER_ACTIVE),
            blocked: self.flags.has(Flags::BLOCKED) || self.flags.has(Flags::QUARANTINED),
        };
        let (cores, speed) = (f64::from(self.cores_x4) / 4.0, f64::from(self.speed_permille) / 1000.0);
        let used_mib = f64::from(self.mem_total_mib.saturating_sub(self.mem_free_mib));
        let node = NodeLoad::new(NodeNumber(self.node), cores, speed, f64::from(self.mem_total_mib))?;
        node.with_doors(doors).loaded(f64::from(self.demand_x16) / 16.0, used_mib)
    }

    /// Age when it was sent.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(u64::from(self.age_10ms) * 10)
    }
}

/// The nearest whole number that there is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn short(value: f64) -> u16 {
    value.round() as u16
}

/// The nearest whole number that there is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn long(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_comes_back_as_it_was_sent() {
        let doors = Doors { owner_active: true, ..Doors::default() };
        let node = NodeLoad::new(NodeNumber(7), 2.5, 1.25, 8000.0).unwrap().with_doors(doors);
        let load = node.loaded(3.25, 1000.0).unwrap();
        assert_eq!(LoadEntry::of(&load).load().unwrap(), load);
    }

    #[test]
    fn what_does_not_fit_is_the_most_that_does() {
        let node = NodeLoad::new(NodeNumber(7), 1.0, 1.0, 1000.0).unwrap();
        let entry = LoadEntry::of(&node.loaded(1e9, 5000.0).unwrap());
        assert_eq!((entry.demand_x16, entry.mem_free_mib), (u16::MAX, 0));
    }

    #[test]
    fn an_impossible_node_is_refused() {
        assert!(LoadEntry::default().load().is_err());
        let entry = LoadEntry { cores_x4: 4, speed_permille: 0, mem_total_mib: 9, ..LoadEntry::default() };
        assert_eq!(entry.load().unwrap_err().what, "speed");
    }
}
