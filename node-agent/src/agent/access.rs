//! Who may do what with which process.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::exit::{ExitCode, Failure};
use crate::proc::{self, Process};

/// Who asks, as the kernel says it of the other end of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Effective user.
    pub(super) uid: u32,
    /// Process, in the agent's pid namespace; `None` if it has no pid there.
    pub(super) pid: Option<u32>,
}

impl Caller {
    /// True if this user sees command lines of, and may move, processes of `uid`.
    #[must_use]
    pub(super) fn may_touch(&self, uid: u32) -> bool {
        self.uid == 0 || self.uid == uid
    }

    /// Tokens and members are root's business.
    ///
    /// # Errors
    /// `NotAllowed` for everyone else.
    pub(super) fn require_root(&self, what: &str) -> Result<(), Failure> {
        if self.uid == 0 {
            return Ok(());
        }
        let why = format!("only root may, you are uid {}", self.uid);
        Err(Failure::new(ExitCode::NotAllowed, what, why).next("use sudo"))
    }
}

/// Finds a process of this node that the caller may move.
///
/// `names_of_node` names the node of this machine that has a given network namespace, if that is known.
///
/// # Errors
/// `NotFound` if it is not there or belongs to another node, `NotAllowed` if it is somebody else's, `Refused` if
/// it is none that could ever move.
pub(super) fn find(
    pid: u32,
    caller: Caller,
    node: &str,
    name_of_node: impl FnOnce(u64) -> Option<String>,
) -> Result<Process, Failure> {
    let what = || format!("cannot use process {pid} at {node}");
    let missing = || {
        Failure::new(ExitCode::NotFound, what(), format!("{node} has no process {pid}"))
            .next("list what there is: homing ps --all")
    };
    let process = proc::process(pid).filter(|process| !process.zombie).ok_or_else(missing)?;
    if process.kernel {
        return Err(Failure::new(ExitCode::Refused, what(), format!("{} is a kernel thread", process.comm)));
    }
    if !(caller.uid == 0 || process.belongs_to(caller.uid)) {
        let why = format!("it belongs to {}", proc::user_name(process.uids[0]));
        return Err(Failure::new(ExitCode::NotAllowed, what(), why).next("ask its owner or root"));
    }
    let namespace = match proc::network_namespace(pid) {
        Ok(namespace) => namespace,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(Failure::new(ExitCode::Failed, what(), error)),
    };
    let own = proc::network_namespace(0).map_err(|error| Failure::new(ExitCode::Failed, what(), error))?;
    if namespace == own {
        return Ok(process);
    }
    let (why, next) = match name_of_node(namespace) {
        Some(other) => (
            format!("it belongs to {other}, in whose network namespace it runs"),
            format!("ask the agent of {other}, with --socket or HOMING_SOCKET"),
        ),
        None => (
            "it runs in another network namespace, perhaps in a container".into(),
            "start an agent in that namespace".into(),
        ),
    };
    Err(Failure::new(ExitCode::NotFound, what(), why).next(next))
}

/// Refuses to move agents and wardens: they are what moves the others.
///
/// # Errors
/// `Refused` for a process that runs the program `homing`.
pub(super) fn check_not_homing(process: &Process, homing: &Path, node: &str) -> Result<(), Failure> {
    let file = |path: &Path| std::fs::metadata(path).map(|seen| (seen.dev(), seen.ino()));
    match (file(Path::new(&format!("/proc/{}/exe", process.pid))), file(homing)) {
        (Ok(theirs), Ok(own)) if theirs == own => {
            let what = format!("cannot move {} ({}) from {node}", process.pid, process.comm);
            Err(Failure::new(ExitCode::Refused, what, "it is a part of homing, which moves the others"))
        }
        _ => Ok(()),
    }
}

/// Checks the rule for uid 0: a body's calls run at home as its user, so a node that holds a body of root could do
/// anything at home.
///
/// # Errors
/// `NotAllowed` for a process with any right of uid 0, unless the agent allows it.
pub(super) fn check_root(process: &Process, node: &str, allow_root: bool) -> Result<(), Failure> {
    if allow_root || !process.uids.contains(&0) {
        return Ok(());
    }
    let what = format!("cannot move {} ({}) from {node}", process.pid, process.comm);
    let why = "it runs as uid 0, and whoever holds its body could act as root here";
    let next = "run it as another user, or start the agents with --allow-root";
    Err(Failure::new(ExitCode::NotAllowed, what, why).next(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Caller = Caller { uid: 0, pid: None };
    const ANA: Caller = Caller { uid: 64_123, pid: None };

    fn code(result: Result<Process, Failure>) -> ExitCode {
        result.unwrap_err().code
    }

    #[test]
    fn only_its_owner_and_root_find_a_process() {
        let own = std::process::id();
        assert_eq!(find(own, ROOT, "n1", |_| None).unwrap().pid, own);
        assert_eq!(code(find(own, ANA, "n1", |_| None)), ExitCode::NotAllowed);
        assert_eq!(code(find(u32::MAX, ROOT, "n1", |_| None)), ExitCode::NotFound);
    }

    #[test]
    fn a_process_of_another_namespace_belongs_to_another_node() {
        let mut sleeper = match std::process::Command::new("unshare").args(["-n", "sleep", "60"]).spawn() {
            Ok(child) => child,
            Err(error) => panic!("unshare of util-linux is needed: {error}"),
        };
        let pid = sleeper.id();
        let own = proc::network_namespace(0).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while proc::network_namespace(pid).is_ok_and(|namespace| namespace == own)
            && std::time::Instant::now() < deadline
        {
            std::thread::yield_now();
        }
        let named = find(pid, ROOT, "n1", |_| Some("n2".into()));
        let unnamed = find(pid, ROOT, "n1", |_| None);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let named = named.unwrap_err();
        assert_eq!(named.code, ExitCode::NotFound);
        assert!(named.to_string().contains("belongs to n2"), "{named}");
        assert_eq!(code(unnamed), ExitCode::NotFound);
    }

    #[test]
    fn root_moves_only_where_that_is_allowed() {
        let own = proc::process(std::process::id()).unwrap();
        assert_eq!(
            check_not_homing(&own, Path::new("/proc/self/exe"), "n1").unwrap_err().code,
            ExitCode::Refused
        );
        let setuid = Process { uids: [1000, 0, 0], ..own.clone() };
        let plain = Process { uids: [1000; 3], ..own };
        assert_eq!(check_root(&setuid, "n1", false).unwrap_err().code, ExitCode::NotAllowed);
        assert!(check_root(&setuid, "n1", true).is_ok());
        assert!(check_root(&plain, "n1", false).is_ok());
    }

    #[test]
    fn tokens_are_roots_business() {
        assert!(ROOT.require_root("cannot make a token").is_ok());
        assert_eq!(ANA.require_root("cannot make a token").unwrap_err().code, ExitCode::NotAllowed);
    }
}
