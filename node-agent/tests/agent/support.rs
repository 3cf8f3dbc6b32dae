//! Nodes made of the real binary, each with its own directories and its own loopback address.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A node whose agent may run. Dropped, its agent is killed and its files are removed.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    pub(crate) name: &'static str,
    pub(crate) addr: String,
    agent: Option<Child>,
}

impl Node {
    /// The `number`-th node of this test. The test's pid is in the address, so tests do not meet.
    pub(crate) fn new(name: &'static str, number: u8) -> Node {
        let pid = std::process::id();
        let addr = format!("127.{}.{}.{number}:7749", pid / 250 % 250 + 1, pid % 250 + 1);
        Node { dir: tempfile::tempdir().unwrap(), name, addr, agent: None }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `homing` at this node.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
        command.args(args).stdin(Stdio::null());
        command.env("HOMING_RUN_DIR", self.dir("run")).env("HOMING_STATE_DIR", self.dir("state"));
        command.env_remove("HOMING_SOCKET");
        command
    }

    pub(crate) fn homing(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Makes a cluster and returns the printed line's address and token.
    pub(crate) fn init(&self, more: &[&str]) -> (String, String) {
        let args = [&["init", "--name", self.name, "--listen", &self.addr], more].concat();
        let output = self.homing(&args);
        assert!(output.status.success(), "{output:?}");
        join_line(&output)
    }

    pub(crate) fn join(&self, addr: &str, token: &str) -> Output {
        self.homing(&["join", addr, token, "--name", self.name, "--listen", &self.addr])
    }

    /// Starts the agent and waits until it answers.
    pub(crate) fn start(&mut self, more: &[&str]) {
        let log = File::options().create(true).append(true).open(self.dir("agent.log")).unwrap();
        let args = [&["agent", "-v"], more].concat();
        self.agent = Some(self.command(&args).stderr(log).spawn().unwrap());
        let answers = || self.homing(&["nodes"]).status.success();
        let answered = eventually(answers);
        assert!(answered, "no answer:\n{}", self.log());
    }

    /// What the agent said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir("agent.log")).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().unwrap();
            agent.wait().unwrap();
        }
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.homing(args);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The states of the nodes as this one sees them, by name.
    pub(crate) fn sees(&self) -> Vec<(String, String)> {
        let view = self.json(&["nodes", "--json"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let rows = view["nodes"].as_array().unwrap().iter();
        let mut seen: Vec<_> = rows.map(|node| (text(&node["name"]), text(&node["state"]))).collect();
        seen.sort();
        seen
    }

    pub(crate) fn sees_ok(&self, names: &[&str]) -> bool {
        let wanted: Vec<_> = names.iter().map(|name| ((*name).to_owned(), "ok".to_owned())).collect();
        self.sees() == wanted
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The address and the token of a printed `homing join` line.
pub(crate) fn join_line(output: &Output) -> (String, String) {
    let line = String::from_utf8(output.stdout.clone()).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let ["homing", "join", addr, token] = words[..] else { panic!("{line}") };
    (addr.into(), token.into())
}

/// Waits for a condition; false if it does not come.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(POLL);
    }
    false
}

/// Asserts an exit code and words on standard error.
pub(crate) fn refused(output: &Output, code: i32, words: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "`{words}` is not in: {text}");
}

const DEADLINE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);
