//! The nodes of `homing dev` and their agents, as one cluster with a throw-away authority.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::{Instant, sleep};
use transport::identity::{Authority, IdentityError, NodeIdentity};
use tui::model::NodeState;

use super::agents::{self, FirstAgent};
use super::node::{Node, NodeError};
use super::places::{Places, node_name};
use super::remains;
use super::spec::{CommandSpec, NodeSpec, Walls};
use super::switch::{Switch, SwitchError};
use super::uplink::{Uplink, UplinkError};
use crate::api::client::Client;
use crate::api::{Request, Response};
use crate::cluster::membership::{self, Role};
use crate::cluster::{State, member};
use crate::config::{AGENT_PORT, ConfigError, NodeFile, write_json};
use crate::members::{Member, Members};

/// Nodes `n1`, `n2`... whose agents know each other. Dropping it ends and removes all of it.
///
/// `n1` is this machine as it is; the others are namespaces.
#[derive(Debug)]
pub struct Cluster {
    // In the order of destruction.
    first: FirstAgent,
    others: Vec<(String, Node)>,
    _uplink: Uplink,
    _switch: Switch,
    files: Files,
    _lock: File,
}

impl Cluster {
    /// Makes `count` nodes with their agents, after removing what a killed keeper may have left.
    ///
    /// # Errors
    /// [`ClusterError`]; nothing is left then.
    pub fn start(program: &Path, places: &Places, count: u8) -> Result<Cluster, ClusterError> {
        let lock = lock(places.run())?;
        remains::sweep(places).map_err(|source| ClusterError::Sweep { root: places.root(), source })?;
        let files = Files(places.clone());
        make_dir(&places.root(), 0o755)?;
        let switch = Switch::new()?;
        let uplink = Uplink::new(&switch)?;
        let numbers: Vec<u8> = (1..=count).collect();
        write_states(places, &uplink, &numbers)?;
        let start = |number: u8| {
            let name = node_name(number);
            let command = CommandSpec {
                args: std::iter::once(program.to_string_lossy().into_owned())
                    .chain(agents::arguments(&places.node(&name), &places.node(&name).agent_socket()))
                    .collect(),
                env: Vec::new(),
                log: places.agent_log(&name),
            };
            let spec = NodeSpec {
                name: name.clone(),
                walls: Walls::Namespaces { clock_ahead_s: 0 },
                address: uplink.address(number),
                root: None,
                files: Vec::new(),
                name_port: None,
                command: Some(command),
            };
            match Node::start(program, &spec, &switch) {
                Ok(node) => Ok((name, node)),
                Err(source) => Err(ClusterError::Node { name, source: Box::new(source) }),
            }
        };
        let others = thread::scope(|scope| {
            let starts: Vec<_> =
                numbers.iter().skip(1).map(|&number| scope.spawn(move || start(number))).collect();
            let nodes = starts.into_iter().map(|start| start.join().expect("starting a node does not panic"));
            nodes.collect::<Result<Vec<_>, _>>()
        })?;
        let first = FirstAgent::start(program, places, &node_name(1)).map_err(ClusterError::Agent)?;
        Ok(Cluster { first, others, _uplink: uplink, _switch: switch, files, _lock: lock })
    }

    /// Waits until the first agent sees every node.
    ///
    /// # Errors
    /// [`ClusterError::AgentEnded`] or [`ClusterError::Late`].
    pub async fn ready(&mut self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if self.first.ended().is_some() {
                return Err(ClusterError::AgentEnded { said: self.first.last_words() });
            }
            let up = nodes_up(self.files.0.socket()).await;
            if up > self.others.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ClusterError::Late { up, count: self.others.len() + 1 });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Which agents have ended since the last call, one sentence each.
    pub fn ended_agents(&mut self) -> Vec<String> {
        let first = self.first.ended().map(|status| ended(&node_name(1), status));
        let others = self.others.iter().filter_map(|(name, node)| {
            node.command_ended(Duration::ZERO).map(|code| ended(name, format_args!("code {code}")))
        });
        first.into_iter().chain(others).collect()
    }

    /// Ends the wardens of the first node, whatever they keep: those of processes that are home end by themselves.
    pub fn end_wardens(&self) {
        remains::end_wardens(&self.files.0.node(&node_name(1)).wardens(), WARDEN_PATIENCE);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end_wardens();
        let others = std::mem::take(&mut self.others);
        thread::scope(|scope| {
            for node in others {
                scope.spawn(move || drop(node));
            }
        });
    }
}

