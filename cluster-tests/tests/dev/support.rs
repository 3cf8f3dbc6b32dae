//! A `homing dev` with a run directory of its own, and what is left of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab;
use tempfile::TempDir;

/// Where the nodes of one test are. Several `homing dev` can come and go there.
pub(crate) struct Ground {
    directory: TempDir,
}

impl Ground {
    pub(crate) fn new() -> Ground {
        Ground { directory: TempDir::with_prefix("homing-dev-").unwrap() }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Starts `homing dev` without waiting for anything.
    pub(crate) fn dev(&self, args: &[&str]) -> Dev {
        let log = self.directory.path().join(format!("log-{:?}", Instant::now()));
        let (output, errors) =
            (File::create(&log).unwrap(), File::options().append(true).open(&log).unwrap());
        let mut command = self.command("dev");
        let child = command.args(args).stdout(output).stderr(errors).spawn().unwrap();
        Dev { child, log }
    }

    /// Starts `homing dev` and waits until its nodes are ready.
    pub(crate) fn ready_dev(&self, args: &[&str]) -> Dev {
        let mut dev = self.dev(args);
        dev.wait_for("nodes ready in");
        dev
    }

    /// Runs a verb to its end.
    pub(crate) fn homing(&self, args: &[&str]) -> Output {
        let [verb, rest @ ..] = args else { panic!("no verb") };
        self.command(verb).args(rest).output().unwrap()
    }

    /// Starts a program as a user would: it writes a number a few times a second, for ever.
    pub(crate) fn counter(&self) -> Counter {
        let log = self.directory.path().join("counted");
        let mut command = self.command("run");
        command.args([
            "--",
            "perl",
            "-e",
            "$| = 1; for (1 .. 100_000) { print \"$_\\n\"; select(undef, undef, undef, 0.02) }",
        ]);
        let child = command.stdout(File::create(&log).unwrap()).spawn().unwrap();
        let counter = Counter { child, log };
        assert!(eventually(|| counter.last() > 0), "it does not count");
        counter
    }

    pub(crate) fn move_to(&self, counter: &Counter, node: &str) {
        let moved = self.homing(&["move", &counter.pid().to_string(), node]);
        assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    }

    /// The names and states of the nodes, as the first agent lists them.
    pub(crate) fn nodes(&self) -> Vec<(String, String)> {
        let listed = self.homing(&["nodes", "--json"]);
        let view: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let rows = view["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter().map(|node| (text(&node["name"]), text(&node["state"]))).collect()
    }

    /// The interface of this machine in the nodes' network; to be asked while they are there.
    pub(crate) fn interface(&self) -> PathBuf {
        let node = fs::read(self.run_dir().join("dev/n1/state/node.json")).unwrap();
        let node: serde_json::Value = serde_json::from_slice(&node).unwrap();
        let number = node["listen"].as_str().unwrap().split('.').nth(2).unwrap().to_owned();
        PathBuf::from(format!("/sys/class/net/hm{number}v1"))
    }

    /// What there is on this machine, one line each: processes that were given the directory, mounts, files.
    pub(crate) fn left(&self) -> Vec<String> {
        let run = self.run_dir();
        let processes = self.processes().into_iter().map(|(pid, line)| format!("process {pid} {line}"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(&*run.to_string_lossy())).map(str::to_owned);
        let files = run.exists().then(|| format!("{}", run.display()));
        processes.chain(mounts).chain(files).collect()
    }

    /// Asserts that nothing is left, not even on its way out.
    pub(crate) fn assert_nothing_left(&self, interface: &Path) {
        assert!(eventually(|| self.left().is_empty()), "left: {:#?}", self.left());
        assert!(eventually(|| !interface.exists()), "left: {}", interface.display());
    }

    /// The process of this ground that runs a verb, if one does.
    pub(crate) fn pid_of(&self, verb: &str) -> Option<u32> {
        let is_it = |line: &str| line.split(' ').nth(1) == Some(verb);
        self.processes().into_iter().find(|(_, line)| is_it(line)).map(|(pid, _)| pid)
    }

    /// Keepers, agents, inits and wardens: they all know the directory.
    fn processes(&self) -> Vec<(u32, String)> {
        let run = self.run_dir().to_string_lossy().into_owned();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let lines = pids.filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        });
        lines.filter(|(_, line)| line.contains(&run)).collect()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(lab::homing().unwrap());
        command.arg(verb).stdin(Stdio::null());
        command.env("HOMING_RUN_DIR", self.run_dir()).env_remove("HOMING_SOCKET");
        command
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Only a test that failed leaves anything.
        self.processes().into_iter().for_each(|(pid, _)| lab::kill(pid));
    }
}

/// The command in the terminal.
pub(crate) struct Dev {
    child: Child,
    log: PathBuf,
}

impl Dev {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has said this.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let said = eventually(|| self.said().contains(words) || self.child.try_wait().unwrap().is_some());
        assert!(said && self.said().contains(words), "it did not say `{words}`: {}", self.said());
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        signal(self.pid(), "INT");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, when it has ended by itself.
    pub(crate) fn finish(&mut self) -> i32 {
        let mut status = None;
        eventually(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("it does not end: {}", self.said())).code().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It has ended by itself unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that counts.
pub(crate) struct Counter {
    child: Child,
    log: PathBuf,
}

impl Counter {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last number that it wrote.
    pub(crate) fn last(&self) -> u64 {
        let counted = fs::read_to_string(&self.log).unwrap();
        counted.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0)
    }

    /// Asserts that it goes on counting, here, without a tracer, and never missed a number.
    pub(crate) fn assert_plain(&self) {
        let before = self.last();
        assert!(eventually(|| self.last() > before + 5), "it stands at {before}");
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        assert!(status.contains("TracerPid:\t0\n"), "{status}");
        let counted = fs::read_to_string(&self.log).unwrap();
        let numbers: Vec<u64> = counted.lines().map_while(|line| line.parse().ok()).collect();
        let gap = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]);
        assert_eq!(gap, None, "a number is missing");
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It may have ended with its node.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("/bin/sh").args(["-c", "kill -$0 $1", name, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "cannot send SIG{name} to {pid}");
}

/// Waits for a condition; false if it does not come.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
    true
}

const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
