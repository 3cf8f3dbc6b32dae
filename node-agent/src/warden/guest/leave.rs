//! Stopping the family, and sending it to where it goes next.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_home::guest::Transfers;
use migration::capture::{Access, capture};
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::layout::{self, Side};
use migration::pages::Changed;
use migration::tracee::Waiter;
use transport::KeyHash;

use super::{Event, Family, GuestWarden, Stage};
use crate::warden::bulk::{Receiver, Sent, Source};
use crate::warden::common::{describe, done};
use crate::warden::handoff::{ToGuest, ToHome};

impl GuestWarden {
    pub(super) async fn pursue_or_fail(&mut self) {
        if let Err(reason) = self.pursue().await {
            self.failed(reason);
        }
    }

    pub(super) fn failed(&self, reason: String) {
        tracing::error!(%reason, "a step of the handoff failed");
        self.control.send(ToHome::Failed { attempt: self.attempt, reason }, Bytes::new());
    }

    /// Does what home has asked for, as soon as nothing stands in the way; whatever does ends with an event.
    pub(super) async fn pursue(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Ok(()) };
        match self.wanted {
            Some(ToGuest::Freeze { .. }) if family.frozen && family.guest.is_frozen() => {
                self.wanted = None;
                self.still()
            }
            Some(ToGuest::Freeze { .. }) if family.frozen => {
                if self.wanted_since.elapsed() < FREEZE_LIMIT {
                    return Ok(());
                }
                Err(self.go_on(format!("a thread did not stop within {FREEZE_LIMIT:?}")))
            }
            Some(ToGuest::Freeze { to_home, .. }) => {
                let in_pieces = match family.guest.transfers() {
                    Transfers::None => false,
                    Transfers::Unblocked => to_home,
                    Transfers::MayBlock => to_home && self.wanted_since.elapsed() < PIECES_LIMIT,
                };
                // A process whose new program is on its way here has neither its former body nor the next one.
                let between = !family.vessels.is_empty() || !self.orders.is_empty();
                if family.guest.is_busy() || in_pieces || between { Ok(()) } else { self.freeze(to_home) }
            }
            Some(ToGuest::SendRest { .. }) if !(family.frozen && family.guest.is_frozen()) => {
                self.wanted = None;
                Err("the family does not stand still".to_owned())
            }
            Some(ToGuest::SendRest { .. }) if family.guest.is_ending() => Ok(()),
            // At the next guest a call under way is issued again; at home it must have its end first.
            Some(ToGuest::SendRest { transfer })
                if family.receiver == Receiver::Vessel || family.guest.is_settled() =>
            {
                self.wanted = None;
                self.send_rest(transfer)
            }
            Some(ToGuest::SendRest { .. }) => {
                tracing::debug!(calls = ?family.guest.unsettled(), "home has yet to answer");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends memory while the family runs.
    pub(super) fn copy(
        &mut self,
        pages: SocketAddr,
        key: KeyHash,
        transfer: u64,
        rounds: bool,
    ) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        family.receiver = if key == self.home_key { Receiver::Deputy } else { Receiver::Vessel };
        let dialled = family.bulk.dial(pages, key);
        let copied = match rounds {
            true => {
                let mut sources = sources(family)?;
                // Two that looked at the same memory would each take signs away from the other.
                sources.retain(|source| {
                    family.guest.processes().get(&source.pid).is_some_and(|process| !process.borrows_memory)
                });
                Some(family.bulk.copy(transfer, sources))
            }
            false => None,
        };
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            let sent = async {
                done(dialled).await?;
                match copied {
                    Some(copied) => done(copied).await,
                    None => Ok(Sent::default()),
                }
            };
            drop(events.send(Event::Copied(transfer, sent.await)));
        });
        Ok(())
    }

    pub(super) fn copied(&mut self, transfer: u64, sent: Result<Sent, String>) {
        self.control.send(ToHome::Copied { transfer, sent }, Bytes::new());
    }

    pub(super) fn freeze(&mut self, to_home: bool) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        family.frozen = true;
        self.wanted_since = Instant::now();
        family.guest.freeze(to_home).map_err(|error| self.go_on(describe(error)))
    }

    /// Tells home that every thread stands still.
    pub(super) fn still(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Err("no family".to_owned()) };
        ties(family).map_err(|reason| self.go_on(reason))?;
        self.control.send(ToHome::Still { attempt: self.attempt }, Bytes::new());
        Ok(())
    }

    /// The family goes on here, for this reason.
    pub(super) fn go_on(&mut self, reason: String) -> String {
        self.wanted = None;
        self.sending = None;
        if let Stage::Living(family) = &mut self.stage {
            family.frozen = false;
            family.bulk.stop();
            family.guest.thaw();
        }
        reason
    }

    /// Captures the family and starts to send the rest of its memory. Nothing waits for that here: its receiver may be
    /// gone, and home may then want the family to go on.
    fn send_rest(&mut self, transfer: u64) -> Result<(), String> {
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        let mut memory = Vec::new();
        for source in sources(family)? {
            let (layout, _) = layout::read(source.outer, &source.side).map_err(describe)?;
            memory.push((source, layout));
        }
        let layouts: Vec<(u32, Layout)> =
            memory.iter().map(|(source, layout)| (source.pid, layout.clone())).collect();
        let rest = family.bulk.rest(transfer, memory);
        // The pages thread reads memory while this one reads registers.
        let mut image = FamilyImage::default();
        for (pid, layout) in layouts {
            image.processes.push(capture_body(family, pid, layout, &waiter)?);
        }
        self.sending = Some((transfer, image));
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            drop(events.send(Event::Sent(transfer, done(rest).await)));
        });
        Ok(())
    }

    /// The memory is sent, or cannot be.
    pub(super) fn sent(&mut self, transfer: u64, sent: Result<Sent, String>) {
        let Some((_, family)) = self.sending.take_if(|(sending, _)| *sending == transfer) else { return };
        let attempt = self.attempt;
        let message = match sent {
            Ok(sent) => ToHome::Captured { attempt, family, sent },
            Err(reason) => ToHome::Failed { attempt, reason },
        };
        self.control.send(message, Bytes::new());
    }
}

