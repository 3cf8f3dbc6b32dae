//! What the guest's agent is told.

use super::{GuestWarden, Stage};
use crate::warden::common::Asked;
use crate::warden::control::{FromWarden, ProcessStatus, ToWarden, WardenRole, WardenStatus};

impl GuestWarden {
    pub(super) fn answer(&self, asked: &Asked) {
        let answer = match asked.question {
            ToWarden::Status | ToWarden::PeerGone { .. } => FromWarden::Status(self.status()),
            _ => FromWarden::Failed { reason: "only a home warden moves a family".to_owned(), goes_on: true },
        };
        // An agent that has hung up does not want to know.
        let _ = asked.answers.send(answer);
    }

    fn status(&self) -> WardenStatus {
        let mut status = WardenStatus {
            pid: std::process::id(),
            key: self.key.hash(),
            role: WardenRole::Guest,
            process: self.process,
            home_name: self.home_name.clone(),
            at: self.name.clone(),
            epoch: self.epoch(),
            moving: self.is_moving(),
            processes: Vec::new(),
            calls: 0,
            call_bytes: 0,
            refused_calls: Vec::new(),
        };
        if let Stage::Living(family) = &self.stage {
            let guest = &family.guest;
            (status.calls, status.call_bytes) = guest.traffic();
            status.refused_calls =
                guest.refused().iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            status.processes = guest
                .processes()
                .iter()
                .map(|(pid, process)| ProcessStatus {
                    pid: *pid,
                    local_pid: process.outer,
                    command: migration::procfs::command(process.outer).unwrap_or_default(),
                    threads: u32::try_from(guest.thread_count(*pid)).unwrap_or(u32::MAX),
                })
                .collect();
        }
        status
    }
}
