//! The agents of the nodes: how they are started, and the first node's one as a child of the keeper.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::places::Places;
use crate::config::Dirs;

/// The command line of a node's agent. Uid 0 may move: both ends of every move are this machine.
#[must_use]
pub(super) fn arguments(dirs: &Dirs, socket: &Path) -> Vec<String> {
    let [run, state, socket] =
        [&dirs.run, &dirs.state, socket].map(|path| path.to_string_lossy().into_owned());
    let flags = ["agent", "--allow-root", "--run-dir", &run, "--state-dir", &state, "--socket", &socket];
    flags.map(str::to_owned).to_vec()
}

/// The agent of the first node, which lives in this machine's own namespaces.
#[derive(Debug)]
pub(super) struct FirstAgent {
    log: PathBuf,
    /// None once its end was told.
    child: Option<Child>,
}

impl FirstAgent {
    /// Starts it.
    ///
    /// # Errors
    /// When the program or its log cannot be opened.
    pub(super) fn start(program: &Path, places: &Places, name: &str) -> io::Result<FirstAgent> {
        let arguments = arguments(&places.node(name), places.socket());
        let log = places.agent_log(name);
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        Ok(FirstAgent { child: Some(command.current_dir("/").spawn()?), log })
    }

    /// How it has ended, said once.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    /// The last thing it said.
    #[must_use]
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.unwrap_or("it said nothing").trim().to_owned()
    }
}

impl Drop for FirstAgent {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // An error means that it has just ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

const STOP_PATIENCE: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