fn side(family: &Family) -> Side {
    Side::Guest { own: vec![family.foothold.range()] }
}

/// Every process of the family, as the pages thread sees it.
fn sources(family: &Family) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for (pid, process) in family.guest.processes() {
        sources.push(Source {
            pid: *pid,
            outer: process.outer,
            side: side(family),
            changed: Changed::Written,
            uffd: Some(process.uffd.try_clone().map_err(describe)?),
            written: process.written.clone(),
            left_out: Vec::new(),
        });
    }
    Ok(sources)
}

/// Whatever a frozen family has mapped meanwhile that cannot move.
fn ties(family: &Family) -> Result<(), String> {
    for (pid, process) in family.guest.processes() {
        let (_, ties) = layout::read(process.outer, &side(family)).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(format!("process {pid}: {tie}"));
        }
    }
    Ok(())
}

fn capture_body(
    family: &mut Family,
    pid: u32,
    layout: Layout,
    waiter: &Waiter,
) -> Result<ProcessImage, String> {
    let foothold = family.foothold;
    let mut frozen = family.guest.lend(pid).ok_or("a process without threads")?;
    let access = Access::Trap { code: foothold.code(), scratch: foothold.scratch() };
    let seen = capture(&mut frozen, layout, access, waiter);
    family.guest.take_back(frozen);
    let mut seen = seen.map_err(describe)?;
    seen.pid = pid;
    for thread in &mut seen.threads {
        family.guest.complete_image(thread);
    }
    Ok(seen)
}

/// From the first stopped thread to the last: a thread may have to wait for a page.
const FREEZE_LIMIT: Duration = Duration::from_secs(3);

/// For a call in pieces to end by itself before the family comes home.
const PIECES_LIMIT: Duration = Duration::from_millis(300);
