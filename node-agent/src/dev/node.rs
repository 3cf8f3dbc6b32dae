//! A node as its starter holds it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::spec::{NODE_INIT_VERB, NODE_INTERFACE, NodeSpec, Report};
use super::switch::{Switch, SwitchError};

/// A running node. Dropping it ends every process there and waits until they are gone.
///
/// When the process that holds it dies, however it dies, the node ends too: its input ends.
#[derive(Debug)]
pub struct Node {
    child: Child,
    alive: Option<ChildStdin>,
    reports: Mutex<Receiver<Report>>,
    init: u32,
}

impl Node {
    /// Makes the node that `spec` describes, in namespaces, plugged into `switch`.
    ///
    /// `homing` is the program with the verb `node-init`, in general the caller's own.
    ///
    /// # Errors
    /// [`NodeError`]; nothing of the node is left then.
    pub fn start(homing: &Path, spec: &NodeSpec, switch: &Switch) -> Result<Node, NodeError> {
        let mut command = Command::new(homing);
        command.args([NODE_INIT_VERB, &spec_argument(spec)]);
        Node::start_by(command, Ok, switch)
    }

    /// Makes a node by `command`, which runs `node-init` in one way or another with its input and output passed on.
    ///
    /// `locate` turns the number that the node gives to its process 1 into the number that it has here.
    ///
    /// # Errors
    /// [`NodeError`]; nothing of the node is left then.
    pub fn start_by(
        mut command: Command,
        locate: impl FnOnce(u32) -> io::Result<u32>,
        switch: &Switch,
    ) -> Result<Node, NodeError> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(NodeError::Start)?;
        let alive = child.stdin.take();
        let reports = Mutex::new(listen(child.stdout.take().expect("its output is a pipe")));
        let mut node = Node { child, alive, reports, init: 0 };
        match node.expect_report()? {
            Report::Created { init } => node.init = locate(init).map_err(NodeError::Locate)?,
            other => return Err(NodeError::Protocol(other)),
        }
        switch.plug(node.init, NODE_INTERFACE).map_err(NodeError::Switch)?;
        node.say_linked().map_err(NodeError::Start)?;
        match node.expect_report()? {
            Report::Ready => Ok(node),
            other => Err(NodeError::Protocol(other)),
        }
    }

    /// The node's process 1, as this process sees it: the owner of its namespaces under `/proc`.
    #[must_use]
    pub fn init_pid(&self) -> u32 {
        self.init
    }

    /// The exit code of the node's command, once it has ended; waits for `patience` at most.
    pub fn command_ended(&self, patience: Duration) -> Option<i32> {
        match self.next_report(patience) {
            Ok(Report::CommandEnded { code }) => Some(code),
            _ => None,
        }
    }

    fn say_linked(&mut self) -> io::Result<()> {
        let alive = self.alive.as_mut().expect("taken only by drop");
        alive.write_all(b"\n")?;
        alive.flush()
    }

    fn next_report(&self, patience: Duration) -> Result<Report, RecvTimeoutError> {
        self.reports.lock().expect("waiting for a report does not panic").recv_timeout(patience)
    }

    fn expect_report(&self) -> Result<Report, NodeError> {
        match self.next_report(START_PATIENCE) {
            Ok(Report::Failed { reason }) => Err(NodeError::Failed { reason }),
            Ok(report) => Ok(report),
            Err(RecvTimeoutError::Timeout) => Err(NodeError::Silent),
            Err(RecvTimeoutError::Disconnected) => Err(NodeError::Ended),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.alive.take());
        let deadline = Instant::now() + STOP_PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // The init follows its holder; an error means that the holder has just ended by itself.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The argument of the verb `node-init`.
#[must_use]
pub fn spec_argument(spec: &NodeSpec) -> String {
    serde_json::to_string(spec).expect("a specification has only strings and numbers")
}

/// Why a node did not come up.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum NodeError {
    #[error("cannot start the node's first process")]
    Start(#[source] io::Error),
    #[error("cannot find the node's process 1")]
    Locate(#[source] io::Error),
    #[error("cannot wire the node")]
    Switch(#[source] SwitchError),
    #[error("the node could not be made: {reason}")]
    Failed { reason: String },
    #[error("the node's first process ended without saying why")]
    Ended,
    #[error("the node said nothing for {} s", START_PATIENCE.as_secs())]
    Silent,
    #[error("the node reported {0:?} out of turn: the program that was started is of another version")]
    Protocol(Report),
}

/// Reads reports on a thread of its own, which ends with the node, so that waiting for one can have a deadline.
fn listen(output: ChildStdout) -> Receiver<Report> {
    let (sender, reports) = mpsc::channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let mut reports = lines.map_while(|line| serde_json::from_str(&line).ok());
        reports.try_for_each(|report| sender.send(report))
    });
    reports
}

const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(10);
