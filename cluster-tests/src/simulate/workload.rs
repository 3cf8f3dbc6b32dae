//! Nodes and jobs from a seed: heavy-tailed work and memory, busy and quiet homes, jobs that call home and jobs that
//! talk to each other. The figures are those of the design, and none of them is there to suit a policy.

use node_agent::balance::Random;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scenario {
    /// How many nodes.
    pub nodes: usize,
    /// Work that arrives, as a part of what all nodes together can do.
    pub load: f64,
    /// For how long jobs arrive, in seconds.
    pub window_s: f64,
    /// Time between two rounds of gossip, in seconds.
    pub gossip_s: f64,
    /// Whether jobs call home and talk to each other.
    pub ties: bool,
    /// All jobs at once from a few homes, so many for each processor, instead of a stream of them.
    pub burst: Option<f64>,
    /// Everything follows from it.
    pub seed: u64,
}

impl Scenario {
    /// The reference workload of so many nodes: 500 s of it, or 100 s for very many.
    #[must_use]
    pub fn reference(nodes: usize, load: f64, seed: u64) -> Scenario {
        let window_s = if nodes > 1024 { 100.0 } else { 500.0 };
        Scenario { nodes, load, window_s, gossip_s: 1.0, ties: true, burst: None, seed }
    }

    /// Four jobs for each processor at once.
    #[must_use]
    pub fn burst(nodes: usize, seed: u64) -> Scenario {
        Scenario { burst: Some(4.0), ..Scenario::reference(nodes, 1.0, seed) }
    }
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeSpec {
    /// Processors.
    pub cores: u32,
    /// Speed of each.
    pub speed: f64,
    /// Memory, in MiB.
    pub mem_mib: f64,
}

/// A job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobSpec {
    /// When it is submitted, in seconds.
    pub arrival_s: f64,
    /// Where.
    pub home: usize,
    /// CPU-seconds of speed 1.
    pub work_s: f64,
    /// Memory, in MiB.
    pub mem_mib: f64,
    /// System calls per CPU-second that go home.
    pub calls_per_cpu_s: f64,
    /// The job that it exchanges messages with, and how many per CPU-second.
    pub peer: Option<(usize, f64)>,
}

/// Nodes, and jobs in the order of their arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// The jobs.
    pub jobs: Vec<JobSpec>,
}

impl Workload {
    /// The nodes and jobs of a scenario.
    #[must_use]
    pub fn generate(scenario: &Scenario) -> Workload {
        let mut random = Random::new(scenario.seed);
        let nodes: Vec<NodeSpec> = (0..scenario.nodes).map(|_| node(&mut random)).collect();
        let capacity: f64 = nodes.iter().map(|node| f64::from(node.cores) * node.speed).sum();
        let mut workload = Workload { nodes, jobs: Vec::new() };
        match scenario.burst {
            None => workload.stream(scenario, capacity, &mut random),
            Some(per_core) => workload.burst(scenario, per_core, &mut random),
        }
        workload
    }

    /// The speed of the fastest processors.
    #[must_use]
    pub fn speed_max(&self) -> f64 {
        self.nodes.iter().map(|node| node.speed).fold(0.0, f64::max)
    }

    /// No schedule of all jobs ends earlier after the first arrival: all processors busy, or the longest job on the
    /// fastest one.
    #[must_use]
    pub fn makespan_min_s(&self) -> f64 {
        let capacity: f64 = self.nodes.iter().map(|node| f64::from(node.cores) * node.speed).sum();
        let work: f64 = self.jobs.iter().map(|job| job.work_s).sum();
        let longest = self.jobs.iter().map(|job| job.work_s).fold(0.0, f64::max);
        (work / capacity).max(longest / self.speed_max())
    }

    fn stream(&mut self, scenario: &Scenario, capacity: f64, random: &mut Random) {
        let batches_per_s = scenario.load * capacity / WORK.mean() / BATCH_MEAN;
        // Some homes are much busier than others.
        let mut bounds = Vec::with_capacity(scenario.nodes);
        let mut sum = 0.0;
        for _ in 0..scenario.nodes {
            sum += normal(random).exp();
            bounds.push(sum);
        }
        let mut now_s = 0.0;
        loop {
            now_s += exponential(random) / batches_per_s;
            if now_s >= scenario.window_s {
                break;
            }
            let at = random.unit() * sum;
            let home = bounds.partition_point(|bound| *bound <= at).min(scenario.nodes - 1);
            let first = self.jobs.len();
            loop {
                self.jobs.push(job(WARM_UP_S + now_s, home, scenario.ties, random));
                if random.unit() < 1.0 / BATCH_MEAN {
                    break;
                }
            }
            if scenario.ties {
                self.pair(first, random);
            }
        }
    }

    fn burst(&mut self, scenario: &Scenario, per_core: f64, random: &mut Random) {
        let cores: u32 = self.nodes.iter().map(|node| node.cores).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        let jobs = (f64::from(cores) * per_core) as usize;
        let homes = (scenario.nodes / NODES_PER_BURST_HOME).max(1);
        for number in 0..jobs {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let after_s = (number / homes) as f64 * START_S;
            let home = (number % homes) * NODES_PER_BURST_HOME.min(scenario.nodes);
            self.jobs.push(job(WARM_UP_S + after_s, home, scenario.ties, random));
        }
    }

