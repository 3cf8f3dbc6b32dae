//! Stopping the family, and sending it to where it goes next.

use std::fs::File;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use migration::capture::{Access, capture};
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::layout::{self, Side};
use migration::pages::{self, Changed};
use migration::tracee::Waiter;
use transport::KeyHash;

use super::{Event, Family, GuestWarden, Stage};
use crate::warden::bulk::{Load, Sent};
use crate::warden::common::{describe, done};
use crate::warden::handoff::{ToGuest, ToHome};

impl GuestWarden {
    pub(super) async fn pursue_or_fail(&mut self) {
        if let Err(reason) = self.pursue().await {
            tracing::error!(%reason, "a step of the handoff failed");
            self.control.send(ToHome::Failed(reason), Bytes::new());
        }
    }

    /// Does what home has asked for, as soon as nothing stands in the way; whatever does ends with an event.
    pub(super) async fn pursue(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Ok(()) };
        match self.wanted {
            Some(ToGuest::Freeze) if family.frozen && family.guest.is_frozen() => {
                self.wanted = None;
                self.still()
            }
            Some(ToGuest::Freeze) if !family.frozen && !family.guest.is_busy() => self.freeze(),
            Some(ToGuest::SendTo { .. }) if !(family.frozen && family.guest.is_frozen()) => {
                self.wanted = None;
                Err("the family does not stand still".to_owned())
            }
            Some(ToGuest::SendTo { pages, key, transfer })
                if key != self.home_key || family.guest.is_settled() =>
            {
                self.wanted = None;
                self.send_to(pages, key, transfer)
            }
            Some(ToGuest::SendTo { .. }) => {
                tracing::debug!(calls = ?family.guest.unsettled(), "home has yet to answer");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn freeze(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        family.frozen = true;
        family.guest.freeze().map_err(|error| self.go_on(describe(error)))
    }

    /// Tells home that every thread stands still.
    pub(super) fn still(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Err("no family".to_owned()) };
        let layouts = layouts(family).map_err(|reason| self.go_on(reason))?;
        self.control.send(ToHome::Still { layouts }, Bytes::new());
        Ok(())
    }

    /// The family goes on here, for this reason.
    pub(super) fn go_on(&mut self, reason: String) -> String {
        self.wanted = None;
        self.sending = None;
        if let Stage::Living(family) = &mut self.stage {
            family.frozen = false;
            family.guest.thaw();
        }
        reason
    }

    /// Captures the family and starts to send its pages. Nothing waits for them here: their receiver may be gone, and
    /// home may then want the family to go on.
    fn send_to(&mut self, pages: SocketAddr, key: KeyHash, transfer: u64) -> Result<(), String> {
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        let dialled = family.bulk.dial(pages, key);
        let mut image = FamilyImage::default();
        let mut answers = Vec::new();
        let pids: Vec<u32> = family.guest.processes().keys().copied().collect();
        for pid in pids {
            let seen = capture_body(family, pid, &waiter)?;
            let outer = family.guest.processes().get(&pid).map_or(0, |process| process.outer);
            let pagemap = File::open(format!("/proc/{outer}/pagemap")).map_err(describe)?;
            let runs = pages::content(&pagemap, &seen.layout, Changed::Written).map_err(describe)?;
            let memory = File::open(format!("/proc/{outer}/mem")).map_err(describe)?;
            answers.push(family.bulk.send(Load { transfer, pid, source: outer, memory, runs }));
            image.processes.push(seen);
        }
        self.transfers += 1;
        let number = self.transfers;
        self.sending = Some((number, image));
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let sent = async {
                done(dialled).await?;
                let mut total = Sent::default();
                for answer in answers {
                    total += done(answer).await?;
                }
                Ok(total)
            };
            drop(events.send(Event::Sent(number, sent.await)));
        });
        Ok(())
    }

    /// The pages are sent, or cannot be.
    pub(super) fn sent(&mut self, number: u64, sent: Result<Sent, String>) {
        let Some((_, family)) = self.sending.take_if(|(sending, _)| *sending == number) else { return };
        let message = match sent {
            Ok(Sent { batches, wire_bytes, .. }) => ToHome::Captured { family, batches, bytes: wire_bytes },
            Err(reason) => ToHome::Failed(reason),
        };
        self.control.send(message, Bytes::new());
    }
}

/// The mappings of every process of a frozen family.
pub(super) fn layouts(family: &Family) -> Result<Vec<(u32, Layout)>, String> {
    let side = Side::Guest { own: vec![family.foothold.range()] };
    let mut layouts = Vec::new();
    for (pid, process) in family.guest.processes() {
        let (layout, ties) = layout::read(process.outer, &side).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(format!("process {pid}: {tie}"));
        }
        layouts.push((*pid, layout));
    }
    Ok(layouts)
}

pub(super) fn capture_body(family: &mut Family, pid: u32, waiter: &Waiter) -> Result<ProcessImage, String> {
    let foothold = family.foothold;
    let outer = family.guest.processes().get(&pid).map_or(0, |process| process.outer);
    let (layout, _) = layout::read(outer, &Side::Guest { own: vec![foothold.range()] }).map_err(describe)?;
    let mut frozen = family.guest.lend(pid).ok_or("a process without threads")?;
    let access = Access::Trap { code: foothold.code(), scratch: foothold.scratch() };
    let seen = capture(&mut frozen, layout, access, waiter);
    family.guest.take_back(frozen);
    let mut seen = seen.map_err(describe)?;
    seen.pid = pid;
    for thread in &mut seen.threads {
        if let Some((tid, calls)) = family.guest.thread_at_home(thread.tid) {
            thread.tid = tid;
            thread.calls = calls;
        }
    }
    Ok(seen)
}
