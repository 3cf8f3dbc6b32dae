//! The lab's nodes as a cluster: joined with the real `init` and the line that it prints.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::exec::{Finished, Program, User};
use super::{Lab, LabError, LabNode, homing, process};

impl Lab {
    /// Makes a cluster of all nodes and waits until each sees every one of them.
    ///
    /// Agents run below the nodes' process 1, in sessions of their own, so that one can be killed alone; they log to
    /// [`AGENT_LOG`]. Processes of uid 0 may move.
    ///
    /// # Errors
    /// [`LabError::Homing`] with what a command said, [`LabError::Late`] when a node is not seen in time.
    pub fn start_cluster(&self) -> Result<(), LabError> {
        let [first, others @ ..] = self.nodes() else { return Ok(()) };
        done(first, &["init", "--name", first.name(), "--listen", &listen(first)])?;
        first.start_agent()?;
        for node in others {
            // `homing join ADDRESS TOKEN`, as it would be typed.
            let line = done(first, &["token", "create"])?.text();
            let (own, mut join) = (listen(node), line.split_whitespace().skip(1).collect::<Vec<_>>());
            join.extend(["--name", node.name(), "--listen", &own]);
            done(node, &join)?;
            node.start_agent()?;
        }
        self.wait_for_members()
    }

    /// Waits until every node sees every node: one that was started anew knows only whom it has heard since.
    ///
    /// # Errors
    /// [`LabError::Homing`] when one does not answer, [`LabError::Late`].
    pub fn wait_for_members(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + JOIN_PATIENCE;
        for node in self.nodes() {
            loop {
                let listed = done(node, &["nodes", "--json"])?.output;
                let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap_or_default();
                let nodes = listed["nodes"].as_array();
                let up = nodes.map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == UP).count());
                if up == self.nodes().len() {
                    break;
                }
                if Instant::now() > deadline {
                    let program = format!("homing nodes --json at {}, {listed}", node.name());
                    return Err(LabError::Late {
                        program,
                        what: "listed all nodes",
                        patience: JOIN_PATIENCE,
                    });
                }
                thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }
}

impl LabNode {
    /// Starts the node's agent and waits until it answers.
    ///
    /// # Errors
    /// [`LabError::Late`] when it does not; its log is in the text.
    pub fn start_agent(&self) -> Result<(), LabError> {
        self.start_agent_with(&[], &[])
    }

    /// The same with more flags and variables.
    ///
    /// # Errors
    /// As [`LabNode::start_agent`].
    pub fn start_agent_with(&self, flags: &[&str], env: &[(&str, &str)]) -> Result<(), LabError> {
        let start = format!("setsid \"$0\" agent --allow-root \"$@\" </dev/null >>{AGENT_LOG} 2>&1 &");
        let start = Program::new("sh").args(&["-c", &start, &homing()?.to_string_lossy()]);
        let mut start = start.args(flags).user(User::Root);
        if let Ok(filter) = env::var(LOG_FILTER) {
            start = start.env(LOG_FILTER, &filter);
        }
        start = env.iter().fold(start, |start, (key, value)| start.env(key, value));
        self.exec(&start)?.finish(START_PATIENCE)?;
        let deadline = Instant::now() + START_PATIENCE;
        while self.homing(&["nodes"])?.code != 0 {
            if Instant::now() > deadline {
                let log = self.read_file(AGENT_LOG).unwrap_or_default();
                let program = format!("the agent of {}, {}", self.name(), String::from_utf8_lossy(&log));
                return Err(LabError::Late { program, what: "answered", patience: START_PATIENCE });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// What the node's agent and its wardens have logged, for whoever has to find out why a test failed.
    ///
    /// `HOMING_LOG=debug` in the environment of the test makes them say more.
    #[must_use]
    pub fn logs(&self) -> String {
        let wardens = fs::read_dir(self.outside(WARDENS)).into_iter().flatten().flatten();
        let names = wardens.filter_map(|entry| Some(format!("{WARDENS}/{}", entry.file_name().to_str()?)));
        let logs = names.filter(|name| name.ends_with(".log")).chain([AGENT_LOG.to_owned()]);
        let texts = logs.filter_map(|path| Some((self.read_file(&path).ok()?, path)));
        texts
            .map(|(text, path)| format!("{} {path}:\n{}", self.name(), String::from_utf8_lossy(&text)))
            .collect()
    }

    /// The node's agent, as this process numbers it; none if it does not run.
    #[must_use]
    pub fn agent_pid(&self) -> Option<u32> {
        self.homing_pids(|verb| verb == ["agent"]).first().copied()
    }

    /// The node's home wardens, as this process numbers them.
    #[must_use]
    pub fn home_wardens(&self) -> Vec<u32> {
        self.homing_pids(|verb| verb == ["warden", "home"])
    }

    /// The node's guest wardens, as this process numbers them.
    #[must_use]
    pub fn guest_wardens(&self) -> Vec<u32> {
        self.homing_pids(|verb| verb == ["warden", "guest"])
    }

    /// The epoch that counts, or did last, for the families of process `pid` of this node; the files of those that have
    /// ended stay.
    #[must_use]
    pub fn epoch(&self, pid: u32) -> u64 {
        let (entries, prefix) = (fs::read_dir(self.outside(WARDENS)), format!("home-{pid}-"));
        let names =
            entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let records = names.filter(|name| name.starts_with(&prefix) && name.ends_with(".epoch"));
        let epochs = records.filter_map(|name| {
            let text = self.read_file(&format!("{WARDENS}/{name}")).ok()?;
            String::from_utf8(text).ok()?.split_whitespace().next()?.parse().ok()
        });
        epochs.max().unwrap_or(0)
    }

    /// The node's own processes that are `homing` with a verb that begins like this.
    fn homing_pids(&self, is_it: impl Fn(&[&str]) -> bool) -> Vec<u32> {
        let Ok(namespace) = process::pid_namespace(self.init_pid()) else { return Vec::new() };
        let runs_it = |&pid: &u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split('\0');
            let is_homing = words.next().is_some_and(|program| program.ends_with(HOMING));
            let words: Vec<&str> = words.collect();
            is_homing
                && (1..=words.len().min(2)).any(|count| is_it(&words[..count]))
                && process::pid_namespace(pid).is_ok_and(|other| other == namespace)
        };
        process::all_processes().into_iter().filter(runs_it).collect()
    }
}

/// Runs a `homing` command that must succeed.
fn done(node: &LabNode, args: &[&str]) -> Result<Finished, LabError> {
    let finished = node.homing(args)?;
    if finished.code == 0 {
        return Ok(finished);
    }
    Err(LabError::Homing {
        node: node.name().to_owned(),
        command: args.join(" "),
        code: finished.code,
        reason: String::from_utf8_lossy(&finished.errors).trim().to_owned(),
    })
}

fn listen(node: &LabNode) -> String {
    format!("{}:{AGENT_PORT}", node.address())
}

/// Where every node's agent logs.
pub const AGENT_LOG: &str = "/var/log/homing.log";

/// Environment variable that says how much agents and wardens log.
const LOG_FILTER: &str = "HOMING_LOG";

/// Where a node's wardens have their sockets and logs.
pub(super) const WARDENS: &str = "/run/homing/wardens";

/// How the command's path ends.
const HOMING: &str = "homing";

const AGENT_PORT: u16 = 7749;
const UP: &str = "ok";
const JOIN_PATIENCE: Duration = Duration::from_secs(20);
const START_PATIENCE: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