    /// Lets some neighbours of a batch talk to each other.
    fn pair(&mut self, first: usize, random: &mut Random) {
        let mut one = first;
        while one + 1 < self.jobs.len() {
            if random.unit() < PAIRED {
                let per_cpu_s = MESSAGES_PER_S.0 + random.unit() * (MESSAGES_PER_S.1 - MESSAGES_PER_S.0);
                self.jobs[one].peer = Some((one + 1, per_cpu_s));
                self.jobs[one + 1].peer = Some((one, per_cpu_s));
            }
            one += 2;
        }
    }
}

fn node(random: &mut Random) -> NodeSpec {
    let cores = [4, 8, 16][random.below(3)];
    let speed = [0.7, 1.0, 1.0, 1.5][random.below(4)];
    let per_core_mib = [2048.0, 4096.0, 8192.0][random.below(3)];
    NodeSpec { cores, speed, mem_mib: f64::from(cores) * per_core_mib }
}

fn job(arrival_s: f64, home: usize, ties: bool, random: &mut Random) -> JobSpec {
    let work_s = WORK.draw(random);
    let mem_mib = MEMORY.draw(random);
    let kind = random.unit();
    let calls = CALLS_PER_S.iter().find(|(below, _)| kind < *below).map_or(0.0, |(_, calls)| *calls);
    let calls_per_cpu_s = if ties { calls } else { 0.0 };
    JobSpec { arrival_s, home, work_s, mem_mib, calls_per_cpu_s, peer: None }
}

/// A bounded Pareto law.
struct Pareto {
    alpha: f64,
    min: f64,
    max: f64,
}

impl Pareto {
    fn draw(&self, random: &mut Random) -> f64 {
        let tail = (self.min / self.max).powf(self.alpha);
        self.min / (1.0 - random.unit() * (1.0 - tail)).powf(1.0 / self.alpha)
    }

    fn mean(&self) -> f64 {
        let (alpha, min, max) = (self.alpha, self.min, self.max);
        let tail = (min / max).powf(alpha);
        if alpha == 1.0 {
            return min * (max / min).ln() / (1.0 - tail);
        }
        let powers = max.powf(1.0 - alpha) - min.powf(1.0 - alpha);
        alpha * min.powf(alpha) / (1.0 - tail) * powers / (1.0 - alpha)
    }
}

/// Of mean 1.
fn exponential(random: &mut Random) -> f64 {
    -(1.0 - random.unit()).ln()
}

/// Of mean 0 and deviation 1, by Box and Muller.
fn normal(random: &mut Random) -> f64 {
    let radius = (2.0 * exponential(random)).sqrt();
    radius * (2.0 * std::f64::consts::PI * random.unit()).cos()
}

/// CPU-seconds of a job: lifetimes of UNIX processes have index 1.
const WORK: Pareto = Pareto { alpha: 1.0, min: 1.0, max: 1000.0 };

/// Memory of a job, in MiB; 305 on average.
const MEMORY: Pareto = Pareto { alpha: 0.8, min: 30.0, max: 16384.0 };

/// Jobs that are submitted together, on average.
const BATCH_MEAN: f64 = 4.0;

/// Calls per CPU-second, with the share of jobs up to each kind: three quarters compute, a tenth does little else than
/// input and output.
const CALLS_PER_S: [(f64, f64); 3] = [(0.75, 20.0), (0.9, 2000.0), (1.0, 20_000.0)];

/// Chance of two neighbours to talk to each other, so that a fifth of all jobs does.
const PAIRED: f64 = 0.233;

/// Messages per CPU-second, from and to.
const MESSAGES_PER_S: (f64, f64) = (1000.0, 10_000.0);

/// One of so many nodes submits a part of the burst.
const NODES_PER_BURST_HOME: usize = 32;

/// Time in which a home starts one program of the burst, in seconds.
const START_S: f64 = 0.001;

/// Time for which nodes talk before the first job arrives, in seconds.
pub const WARM_UP_S: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_was_asked_for() {
        let scenario = Scenario::reference(256, 0.7, 1);
        let workload = Workload::generate(&scenario);
        let capacity: f64 = workload.nodes.iter().map(|node| f64::from(node.cores) * node.speed).sum();
        let work: f64 = workload.jobs.iter().map(|job| job.work_s).sum();
        let load = work / capacity / scenario.window_s;
        assert!((0.65..0.75).contains(&load), "{load}");
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let share = |count: usize| count as f64 / workload.jobs.len() as f64;
        let paired = share(workload.jobs.iter().filter(|job| job.peer.is_some()).count());
        assert!((0.18..0.22).contains(&paired), "{paired}");
        let calling = share(workload.jobs.iter().filter(|job| job.calls_per_cpu_s > 1000.0).count());
        assert!((0.24..0.26).contains(&calling), "{calling}");
        let memory = workload.jobs.iter().map(|job| job.mem_mib).sum::<f64>() * share(1);
        assert!((290.0..320.0).contains(&memory), "{memory}");
        assert!((6.90..6.92).contains(&WORK.mean()) && (304.0..307.0).contains(&MEMORY.mean()));
    }

    #[test]
    fn peers_know_each_other_and_share_a_home() {
        let workload = Workload::generate(&Scenario::reference(16, 0.7, 2));
        for (number, job) in workload.jobs.iter().enumerate() {
            if let Some((peer, per_cpu_s)) = job.peer {
                assert_eq!(workload.jobs[peer].peer, Some((number, per_cpu_s)));
                assert_eq!(workload.jobs[peer].home, job.home);
            }
        }
    }
}
