//! One node of the lab.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use node_agent::dev::node::Node;
use node_agent::dev::spec::{Address, FileSpec, NodeSpec, RootSpec, Walls};
use node_agent::dev::switch::Switch;

use super::containers::{Container, Image};
use super::exec::{Finished, Program, Running, User};
use super::{LabError, Terminal, exec, homing, process, programs};

/// A node and what a test can do there.
#[derive(Debug)]
pub struct LabNode {
    name: String,
    address: Address,
    container: Option<Container>,
    node: Node,
}

impl LabNode {
    pub(super) fn start(
        number: u8,
        address: Address,
        switch: &Switch,
        image: Option<&Image>,
        directory: &Path,
    ) -> Result<LabNode, LabError> {
        let name = format!("n{number}");
        let spec = NodeSpec {
            name: name.clone(),
            walls: match image {
                Some(_) => Walls::Container,
                None => Walls::Namespaces { clock_ahead_s: CLOCK_STEP_S * i64::from(number) },
            },
            address,
            root: match image {
                Some(_) => None,
                None => Some(own_root(directory.join(&name))?),
            },
            files: marks(&name)?,
            name_port: Some(NAME_PORT),
            command: None,
        };
        let failed = |source| LabError::Node { name: name.clone(), source: Box::new(source) };
        let container = image.map(|image| image.container(&name));
        let node = match &container {
            Some(container) => {
                Node::start_by(container.start_command(&spec, &homing()?), |_| container.init_pid(), switch)
            }
            None => Node::start(&homing()?, &spec, switch),
        };
        let node = LabNode { node: node.map_err(failed)?, name, address, container };
        node.prepare()?;
        Ok(node)
    }

    /// `n1`, `n2`...
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the lab's network.
    #[must_use]
    pub fn address(&self) -> std::net::Ipv4Addr {
        self.address.ip
    }

    /// The same with the length of its network's prefix, as `ip` writes it.
    #[must_use]
    pub fn network_address(&self) -> String {
        format!("{}/{}", self.address.ip, self.address.prefix)
    }

    /// Runs a command there as root, which must succeed.
    ///
    /// # Errors
    /// [`LabError::Command`] with what it said, or as [`LabNode::exec`].
    pub fn run(&self, words: &[&str]) -> Result<Finished, LabError> {
        let (name, args) = words.split_first().expect("a command has a name");
        let program = Program::new(*name).args(args).user(User::Root).command();
        let finished = self.exec(&program)?.finish(COMMAND_PATIENCE)?;
        if finished.code == 0 {
            return Ok(finished);
        }
        let reason = String::from_utf8_lossy(&finished.errors).trim().to_owned();
        Err(LabError::Command { node: self.name.clone(), command: words.join(" "), reason })
    }

    /// Its process 1, as this process sees it.
    #[must_use]
    pub fn init_pid(&self) -> u32 {
        self.node.init_pid()
    }

    /// Starts `program` there, with pipes for its standard input, output and errors.
    ///
    /// # Errors
    /// [`LabError::Run`] or [`LabError::Late`].
    pub fn exec(&self, program: &Program) -> Result<Running, LabError> {
        exec::start(self, program)
    }

    /// Opens a terminal there with an interactive shell of `user`.
    ///
    /// # Errors
    /// [`LabError::Run`] or [`LabError::Late`].
    pub fn terminal(&self, user: User) -> Result<Terminal, LabError> {
        Terminal::open(self, user)
    }

    /// Runs the `homing` command there as root and waits for its end.
    ///
    /// # Errors
    /// As [`LabNode::exec`]; an exit code other than zero is no error here.
    pub fn homing(&self, args: &[&str]) -> Result<Finished, LabError> {
        self.start_homing(args)?.finish(COMMAND_PATIENCE)
    }

    /// Starts the `homing` command there as root.
    ///
    /// # Errors
    /// As [`LabNode::exec`].
    pub fn start_homing(&self, args: &[&str]) -> Result<Running, LabError> {
        self.exec(&Program::new(homing()?).args(args).user(User::Root).command())
    }

    /// Reads a file of the node.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, LabError> {
        fs::read(self.outside(path)).map_err(|source| self.file_error(path, source))
    }

    /// Writes a file that exists at this node only; any user there can write to it.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn write_file(&self, path: &str, content: &[u8]) -> Result<(), LabError> {
        let at = self.outside(path);
        fs::write(&at, content)
            .and_then(|()| fs::set_permissions(&at, fs::Permissions::from_mode(0o666)))
            .map_err(|source| self.file_error(path, source))
    }

    /// Puts a program of this machine at a path of the node, and nowhere else.
    ///
    /// # Errors
    /// [`LabError::File`].
    pub fn install(&self, program: &Path, path: &str) -> Result<(), LabError> {
        fs::copy(program, self.outside(path)).map(drop).map_err(|source| self.file_error(path, source))
    }

    /// The bodies at this node: processes in pid namespaces below the node's own, without the inits of those.
    ///
    /// As this process numbers them.
    ///
    /// # Errors
    /// [`LabError::Process`] when the node has ended.
    pub fn bodies(&self) -> Result<Vec<u32>, LabError> {
        process::inner_processes(self.init_pid())
    }

    pub(super) fn container(&self) -> Option<&Container> {
        self.container.as_ref()
    }

    /// Where a path of the node is in this process's view.
    pub(super) fn outside(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.init_pid().to_string()).join("root").join(path.trim_start_matches('/'))
    }

    fn prepare(&self) -> Result<(), LabError> {
        let made = |path: &str, mode: u32, owner: u32| {
            let at = self.outside(path);
            fs::create_dir_all(&at)
                .and_then(|()| fs::set_permissions(&at, fs::Permissions::from_mode(mode)))
                .and_then(|()| chown(&at, Some(owner), Some(owner)))
                .map_err(|source| self.file_error(path, source))
        };
        made(exec::PID_DIRECTORY, 0o1777, 0)?;
        made(User::Worker.home(), 0o755, User::Worker.id())
    }

    fn file_error(&self, path: &str, source: std::io::Error) -> LabError {
        LabError::File { node: self.name.clone(), path: path.to_owned(), source }
    }
}

fn own_root(at: PathBuf) -> Result<RootSpec, LabError> {
    // It is there already when the node was made before.
    fs::create_dir_all(&at).map_err(LabError::Directory)?;
    Ok(RootSpec { at, shared: vec![programs()?] })
}

/// The files by which a node is told from all others.
fn marks(name: &str) -> Result<Vec<FileSpec>, LabError> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(LabError::Directory)?;
    let worker = User::Worker;
    let mut lines: Vec<String> = passwd
        .lines()
        .filter(|line| line.split(':').nth(2) != Some(&worker.id().to_string()))
        .map(str::to_owned)
        .collect();
    lines.push(format!("worker:x:{0}:{0}::{1}:/bin/bash", worker.id(), worker.home()));
    lines.push(format!("marker-{name}:x:64000:64000:only at {name}:/:/usr/sbin/nologin"));
    let file = |path: &str, text: String| FileSpec { path: path.into(), text };
    Ok(vec![file("/etc/passwd", lines.join("\n") + "\n"), file("/etc/hostname", format!("{name}\n"))])
}

/// How far the clocks of `n1` are ahead of this machine's, in seconds; `n2`'s are twice as far, and so on.
pub const CLOCK_STEP_S: i64 = 1000;

/// The port of every node's 127.0.0.1 that tells the node's name.
pub const NAME_PORT: u16 = 7;

const COMMAND_PATIENCE: Duration = Duration::from_secs(60);
