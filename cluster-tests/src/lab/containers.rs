//! Nodes as Docker containers.
//!
//! No image is pulled: a nearly empty one is made from this machine's `/etc`, and its programs are mounted
//! read-only. The containers have no network of the engine's; they are plugged into the lab's switch.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use node_agent::dev::node::spec_argument;
use node_agent::dev::root;
use node_agent::dev::spec::{NODE_INIT_VERB, NodeSpec};

use super::{LabError, programs};

/// An image of this lab's own, removed when dropped.
#[derive(Debug)]
pub(super) struct Image {
    name: String,
    programs: String,
}

impl Image {
    /// Makes it, with `directory` as the place for its files until then.
    pub(super) fn build(directory: &Path) -> Result<Image, LabError> {
        let files = directory.join("image");
        fs::create_dir(&files).map_err(LabError::Directory)?;
        root::lay_out(&files)?;
        let name = format!("homing-lab-{}", std::process::id());
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&files).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().map_err(|source| LabError::Run { program: "tar".into(), source })?;
        let content = tar.stdout.take().expect("its output is a pipe");
        docker("import", Command::new("docker").args(["import", "-", &name]).stdin(content))?;
        let packed = tar.wait().map_err(|source| LabError::Run { program: "tar".into(), source })?;
        let image = Image { name, programs: programs()?.to_string_lossy().into_owned() };
        if !packed.success() {
            return Err(LabError::Docker { verb: "import".into(), reason: format!("tar: {packed}") });
        }
        fs::remove_dir_all(&files).map_err(LabError::Directory)?;
        Ok(image)
    }

    /// A container of this image, not yet started.
    pub(super) fn container(&self, node: &str) -> Container {
        let name = format!("{}-{node}", self.name);
        Container {
            name,
            host_name: node.to_owned(),
            image: self.name.clone(),
            programs: self.programs.clone(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(error) = docker("rmi", Command::new("docker").args(["rmi", "-f", &self.name])) {
            tracing::warn!(%error, image = self.name, "the image is left");
        }
    }
}

/// One node's container; it is removed by the engine when its process 1 ends.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    host_name: String,
    image: String,
    programs: String,
}

impl Container {
    /// The command that starts it, with the node's first process connected to the command's input and output.
    pub(super) fn start_command(&self, spec: &NodeSpec, homing: &Path) -> Command {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "-i", "--network", "none", "--name", &self.name]);
        command.args(["--hostname", &self.host_name]);
        command.args(["--cap-add", "SYS_PTRACE", "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"]);
        command.args(["--security-opt", "seccomp=unconfined"]);
        for shared in [root::PROGRAMS, &self.programs] {
            command.args(["-v", &format!("{shared}:{shared}:ro")]);
        }
        command.arg(&self.image).arg(homing).args([NODE_INIT_VERB, &spec_argument(spec)]);
        command
    }

    /// The command that runs in it what is appended, as a user and group of this number.
    pub(super) fn exec_command(&self, id: u32) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "-i", "--user", &format!("{id}:{id}"), &self.name]);
        command
    }

    /// Its process 1 as this machine numbers it.
    pub(super) fn init_pid(&self) -> io::Result<u32> {
        let mut inspect = Command::new("docker");
        inspect.args(["inspect", "--format", "{{.State.Pid}}", &self.name]);
        let output = docker("inspect", &mut inspect).map_err(io::Error::other)?;
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)?;
        if pid == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(pid) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// True if the engine knows an image or a container of that name.
pub(super) fn knows(name: &str) -> bool {
    docker("inspect", Command::new("docker").args(["inspect", name])).is_ok()
}

fn docker(verb: &str, command: &mut Command) -> Result<Output, LabError> {
    let failed = |reason| LabError::Docker { verb: verb.to_owned(), reason };
    let output = command.stderr(Stdio::piped()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(output)
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
