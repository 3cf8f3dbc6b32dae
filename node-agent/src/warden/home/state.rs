//! What the agent is told: offers and status.

use std::time::{Duration, Instant};

use ipc_home::deputy::Deputy;
use migration::layout::{self, Side};
use migration::pages::{self};
use migration::procfs;

use super::HomeWarden;
use crate::warden::bulk::Sent;
use crate::warden::control::{FromWarden, MoveReport, Needs, Offer, ProcessStatus, WardenRole, WardenStatus};

impl HomeWarden {
    pub(super) fn offer(&self) -> FromWarden {
        match self.needs() {
            Ok(needs) => FromWarden::Offer(Offer {
                process: self.process,
                home_name: self.common.node_name.clone(),
                command: procfs::command(self.pid).unwrap_or_default(),
                epoch: self.epoch.next(),
                home_key: self.key.hash(),
                needs,
            }),
            Err(reasons) => FromWarden::Refused(reasons),
        }
    }

    /// What the family needs, or why it cannot move. Nothing is stopped for it.
    pub(super) fn needs(&self) -> Result<Needs, Vec<String>> {
        let unreadable = |error: std::io::Error| vec![format!("process {}: {error}", self.pid)];
        let pid = self.pid;
        let uid = procfs::status_value(&pid.to_string(), "Uid").map_err(unreadable)?;
        let uid = uid.split_whitespace().next().and_then(|uid| uid.parse().ok()).unwrap_or(0);
        let mut needs = Needs {
            memory_bytes: resident_bytes(pid).map_err(unreadable)?,
            processes: 1,
            threads: u32::try_from(procfs::threads(pid).map_err(unreadable)?.len()).unwrap_or(u32::MAX),
            uid,
            cpu: crate::proc::cpu(),
        };
        if let Some(deputy) = &self.deputy {
            needs.processes = u32::try_from(deputy.pids().count()).unwrap_or(u32::MAX);
            return Ok(needs);
        }
        let reasons = ties(pid).map_err(unreadable)?;
        if reasons.is_empty() { Ok(needs) } else { Err(reasons) }
    }

    pub(super) fn report(&self, at: &str, started: Instant, pause: Duration, sent: Sent) -> MoveReport {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        MoveReport {
            epoch: self.epoch,
            at: at.to_owned(),
            bytes_sent: sent.wire_bytes,
            bytes_resident: sent.raw_bytes,
            rounds: 0,
            pause_us: micros(pause),
            total_us: micros(started.elapsed()),
        }
    }

    pub(super) fn status(&self) -> WardenStatus {
        let pids = self.deputy.as_ref().map_or_else(|| vec![self.pid], |deputy| deputy.pids().collect());
        WardenStatus {
            role: WardenRole::Home,
            process: self.process,
            home_name: self.common.node_name.clone(),
            at: self.away.as_ref().map_or_else(|| self.common.node_name.clone(), |peer| peer.node.clone()),
            epoch: self.epoch,
            moving: self.moving,
            processes: pids
                .into_iter()
                .map(|pid| ProcessStatus {
                    pid,
                    local_pid: pid,
                    command: procfs::command(pid).unwrap_or_default(),
                    threads: procfs::threads(pid)
                        .map_or(0, |threads| u32::try_from(threads.len()).unwrap_or(u32::MAX)),
                })
                .collect(),
            calls: self.deputy.as_ref().map_or(0, Deputy::calls),
            call_bytes: self.call_bytes,
            refused_calls: Vec::new(),
        }
    }
}

pub(super) fn ties(pid: u32) -> std::io::Result<Vec<String>> {
    Ok(layout::read(pid, &Side::Home)?.1.iter().map(ToString::to_string).collect())
}

pub(super) fn resident_bytes(pid: u32) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(pages * pages::PAGE)
}
