//! `homing doctor`: looks at what this machine needs, and names the fix of whatever it lacks. It changes nothing.

use std::fs;
use std::net::IpAddr;

use serde::Serialize;

use crate::config::{Dirs, Ports};

mod kernel;
mod machine;
mod network;

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub detail: String,
    /// What to do; `None` if nothing needs doing or nothing can be done.
    pub fix: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As needed.
    Ok,
    /// It works, but something is worth knowing.
    Note,
    /// Moves will fail.
    Fail,
}

impl State {
    /// The word that tables show.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Fail => "FAIL",
        }
    }
}

/// Where the node is or will be.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its directories.
    pub dirs: Dirs,
    /// Its address; `None` if it is in no cluster yet.
    pub ip: Option<IpAddr>,
    /// The agent's UDP port.
    pub agent_port: u16,
    /// The wardens' UDP ports.
    pub ports: Ports,
    /// True if its agent runs, which then rightly holds the port.
    pub agent_runs: bool,
}

/// Makes all checks.
#[must_use]
pub fn examine(place: &Place) -> Vec<Check> {
    let mut checks = kernel::checks();
    checks.extend(machine::checks(&place.dirs));
    checks.extend(network::checks(place));
    checks
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, state: State::Ok, detail: detail.into(), fix: None }
    }

    fn note(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, state: State::Note, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, state: State::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// A file's text without blanks around it; empty if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_is_not_ok_names_a_fix() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: dir.path().join("state"), run: dir.path().join("run") };
        let ports = "40000-40009".parse().unwrap();
        let place = Place { dirs, ip: None, agent_port: 40010, ports, agent_runs: false };
        let checks = examine(&place);
        assert!(checks.len() >= 15, "{}", checks.len());
        for check in &checks {
            assert!(!check.detail.is_empty(), "{check:?}");
            assert_eq!(check.state == State::Ok, check.fix.is_none(), "{check:?}");
        }
        let mut names: Vec<_> = checks.iter().map(|check| check.name).collect();
        names.dedup();
        assert_eq!(names.len(), checks.len(), "each check has its own name");
    }
}
