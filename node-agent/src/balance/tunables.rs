//! Every constant of the policy, with its unit and where it comes from.
//!
//! "Measured" means: the best of the values that were tried in the simulator, on the reference workload.

use std::time::Duration;

/// The constants that the policy is run with. All nodes of a cluster should have the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tunables {
    /// How much a faster processor alone is worth a move: 0 all of it, 1 nothing. Measured.
    pub eta: f64,
    /// Price of the last free processor of a node, as a part of the work that is moved there. Measured.
    pub price: f64,
    /// Weight of the delay that a process means for others, against its own. Measured.
    pub lambda: f64,
    /// A move must gain more than this, in seconds.
    pub benefit_min_s: f64,
    /// And so many times its cost.
    pub cost_factor: f64,
    /// Fixed part of a freeze, in seconds: 50 ms, what moves took in the lab with room to spare.
    pub freeze_s: f64,
    /// What of the transfer time counts as a cost, since the program runs during pre-copy.
    pub transfer_weight: f64,
    /// Memory throughput of a move, in MiB/s; agents put in what they measure.
    pub bandwidth_mib_s: f64,
    /// CPU-seconds a process must have used before it is moved. Younger ones are mostly about to end.
    pub age_min_s: f64,
    /// CPU-seconds that a process is expected to need at the least and at the most.
    pub remaining_s: (f64, f64),
    /// Index of the Pareto law of lifetimes. With 1 the median remaining life is the age (Harchol-Balter and Downey).
    pub lifetime_alpha: f64,
    /// Time between two looks at the processes of a node. Measured.
    pub tick: Duration,
    /// Time a process stays where it was moved to, at the least. Measured.
    pub residency: Duration,
    /// Time for which a process does not return to a node it left, but for a reason stronger than load. Measured.
    pub no_return: Duration,
    /// Moves that leave a node at the same time. Measured.
    pub out_slots: usize,
    /// Time after which a target forgets what it promised.
    pub reservation: Duration,
    /// Targets that are asked before a program starts at home or a process stays.
    pub tries: usize,
    /// Time to start a program elsewhere, in seconds; agents put in what they measure.
    pub start_s: f64,
    /// Time over which the start is written off, in seconds: the life that a new program is given credit for.
    pub start_scale_s: f64,
    /// A program starts elsewhere only if that costs less than this part of what home costs.
    pub remote_below: f64,
    /// What is assumed of the memory of a program without a profile, in MiB.
    pub memory_guess_mib: f64,
    /// Part of a node's memory above which placement avoids it.
    pub memory_soft: f64,
    /// Part of a node's memory that no arrival may exceed.
    pub memory_hard: f64,
    /// Part of a node's memory above which it sends processes away.
    pub memory_usher: f64,
    /// Part of a node's memory at which an ushered process must leave its target.
    pub memory_ushered: f64,
    /// Failed moves after which a process is left alone.
    pub failures_max: u8,
    /// For how long.
    pub sticky: Duration,
    /// Moves per second and node above which all nodes ask for twice the gain.
    pub brake_above_per_s: f64,
    /// The time over which they are counted.
    pub brake_window: Duration,
}

impl Default for Tunables {
    fn default() -> Tunables {
        Tunables {
            eta: 0.5,
            price: 1.0,
            lambda: 1.0,
            benefit_min_s: 0.5,
            cost_factor: 1.0,
            freeze_s: 0.05,
            transfer_weight: 0.25,
            bandwidth_mib_s: 1000.0,
            age_min_s: 0.5,
            remaining_s: (0.2, 600.0),
            lifetime_alpha: 1.0,
            tick: Duration::from_millis(500),
            residency: Duration::from_secs(5),
            no_return: Duration::from_secs(60),
            out_slots: 2,
            reservation: Duration::from_secs(5),
            tries: 16,
            start_s: 0.02,
            start_scale_s: 0.5,
            remote_below: 0.95,
            memory_guess_mib: 256.0,
            memory_soft: 0.85,
            memory_hard: 0.9,
            memory_usher: 0.97,
            memory_ushered: 0.85,
            failures_max: 5,
            sticky: Duration::from_secs(300),
            brake_above_per_s: 0.5,
            brake_window: Duration::from_secs(30),
        }
    }
}

/// Moves that arrive at a node at the same time: a quarter of its processors, and never less than two.
#[must_use]
pub fn in_slots(cores: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is bounded")]
    let quarter = (cores / 4.0).clamp(0.0, IN_SLOTS_MAX) as usize;
    quarter.max(2)
}

/// However many processors a node has.
const IN_SLOTS_MAX: f64 = 64.0;
