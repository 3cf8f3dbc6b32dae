//! What can go wrong with the lab itself, as opposed to what it is to prove.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use node_agent::dev::node::NodeError;
use node_agent::dev::root::RootError;
use node_agent::dev::switch::SwitchError;
use node_agent::dev::uplink::UplinkError;
use thiserror::Error;

/// Why the lab could not do what a test asked for.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum LabError {
    #[error("cannot make the lab's network")]
    Switch(#[from] SwitchError),
    #[error("cannot wire this machine to the lab's network")]
    Uplink(#[from] UplinkError),
    #[error("cannot use the lab's directory or that of the built programs")]
    Directory(#[source] io::Error),
    #[error("cannot start node {name}")]
    Node { name: String, source: Box<NodeError> },
    #[error("cannot fill the container image")]
    Root(#[from] RootError),
    #[error("docker {verb} failed: {reason}")]
    Docker { verb: String, reason: String },
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} has not {what} within {} s", patience.as_secs())]
    Late { program: String, what: &'static str, patience: Duration },
    #[error("homing {command} at {node} ended with {code}: {reason}")]
    Homing { node: String, command: String, code: i32, reason: String },
    #[error("{command} at {node} failed: {reason}")]
    Command { node: String, command: String, reason: String },
    #[error("cannot use file {path} of node {node}")]
    File { node: String, path: String, source: io::Error },
    #[error("cannot read about process {pid}")]
    Process { pid: u32, source: io::Error },
    #[error("cannot use the control group file {path}")]
    Group { path: PathBuf, source: io::Error },
    #[error("cannot keep the disk of {node}: {reason}")]
    Disk { node: String, reason: String },
    #[error("the family is not away: {reason}")]
    NotAway { reason: String },
}
