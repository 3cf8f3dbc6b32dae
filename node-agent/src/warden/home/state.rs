//! What the agent is told: offers and status.

use std::time::{Duration, Instant};

use ipc_home::deputy::Deputy;
use migration::holds;
use migration::layout::{self, Side};
use migration::pages::{self};
use migration::procfs;

use super::HomeWarden;
use crate::warden::bulk::Sent;
use crate::warden::common::describe;
use crate::warden::control::{FromWarden, MoveReport, Needs, Offer, ProcessStatus, WardenRole, WardenStatus};

impl HomeWarden {
    pub(super) async fn offer(&self) -> FromWarden {
        let deadline = Instant::now() + VFORK_PATIENCE;
        let mut needs = self.needs();
        while needs.as_ref().is_err_and(|reasons| reasons.iter().all(|reason| holds::is_passing(reason)))
            && Instant::now() < deadline
        {
            tokio::time::sleep(VFORK_LOOK).await;
            needs = self.needs();
        }
        match needs {
            Ok(needs) => FromWarden::Offer(Offer {
                process: self.process,
                home_name: self.common.node_name.clone(),
                command: procfs::command(self.pid).unwrap_or_default(),
                epoch: self.residence.promised().next(),
                home_key: self.key.hash(),
                needs,
            }),
            Err(reasons) => FromWarden::Refused(reasons),
        }
    }

    /// What the family needs, or why it cannot move. Nothing is stopped for it.
    pub(super) fn needs(&self) -> Result<Needs, Vec<String>> {
        let unreadable = |error: std::io::Error| vec![self.reason(describe(error))];
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

    /// A step has failed.
    pub(super) fn failure(&self, reason: String) -> FromWarden {
        FromWarden::Failed { goes_on: how_it_ended(self.pid).is_none(), reason: self.reason(reason) }
    }

    /// Why a step failed: if the program has ended, then probably for that.
    fn reason(&self, reason: String) -> String {
        match how_it_ended(self.pid) {
            Some(how) => format!("process {} {how} while it was being moved ({reason})", self.pid),
            None => reason,
        }
    }

    pub(super) fn report(&self, at: &str, started: Instant, pause: Duration, sent: Sent) -> MoveReport {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        MoveReport {
            epoch: self.residence.epoch(),
            at: at.to_owned(),
            bytes_sent: sent.wire_bytes,
            bytes_resident: sent.raw_bytes,
            rounds: sent.rounds,
            pause_us: micros(pause),
            total_us: micros(started.elapsed()),
        }
    }

    pub(super) fn status(&self) -> WardenStatus {
        let pids = self.deputy.as_ref().map_or_else(|| vec![self.pid], |deputy| deputy.pids().collect());
        WardenStatus {
            pid: std::process::id(),
            key: self.key.hash(),
            role: WardenRole::Home,
            process: self.process,
            home_name: self.common.node_name.clone(),
            at: self.present().map_or_else(|| self.common.node_name.clone(), |peer| peer.node.clone()),
            epoch: self.residence.epoch(),
            moving: self.under_way.is_some(),
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
            refused_calls: self.refused.total(),
        }
    }
}

/// How a process has ended, in words; `None` if it has not.
pub(super) fn how_it_ended(pid: u32) -> Option<String> {
    let Ok(state) = procfs::state(&pid.to_string()) else { return Some("ended".to_owned()) };
    if !matches!(state, 'Z' | 'X') {
        return None;
    }
    let status = procfs::stat_field(pid, EXIT_STATUS_FIELD).unwrap_or(0);
    Some(match status & 0x7f {
        0 => format!("ended (exit {})", status >> 8 & 0xff),
        signal => format!("ended (signal {signal})"),
    })
}

/// `exit_code` in proc(5)'s list for `stat`.
const EXIT_STATUS_FIELD: usize = 52;

pub(super) fn ties(pid: u32) -> std::io::Result<Vec<String>> {
    let mut reasons = holds::holds(pid)?;
    reasons.extend(layout::read(pid, &Side::Home)?.1.iter().map(ToString::to_string));
    Ok(reasons)
}

pub(super) fn resident_bytes(pid: u32) -> std::io::Result<u64> {
    Ok(statm(pid)?.0)
}

/// What is in memory and is not a file's.
pub(super) fn private_bytes(pid: u32) -> std::io::Result<u64> {
    let (resident, shared) = statm(pid)?;
    Ok(resident.saturating_sub(shared))
}

/// Resident bytes, and those of them that belong to files.
fn statm(pid: u32) -> std::io::Result<(u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let mut words = text.split_whitespace().skip(1).map(|word| word.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    Ok((resident * pages::PAGE, shared * pages::PAGE))
}

/// A child of vfork(2) that has not started its program by then may never do so.
const VFORK_PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks at it.
const VFORK_LOOK: Duration = Duration::from_millis(5);
