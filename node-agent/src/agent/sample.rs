//! How busy this node and its processes are.

use std::collections::HashMap;
use std::time::Instant;

use sysinfo::{MemoryRefreshKind, System};

use super::protocol::NodeSample;
use crate::proc::{self, TICKS_PER_S};

/// Remembers what the last look saw, since a load is a difference.
#[derive(Debug)]
pub(super) struct Sampler {
    system: System,
    ticks: HashMap<(u32, u64), Seen>,
    round: u64,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    cpu_ticks: u64,
    cpu_percent: f32,
    round: u64,
}

impl Sampler {
    /// Takes the first look.
    ///
    /// # Errors
    /// When `/proc` tells nothing.
    pub(super) fn new() -> Result<Sampler, sysinfo::Error> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Sampler { system, ticks: HashMap::new(), round: 0 })
    }

    /// Looks at the node; called once a second.
    pub(super) fn node(&mut self) -> NodeSample {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        self.round += 1;
        // A process that was not looked at in the last rounds is gone.
        self.ticks.retain(|_, seen| seen.round + ROUNDS_KEPT > self.round);
        let total = self.system.total_memory();
        NodeSample {
            cpu_percent: self.system.global_cpu_usage(),
            cpus: u32::try_from(self.system.cpus().len()).unwrap_or(u32::MAX),
            mem_used_bytes: total.saturating_sub(self.system.available_memory()),
            mem_total_bytes: total,
        }
    }

    /// The processor time that a process uses, 100 for one whole processor; 0 at the first look.
    pub(super) fn cpu_percent(&mut self, process: &proc::Process, now: Instant) -> f32 {
        let round = self.round;
        let first = Seen { at: now, cpu_ticks: process.cpu_ticks, cpu_percent: 0.0, round };
        let seen = self.ticks.entry((process.pid, process.start_ticks)).or_insert(first);
        seen.round = round;
        let elapsed = now.duration_since(seen.at).as_secs_f32();
        if elapsed >= ELAPSED_MIN_S {
            let ticks = process.cpu_ticks.saturating_sub(seen.cpu_ticks);
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 24 bits")]
            let busy = ticks as f32 / TICKS_PER_S as f32;
            *seen =
                Seen { at: now, cpu_ticks: process.cpu_ticks, cpu_percent: 100.0 * busy / elapsed, round };
        }
        seen.cpu_percent
    }
}

/// Below this, one clock tick more or less would look like a load.
const ELAPSED_MIN_S: f32 = 0.5;

/// Rounds for which a process that nobody looks at is remembered.
const ROUNDS_KEPT: u64 = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_load_is_ticks_per_time() {
        let mut sampler = Sampler::new().unwrap();
        let mut process = proc::process(std::process::id()).unwrap();
        let start = Instant::now();
        assert_eq!(sampler.cpu_percent(&process, start), 0.0);
        process.cpu_ticks += 150;
        assert_eq!(
            sampler.cpu_percent(&process, start + Duration::from_millis(100)),
            0.0,
            "too early to tell"
        );
        assert_eq!(sampler.cpu_percent(&process, start + Duration::from_secs(1)), 150.0);
        process.start_ticks += 1;
        assert_eq!(sampler.cpu_percent(&process, start + Duration::from_secs(1)), 0.0, "another process");
    }

    #[test]
    fn the_node_has_memory_and_processors() {
        let sample = Sampler::new().unwrap().node();
        assert!(sample.cpus > 0 && sample.mem_used_bytes > 0);
        assert!(sample.mem_used_bytes < sample.mem_total_bytes);
    }
}
