//! A user's desk at `n1`: what is typed there, and what is seen.

use std::time::Duration;

use cluster_tests::lab::{Finished, Ground, Lab, LabNode, Program, Running, User, homing};
use cluster_tests::support::{PATIENCE, wait_for};

/// A cluster, and the user `worker` at its first node.
pub(crate) struct Desk {
    pub(crate) lab: Lab,
}

impl Desk {
    pub(crate) fn new(ground: Ground, nodes: u8) -> Desk {
        let lab = Lab::new(ground, nodes).unwrap();
        lab.start_cluster().unwrap();
        Desk { lab }
    }

    pub(crate) fn node(&self) -> &LabNode {
        self.lab.node(1)
    }

    /// Starts a command of the worker, in his own directory.
    pub(crate) fn start_as(&self, user: User, line: &str) -> Running {
        let script = format!("cd {} && exec {line}", user.home());
        let program = Program::new("sh").args(&["-c", &script]).user(user);
        self.node().exec(&program).unwrap()
    }

    pub(crate) fn run_as(&self, user: User, line: &str) -> Finished {
        self.start_as(user, line).finish(PATIENCE).unwrap()
    }

    /// Runs `homing` as the worker.
    pub(crate) fn homing(&self, line: &str) -> Finished {
        self.run_as(User::Worker, &format!("{} {line}", homing().unwrap().display()))
    }

    pub(crate) fn start_homing(&self, line: &str) -> Running {
        self.start_as(User::Worker, &format!("{} {line}", homing().unwrap().display()))
    }

    /// The same for a command that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> String {
        let finished = self.homing(line);
        let errors = String::from_utf8_lossy(&finished.errors).into_owned();
        assert_eq!(finished.code, 0, "homing {line}: {errors}{}", self.logs());
        finished.text()
    }

    /// The same for a command that must fail with `code`; what it complained of.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, line: &str) -> String {
        let finished = self.homing(line);
        let errors = String::from_utf8_lossy(&finished.errors).into_owned();
        assert_eq!(finished.code, code, "homing {line}: {errors}");
        assert!(finished.output.is_empty(), "homing {line}: nothing half done");
        errors
    }

    #[track_caller]
    pub(crate) fn submit(&self, line: &str) -> String {
        let job = self.done(&format!("submit {line}"));
        assert!(job.parse::<u64>().is_ok(), "only the number is printed: {job}");
        job
    }

    /// Waits for a job; its status.
    #[track_caller]
    pub(crate) fn wait(&self, job: &str) -> i32 {
        let finished = self.homing(&format!("wait {job}"));
        println!("wait {job}: {} {}", finished.code, String::from_utf8_lossy(&finished.errors));
        finished.code
    }

    pub(crate) fn row(&self, job: &str) -> serde_json::Value {
        let listed = self.done(&format!("jobs {job} --json"));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["v"], 1);
        listed["jobs"][0].clone()
    }

    #[track_caller]
    pub(crate) fn wait_for_state(&self, job: &str, state: &str) {
        wait_for(&format!("job {job} {state}"), || self.row(job)["state"] == state);
    }

    pub(crate) fn file(&self, path: &str) -> String {
        String::from_utf8(self.node().read_file(path).unwrap_or_default()).unwrap()
    }

    pub(crate) fn logs(&self) -> String {
        self.lab.nodes().iter().map(LabNode::logs).collect()
    }

    /// How many processes at `n1` have this in their command line.
    pub(crate) fn count(&self, words: &str) -> usize {
        let (first, rest) = words.split_at(1);
        let line = format!(
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '[{first}]{rest}' | wc -l"
        );
        self.run_as(User::Root, &format!("sh -c \"{}\"", line.replace('\\', "\\\\")))
            .text()
            .parse()
            .unwrap_or(0)
    }
}

/// A pause of the test's own programs, not a wait of the test.
pub(crate) const LONG: Duration = Duration::from_secs(300);
