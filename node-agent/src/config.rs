//! Where a node keeps its things, and the files that say which node this is.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The directories of one node. Several nodes on one machine need different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// What outlives a reboot: certificates, members, tokens.
    pub state: PathBuf,
    /// What does not: sockets and logs.
    pub run: PathBuf,
}

impl Dirs {
    /// The socket on which the agent answers the command line.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }

    /// Where wardens keep their sockets, so that a restarted agent finds them.
    #[must_use]
    pub fn wardens(&self) -> PathBuf {
        self.run.join("wardens")
    }

    /// Which node this is.
    #[must_use]
    pub fn node_file(&self) -> PathBuf {
        self.state.join("node.json")
    }

    /// The certificate and key of this node.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.state.join("identity")
    }

    /// The cluster's authority, only on the node that made the cluster.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.state.join("authority")
    }

    /// The other members.
    #[must_use]
    pub fn members_file(&self) -> PathBuf {
        self.state.join("members.json")
    }

    /// The join tokens, by the hash of their secrets.
    #[must_use]
    pub fn tokens_file(&self) -> PathBuf {
        self.state.join("tokens.json")
    }

    /// The records of submitted jobs whose home this node is.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.state.join("jobs")
    }

    /// Makes the run directories: the agent's socket is for every user, the wardens' sockets for root alone.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn make_run(&self) -> Result<(), ConfigError> {
        make_dir(&self.run, 0o755)?;
        make_dir(&self.wardens(), 0o700)
    }

    /// Makes the state directory, for root alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_state(&self) -> Result<(), ConfigError> {
        make_dir(&self.state, 0o700)?;
        make_dir(&self.jobs(), 0o700)
    }
}

/// Which node this is: written once by `init` or `join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFile {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name, unique in the cluster.
    pub name: String,
    /// Where its agent listens (UDP) and where others reach it.
    pub listen: SocketAddr,
}

/// The UDP ports of a node's wardens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub RangeInclusive<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let parsed = text.split_once('-').and_then(|(first, last)| {
            let range = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
            (!range.is_empty() && *range.start() > 0).then_some(Ports(range))
        });
        parsed.ok_or_else(|| format!("`{text}` is no range of ports such as 7750-8749"))
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// Checks a node's name: it appears in host names, in file names and before a colon.
///
/// # Errors
/// A sentence that says what a name may be.
pub fn node_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > NODE_NAME_BYTES_MAX || !text.chars().all(plain) {
        return Err(format!("a node name is 1 to {NODE_NAME_BYTES_MAX} of a-z, 0-9 and `-`, not `{text}`"));
    }
    if text == "home" {
        return Err("`home` always means the home node and cannot name one".into());
    }
    Ok(text.to_owned())
}

/// Makes a node name of the machine's host name.
#[must_use]
pub fn default_node_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = host.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let name: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    node_name(name.get(..name.len().min(NODE_NAME_BYTES_MAX)).unwrap_or(&name)).unwrap_or("node".into())
}

/// The address by which this machine would reach `towards`, found without sending anything.
///
/// # Errors
/// When there is no route.
pub fn own_address(towards: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if towards.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect((towards, AGENT_PORT))?;
    Ok(socket.local_addr()?.ip())
}

/// Reads a small JSON file; `None` if it does not exist.
///
/// # Errors
/// When it cannot be read or means nothing.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ConfigError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
}

/// Writes a small JSON file for root alone, so that a reader sees the old or the new one and never a half.
///
/// # Errors
/// When it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let next = path.with_extension("json.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next).map_err(failed)?;
    io::Write::write_all(&mut file, &text).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&next, path).map_err(failed)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

/// A file or directory of the node that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its text means nothing.
    #[error("{} is damaged", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where in it.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The agents' UDP port.
pub const AGENT_PORT: u16 = 7749;

/// Where the state is kept unless a flag says otherwise.
pub const STATE_DIR: &str = "/var/lib/homing";

/// Where sockets are unless a flag says otherwise.
pub const RUN_DIR: &str = "/run/homing";

/// Beside a home warden's socket, a file that says why its family was lost; the agent tells it and removes it.
pub const LOST_FILE: &str = "lost";

/// The lease of a family that is away, in seconds, unless something else is asked for.
pub const LEASE_S: u32 = 120;

/// The wardens' UDP ports unless a flag says otherwise.
pub const WARDEN_PORTS: &str = "7750-8749";

/// The longest host name label.
const NODE_NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_range_that_holds_something() {
        assert_eq!("7750-8749".parse(), Ok(Ports(7750..=8749)));
        for bad in ["", "7750", "8749-7750", "0-5", "1-70000", "a-b"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_host_name_labels() {
        assert!(node_name("alpha-2").is_ok());
        for bad in ["", "home", "Alpha", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(node_name(bad).is_err(), "{bad}");
        }
        assert!(node_name(&default_node_name()).is_ok());
    }

    #[test]
    fn json_files_are_private_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), None);
        write_json(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), Some(vec![1, 2]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "[1,").unwrap();
        assert!(matches!(read_json::<Vec<u32>>(&path), Err(ConfigError::Parse { .. })));
    }
}
