//! A cluster in virtual time: thousands of nodes and jobs, the real policy and the real gossip.
//!
//! Processors are shared exactly: a job at a node of `c` processors of speed `s` with `n` jobs computes
//! `s * min(1, c/n)` CPU-seconds each second, less what the node loses when its memory is full, and less what the job
//! waits for calls home and messages. Nodes know of each other what gossip told them; targets answer under their true
//! numbers. Everything follows from the seed.
//!
//! ```text
//!   workload ──▶ world ──▶ outcome ──▶ report, plot
//!                 │  ▲
//!        place, migrate (the policy of node-agent, or a baseline)
//! ```
//!
//! What it leaves out: jobs that sleep, network cards that are shared, memory that changes faster than it is sent,
//! profiles that err. The baselines are re-implemented from their papers, for nodes that are not alike.

pub mod baseline;
pub mod gossip;
pub mod ideal;
pub mod machine;
pub mod migrate;
mod moves;
pub mod outcome;
pub mod place;
pub mod plot;
pub mod policy;
pub mod run;
pub mod workload;
pub mod world;

pub use outcome::Outcome;
pub use policy::Policy;
pub use run::{Options, Summary, run};
pub use workload::{Scenario, Workload};