/// The files of a cluster, which go with it.
#[derive(Debug)]
struct Files(Places);

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = remains::remove(&self.0) {
            tracing::warn!(%error, "the next `homing dev` removes what is left in {}", self.0.root().display());
        }
    }
}

/// Why the nodes could not be made.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum ClusterError {
    #[error("another `homing dev` is starting or stopping in {run}")]
    Locked { run: PathBuf },
    #[error("cannot make {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot remove what a former `homing dev` left in {root}")]
    Sweep { root: PathBuf, source: io::Error },
    #[error("cannot make the cluster's certificates")]
    Identity(#[from] IdentityError),
    #[error("cannot write the state of a node")]
    State(#[from] ConfigError),
    #[error("cannot write what the nodes agree on")]
    Log(#[from] member::PartError),
    #[error("cannot make the nodes' network")]
    Switch(#[from] SwitchError),
    #[error("cannot join this machine to the nodes' network")]
    Uplink(#[from] UplinkError),
    #[error("cannot make node {name}")]
    Node { name: String, source: Box<NodeError> },
    #[error("cannot start the agent of n1")]
    Agent(#[source] io::Error),
    #[error("the agent of n1 has ended: {said}")]
    AgentEnded { said: String },
    #[error("{up} of {count} nodes were up after {} s", READY_MAX.as_secs())]
    Late { up: usize, count: usize },
}

/// Locks the run directory for as long as the file is open: one cluster per directory.
fn lock(run: &Path) -> Result<File, ClusterError> {
    let failed = |source| ClusterError::Directory { path: run.to_owned(), source };
    make_dir(run, 0o755)?;
    let directory = File::open(run).map_err(failed)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(ClusterError::Locked { run: run.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Gives each node its certificate, its name and the others' addresses.
fn write_states(places: &Places, uplink: &Uplink, numbers: &[u8]) -> Result<(), ClusterError> {
    let now = SystemTime::now();
    let authority = Authority::create(CLUSTER, now)?;
    let nodes = numbers.iter().map(|&number| {
        let name = node_name(number);
        let listen = (uplink.address(number).ip, AGENT_PORT).into();
        authority.issue(&name, now).map(|identity| {
            (identity, NodeFile { cluster: CLUSTER.into(), name, listen, server: number == 1 })
        })
    });
    let nodes: Vec<(NodeIdentity, NodeFile)> = nodes.collect::<Result<_, _>>()?;
    let role = |file: &NodeFile| if file.server { Role::Server } else { Role::Node };
    let agreed = nodes.iter().map(|(identity, file)| {
        let (name, addr, role) = (file.name.clone(), Some(file.listen), role(file));
        let node = membership::Node { name, addr, role };
        (identity.id(), node)
    });
    let agreed = State::founded(agreed.collect(), Vec::new());
    for (identity, node) in &nodes {
        let dirs = places.node(&node.name);
        dirs.make_state()?;
        if node.server {
            member::found(&dirs.cluster_log(), identity.id(), &agreed)?;
        }
        identity.save(&dirs.identity())?;
        let mut members = Members::default();
        for (other, file) in nodes.iter().filter(|(other, _)| other.id() != identity.id()) {
            members.learn(Member { id: other.id(), name: file.name.clone(), addr: file.listen });
        }
        members.save(&dirs.members_file())?;
        write_json(&dirs.node_file(), node)?;
    }
    Ok(())
}

/// How many nodes the agent sees; 0 if it does not answer yet.
async fn nodes_up(socket: &Path) -> usize {
    let Ok(mut client) = Client::connect(socket).await else { return 0 };
    match client.ask(&Request::View { all: false }, |_, _| {}).await {
        Ok(Response::View(view)) => view.nodes.iter().filter(|node| node.state == NodeState::Ok).count(),
        _ => 0,
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), ClusterError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| ClusterError::Directory { path: path.to_owned(), source })
}

fn ended(name: &str, how: impl std::fmt::Display) -> String {
    format!("the agent of {name} has ended ({how}); moved programs do not notice")
}

const CLUSTER: &str = "dev";
const READY_MAX: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const WARDEN_PATIENCE: Duration = Duration::from_millis(500);
