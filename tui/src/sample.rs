//! Values for unit tests.

use crate::model::{Process, ProcessState};

/// A process of which only the name matters.
pub(crate) fn process(pid: u32, command: &str, home: &str, at: &str) -> Process {
    Process {
        pid,
        command: command.into(),
        user: "ana".into(),
        home: home.into(),
        at: at.into(),
        state: if home == at { ProcessState::Home } else { ProcessState::Away },
        cpu_percent: Some(100.0),
        threads: 1,
        rss_bytes: Some(1 << 20),
        calls_per_s: 0.0,
        call_bytes_per_s: 0.0,
        epoch: 0,
        last_pause_us: None,
        moves: 0,
    }
}
