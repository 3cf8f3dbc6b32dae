//! What was decided and why, with the numbers of both sides: what `homing why` and `homing events` show.

use std::fmt;

use super::load::{NodeLoad, NodeNumber};

/// Why a process is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It gains more than the move costs.
    Benefit,
    /// Its node is out of memory.
    Memory,
    /// The owner of its node is at work.
    Owner,
    /// Its node is being emptied.
    Drain,
    /// Its home wants it back: a person said so, or the guest failed.
    Recall,
}

/// A node as it looked when something was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// Which.
    pub node: NodeNumber,
    /// Processors asked for, by processors that there are.
    pub demand: f64,
    /// Processors.
    pub cores: f64,
    /// The part of the memory in use or promised.
    pub memory_share: f64,
    /// Seconds for a CPU-second of reference work.
    pub stretch: f64,
}

impl From<&NodeLoad> for Side {
    fn from(load: &NodeLoad) -> Side {
        Side {
            node: load.node,
            demand: load.demand(),
            cores: load.cores(),
            memory_share: load.memory_share(),
            stretch: load.stretch(),
        }
    }
}

/// What a move would bring and cost, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// CPU-seconds that the process is expected to need yet.
    pub remaining_s: f64,
    /// How long they take where it is.
    pub here_s: f64,
    /// How long they take at the target.
    pub there_s: f64,
    /// What the others at the source gain, less what those at the target lose.
    pub others_s: f64,
    /// The price of the target's last free processors.
    pub price_s: f64,
    /// How long the program stands still.
    pub freeze_s: f64,
    /// How long the transfer takes.
    pub transfer_s: f64,
    /// What remains of the gain.
    pub benefit_s: f64,
    /// What the move costs.
    pub cost_s: f64,
    /// What the benefit must exceed.
    pub threshold_s: f64,
}

impl Estimate {
    /// Whether the move is worth it.
    #[must_use]
    pub fn worth_it(&self) -> bool {
        self.benefit_s > self.threshold_s
    }

    /// What moves are compared by: benefit for each second of cost.
    #[must_use]
    pub fn merit(&self) -> f64 {
        self.benefit_s / self.cost_s.max(COST_MIN_S)
    }
}

/// Cheaper moves are not better for being cheaper, in seconds.
const COST_MIN_S: f64 = 0.02;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The process, or the program that starts, goes.
    Go,
    /// It stays: nothing better is known.
    Stay,
    /// The target's agent refused under its own numbers.
    Refused(super::desk::Refusal),
}

/// One decision about one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The process, by the caller's number.
    pub process: u64,
    /// Why it was considered.
    pub cause: Cause,
    /// Where it is.
    pub here: Side,
    /// The target as the source knew it.
    pub there: Side,
    /// The target as it says itself, once it was asked.
    pub truth: Option<Side>,
    /// The source's numbers.
    pub claimed: Estimate,
    /// The target's numbers.
    pub confirmed: Option<Estimate>,
    /// The outcome.
    pub verdict: Verdict,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Side { node, demand, cores, memory_share, stretch } = self;
        let percent = 100.0 * memory_share;
        write!(f, "{node} (load {demand:.1} of {cores:.0}, memory {percent:.0} %, stretch {stretch:.2})")
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { here_s, there_s, others_s, price_s, freeze_s, benefit_s, threshold_s, .. } = self;
        write!(
            f,
            "gain {benefit_s:.2} s of more than {threshold_s:.2} s needed: {here_s:.2} s here, {there_s:.2} s there, \
             others {others_s:+.2} s, price {price_s:.2} s, freeze {freeze_s:.2} s"
        )
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            Cause::Benefit => "for its gain",
            Cause::Memory => "for memory",
            Cause::Owner => "for the owner",
            Cause::Drain => "for the drain",
            Cause::Recall => "recalled",
        };
        match self.verdict {
            Verdict::Go => write!(f, "goes {cause}")?,
            Verdict::Stay => write!(f, "stays")?,
            Verdict::Refused(refusal) => write!(f, "refused by the target: {refusal}")?,
        }
        write!(f, "; from {} to {}; {}", self.here, self.there, self.claimed)?;
        if let (Some(truth), Some(confirmed)) = (&self.truth, &self.confirmed) {
            write!(f, "; the target says {truth}: {confirmed}")?;
        }
        Ok(())
    }
}
