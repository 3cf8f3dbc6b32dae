//! What earlier runs of a program tell of the next one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// One run that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// CPU-seconds of the reference's speed.
    pub cpu_s: f64,
    /// System calls that were or would have been forwarded home, per CPU-second.
    pub calls_per_cpu_s: f64,
    /// The most memory it had, in MiB.
    pub mem_mib: f64,
}

/// What to expect of the next run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// Half of the runs had more.
    pub calls_per_cpu_s: f64,
    /// A quarter of the runs had more, in MiB.
    pub mem_mib: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profile {
    runs: u64,
    /// Runs by lifetime: the first counts those below 1/16 CPU-second, each further one twice as long.
    lifetimes: Vec<u32>,
    recent: Vec<Run>,
    used: u64,
}

/// The programs that this home has run, by executable and name: part of the agent's state, saved as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profiles {
    programs: HashMap<String, Profile>,
    clock: u64,
}

impl Profiles {
    /// A run of the program with this key has ended. Figures that make no sense are not taken.
    pub fn note(&mut self, key: &str, run: Run) {
        let figures = [run.cpu_s, run.calls_per_cpu_s, run.mem_mib];
        if key.len() > KEY_BYTES_MAX || figures.iter().any(|figure| !figure.is_finite() || *figure < 0.0) {
            return;
        }
        self.clock += 1;
        if self.programs.len() >= PROGRAMS_MAX && !self.programs.contains_key(key) {
            self.forget_oldest();
        }
        let profile = self.programs.entry(key.to_owned()).or_default();
        profile.used = self.clock;
        profile.runs += 1;
        profile.lifetimes.resize(LIFETIMES, 0);
        let bucket = &mut profile.lifetimes[bucket(run.cpu_s)];
        *bucket = bucket.saturating_add(1);
        if profile.recent.len() == RECENT {
            profile.recent.remove(0);
        }
        profile.recent.push(run);
    }

    /// What the next run of this program will be like; `None` until enough of them are known.
    #[must_use]
    pub fn expect(&self, key: &str) -> Option<Expectation> {
        let profile = self.programs.get(key).filter(|profile| profile.runs >= RUNS_MIN)?;
        let mut calls: Vec<f64> = profile.recent.iter().map(|run| run.calls_per_cpu_s).collect();
        let mut memory: Vec<f64> = profile.recent.iter().map(|run| run.mem_mib).collect();
        calls.sort_by(f64::total_cmp);
        memory.sort_by(f64::total_cmp);
        let calls_per_cpu_s = *calls.get(calls.len() / 2)?;
        Some(Expectation { calls_per_cpu_s, mem_mib: *memory.get(memory.len() * 3 / 4)? })
    }

    /// Runs of this program by lifetime, for those who want to see them.
    #[must_use]
    pub fn lifetimes(&self, key: &str) -> &[u32] {
        self.programs.get(key).map_or(&[], |profile| &profile.lifetimes)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.programs.iter().min_by_key(|(_, profile)| profile.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.programs.remove(&key);
        }
    }
}

fn bucket(cpu_s: f64) -> usize {
    let mut bucket = 0;
    let mut bound_s = LIFETIME_FIRST_S;
    while cpu_s >= bound_s && bucket + 1 < LIFETIMES {
        bound_s *= 2.0;
        bucket += 1;
    }
    bucket
}

/// Runs before a profile is believed.
const RUNS_MIN: u64 = 3;

/// Runs that it is made of: what a program was like long ago does not count.
const RECENT: usize = 20;

/// Buckets of lifetimes.
const LIFETIMES: usize = 24;

/// Where the first one ends, in seconds.
const LIFETIME_FIRST_S: f64 = 0.0625;

/// Programs that are remembered; the one that was not run for longest is forgotten.
pub const PROGRAMS_MAX: usize = 4096;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_believed_from_the_third_run_on() {
        let mut profiles = Profiles::default();
        for mem_mib in [100.0, 200.0, 300.0, 400.0] {
            let known = profiles.expect("cc").is_some();
            assert_eq!(known, mem_mib > 300.0);
            profiles.note("cc", Run { cpu_s: 3.0, calls_per_cpu_s: 10.0 * mem_mib, mem_mib });
        }
        assert_eq!(profiles.expect("cc"), Some(Expectation { calls_per_cpu_s: 3000.0, mem_mib: 400.0 }));
        assert_eq!(profiles.lifetimes("cc").iter().sum::<u32>(), 4);
        assert_eq!(profiles.lifetimes("cc")[6], 4, "from 2 to 4 s");
    }

    #[test]
    fn a_program_that_changes_is_believed_to_be_what_it_was_lately() {
        let mut profiles = Profiles::default();
        for run in 0..40 {
            let calls_per_cpu_s = if run < 20 { 9000.0 } else { 1.0 };
            profiles.note("cc", Run { cpu_s: 1e9, calls_per_cpu_s, mem_mib: 1.0 });
        }
        assert_eq!(profiles.expect("cc").unwrap().calls_per_cpu_s, 1.0);
        profiles.note("cc", Run { cpu_s: f64::NAN, calls_per_cpu_s: 1.0, mem_mib: 1.0 });
        assert_eq!(profiles.lifetimes("cc").iter().sum::<u32>(), 40);
    }

    #[test]
    fn the_store_is_bounded() {
        let mut profiles = Profiles::default();
        for program in 0..PROGRAMS_MAX + 10 {
            profiles.note(&program.to_string(), Run { cpu_s: 1.0, calls_per_cpu_s: 1.0, mem_mib: 1.0 });
        }
        assert_eq!(profiles.programs.len(), PROGRAMS_MAX);
        assert!(profiles.lifetimes("0").is_empty());
    }
}
