//! The processes in this node's care: started by `homing run` or moved at least once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{self, ConfigError};
use crate::proc::{self, Process};

/// What a node remembers of its processes. It is kept in the run directory, so that a restarted agent knows them.
#[derive(Debug)]
pub(super) struct Care {
    file: PathBuf,
    processes: BTreeMap<u32, Cared>,
}

/// One process in care.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cared {
    /// Tells it from a later process of the same pid.
    pub(super) start_ticks: u64,
    /// Its user.
    pub(super) uid: u32,
    /// With arguments. Read while it is at home: a deputy's memory is empty.
    pub(super) command_line: String,
    /// How long its last move stopped it, in microseconds.
    pub(super) last_pause_us: Option<u64>,
    /// Completed moves.
    pub(super) moves: u32,
}

impl Care {
    /// Reads what a former agent of this boot left, without what ended since.
    ///
    /// # Errors
    /// When the file is there but unusable.
    pub(super) fn load(file: PathBuf) -> Result<Care, ConfigError> {
        let processes = config::read_json(&file)?.unwrap_or_default();
        let mut care = Care { file, processes };
        care.forget_ended();
        Ok(care)
    }

    /// Takes a process into care, or looks again at one that is: `run` registers before it becomes the program.
    pub(super) fn take(&mut self, process: &Process) {
        let command_line = proc::command_line(process);
        let known = self.processes.get(&process.pid).filter(|known| known.start_ticks == process.start_ticks);
        let (last_pause_us, moves) = known.map_or((None, 0), |known| (known.last_pause_us, known.moves));
        let (start_ticks, uid) = (process.start_ticks, process.uids[0]);
        let cared = Cared { start_ticks, uid, command_line, last_pause_us, moves };
        if self.processes.len() < CARED_MAX || self.processes.contains_key(&process.pid) {
            self.processes.insert(process.pid, cared);
            self.save();
        }
    }

    /// Reads again the command line of a process that is at home: it may have become another program.
    pub(super) fn refresh(&mut self, process: &Process) {
        let Some(known) = self.processes.get_mut(&process.pid) else { return };
        let command_line = proc::command_line(process);
        if known.command_line != command_line || known.uid != process.uids[0] {
            (known.command_line, known.uid) = (command_line, process.uids[0]);
            self.save();
        }
    }

    /// Notes a completed move.
    pub(super) fn moved(&mut self, pid: u32, pause_us: u64) {
        if let Some(known) = self.processes.get_mut(&pid) {
            known.last_pause_us = Some(pause_us);
            known.moves += 1;
            self.save();
        }
    }

    /// Drops what is no longer there.
    pub(super) fn forget_ended(&mut self) {
        let before = self.processes.len();
        self.processes.retain(|pid, known| {
            proc::process(*pid)
                .is_some_and(|process| process.start_ticks == known.start_ticks && !process.zombie)
        });
        if self.processes.len() != before {
            self.save();
        }
    }

    /// One of them.
    #[must_use]
    pub(super) fn get(&self, pid: u32) -> Option<&Cared> {
        self.processes.get(&pid)
    }

    /// Their pids.
    #[must_use]
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    fn save(&self) {
        if let Err(error) = config::write_json(&self.file, &self.processes) {
            tracing::warn!("processes in care are not remembered over a restart: {error}");
        }
    }
}

/// Processes in care per node.
const CARED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_agent_knows_the_living() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("care.json");
        let own = proc::process(std::process::id()).unwrap();
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut care = Care::load(file.clone()).unwrap();
        care.take(&own);
        care.take(&proc::process(sleeper.id()).unwrap());
        care.moved(own.pid, 12);
        assert_eq!(Care::load(file.clone()).unwrap().pids().len(), 2);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        let again = Care::load(file).unwrap();
        assert_eq!(again.pids(), [own.pid]);
        assert_eq!(again.get(own.pid).unwrap().last_pause_us, Some(12));
        assert_eq!(again.get(own.pid).unwrap().moves, 1);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut care = Care::load(dir.path().join("care.json")).unwrap();
        let own = proc::process(std::process::id()).unwrap();
        care.take(&own);
        care.moved(own.pid, 12);
        care.take(&Process { start_ticks: own.start_ticks + 1, ..own.clone() });
        assert_eq!(care.get(own.pid).unwrap().moves, 0);
        care.forget_ended();
        assert_eq!(care.get(own.pid), None);
    }
}
