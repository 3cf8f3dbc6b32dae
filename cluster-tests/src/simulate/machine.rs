//! One simulated node and one simulated job.

use node_agent::balance::brake::Brake;
use node_agent::balance::desk::Desk;
use node_agent::balance::journey::Journey;
use node_agent::balance::sends::Sends;
use node_agent::balance::{Cause, NodeLoad, NodeNumber, Peer};
use node_agent::gossip::Gossip;

use super::workload::NodeSpec;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not submitted.
    Pending,
    /// On its way to where it starts.
    Starting,
    /// Runs.
    Running,
    /// Runs while its memory is sent to this node.
    Copying(usize),
    /// Stands still on its way to this node.
    Frozen(usize),
    /// Has ended.
    Done,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its stage.
    pub stage: Stage,
    /// Where it runs or will start.
    pub node: usize,
    /// CPU-seconds that it needs yet.
    pub remaining_s: f64,
    /// CPU-seconds that it has used.
    pub age_s: f64,
    /// Seconds that a CPU-second takes it, with its waits.
    pub slowdown: f64,
    /// Its peer, while that runs.
    pub peers: Vec<Peer>,
    /// Where it has been.
    pub journey: Journey,
    /// Why it is on its way.
    pub cause: Cause,
    /// When it last moved, in seconds.
    pub moved_s: Option<f64>,
    /// When it ended, in seconds.
    pub finished_s: f64,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its capacity.
    pub spec: NodeSpec,
    /// Its capacity as the policy sees it.
    pub base: NodeLoad,
    /// Who runs here.
    pub jobs: Vec<usize>,
    /// Up to when the work is accounted for, in seconds.
    pub accounted_s: f64,
    /// Memory of those who run here, in MiB.
    pub mem_mib: f64,
    /// Memory of those who are being copied here, in MiB.
    pub landing_mib: f64,
    /// Makes events of earlier states void.
    pub version: u64,
    /// Moves that leave here.
    pub leaving: usize,
    /// Time for which more memory was used than there is, in seconds.
    pub overcommit_s: f64,
    /// What it promised.
    pub desk: Desk,
    /// What it sent.
    pub sends: Sends,
    /// How much it moved.
    pub brake: Brake,
    /// What it heard.
    pub gossip: Option<Gossip>,
}

impl Machine {
    /// An empty node.
    ///
    /// # Panics
    /// When the node cannot be.
    #[must_use]
    pub fn new(number: usize, spec: NodeSpec, gossip: Option<Gossip>) -> Machine {
        let number = NodeNumber(u32::try_from(number).expect("fewer nodes than numbers"));
        let base = NodeLoad::new(number, f64::from(spec.cores), spec.speed, spec.mem_mib);
        Machine {
            spec,
            base: base.expect("nodes have processors and memory"),
            jobs: Vec::new(),
            accounted_s: 0.0,
            mem_mib: 0.0,
            landing_mib: 0.0,
            version: 0,
            leaving: 0,
            overcommit_s: 0.0,
            desk: Desk::default(),
            sends: Sends::default(),
            brake: Brake::default(),
            gossip,
        }
    }

    /// What an agent would measure here, without promises.
    #[must_use]
    pub fn measured(&self) -> NodeLoad {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let demand = self.jobs.len() as f64;
        self.base.with(demand, self.mem_mib)
    }

    /// CPU-seconds that a job without waits gets here each second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let share = f64::from(self.spec.cores) / self.jobs.len() as f64;
        self.spec.speed * share.min(1.0) * self.swapping()
    }

    /// Whether more memory is used than there is.
    #[must_use]
    pub fn overcommitted(&self) -> bool {
        self.mem_mib + self.landing_mib > self.spec.mem_mib
    }

    /// What is left of its speed.
    fn swapping(&self) -> f64 {
        let over = (self.mem_mib + self.landing_mib) / self.spec.mem_mib - 1.0;
        if over <= 0.0 { 1.0 } else { (1.0 / (1.0 + SWAPPING_SLOPE * over)).max(SPEED_MIN) }
    }
}

/// How quickly a node slows down when its memory is overcommitted.
const SWAPPING_SLOPE: f64 = 30.0;

/// What a node that only swaps still does.
const SPEED_MIN: f64 = 0.03;
