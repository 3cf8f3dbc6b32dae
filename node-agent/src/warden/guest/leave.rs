//! Stopping the family, and sending it to where it goes next.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc_home::guest::Transfers;
use migration::capture::{Access, capture};
use migration::handoff::{Ask, Digest};
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::layout::{self, Side};
use migration::pages::Changed;
use migration::tracee::Waiter;
use transport::{Epoch, KeyHash};

use super::obey::Wanted;
use super::{Event, Family, GuestWarden, Stage};
use crate::warden::bulk::{Receiver, Rest, Sent, Source};
use crate::warden::common::{describe, done};

impl GuestWarden {
    /// Home wants this as soon as nothing stands in the way.
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
        self.wanted_since = Instant::now();
    }

    /// Does what home has asked for, as soon as nothing stands in the way; whatever does ends with an event.
    pub(super) fn pursue(&mut self) {
        let Some(wanted) = self.wanted else { return };
        let done = match wanted {
            Wanted::Stop { to_home, .. } => self.pursue_stop(to_home),
            Wanted::Take { transfer, .. } => self.pursue_taking(wanted.ask(), transfer),
        };
        match (done, wanted) {
            (Ok(Pursuit::Waits), _) => {}
            (Ok(Pursuit::Done), Wanted::Stop { .. }) => {
                self.wanted = None;
                self.did(wanted.ask(), None);
            }
            // The memory is on its way.
            (Ok(Pursuit::Done), Wanted::Take { .. }) => self.wanted = None,
            (Err(reason), Wanted::Stop { .. }) => {
                self.go_on();
                self.could_not(wanted.ask(), reason);
            }
            (Err(reason), Wanted::Take { .. }) => {
                self.wanted = None;
                self.could_not(wanted.ask(), reason);
            }
        }
    }

    fn pursue_stop(&mut self, to_home: bool) -> Result<Pursuit, String> {
        let Stage::Living(family) = &self.stage else { return Err(NO_FAMILY.to_owned()) };
        if family.frozen && family.guest.is_frozen() {
            return ties(family).map(|()| Pursuit::Done);
        }
        let waited = self.wanted_since.elapsed();
        if family.frozen {
            let is_late = waited >= FREEZE_LIMIT;
            let late = || format!("a thread did not stop within {FREEZE_LIMIT:?}");
            return if is_late { Err(late()) } else { Ok(Pursuit::Waits) };
        }
        let in_pieces = match family.guest.transfers() {
            Transfers::None => false,
            Transfers::Unblocked => to_home,
            Transfers::MayBlock => to_home && waited < PIECES_LIMIT,
        };
        // A process whose new program is on its way here has neither its former body nor the next one.
        let between = !family.vessels.is_empty() || !self.orders.is_empty();
        if !(family.guest.is_busy() || in_pieces || between) {
            self.wanted_since = Instant::now();
            self.freeze(to_home)?;
        }
        Ok(Pursuit::Waits)
    }

    fn pursue_taking(&mut self, ask: Ask, transfer: u64) -> Result<Pursuit, String> {
        let Stage::Living(family) = &self.stage else { return Err(NO_FAMILY.to_owned()) };
        if !(family.frozen && family.guest.is_frozen()) {
            return Err("the family does not stand still".to_owned());
        }
        if family.guest.is_ending() {
            return Ok(Pursuit::Waits);
        }
        // At the next guest a call under way is issued again; at home it must have its end first.
        if family.receiver == Receiver::Vessel || family.guest.is_settled() {
            return self.send_rest(ask, transfer).map(|()| Pursuit::Done);
        }
        tracing::debug!(calls = ?family.guest.unsettled(), "home has yet to answer");
        Ok(Pursuit::Waits)
    }

    /// Sends memory while the family runs.
    pub(super) fn copy(
        &mut self,
        epoch: Epoch,
        (pages, key): (SocketAddr, KeyHash),
        transfer: u64,
        rounds: bool,
    ) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err(NO_FAMILY.to_owned()) };
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
            drop(events.send(Event::Copied(Ask::Copy(epoch), transfer, sent.await)));
        });
        Ok(())
    }

    pub(super) fn copied(&mut self, ask: Ask, transfer: u64, sent: Result<Sent, String>) {
        match sent {
            Ok(sent) => self.has_copied(ask, transfer, sent),
            Err(reason) => self.could_not(ask, reason),
        }
    }

    /// Has every thread stop, which they tell one by one. After an error the family is to go on.
    pub(super) fn freeze(&mut self, to_home: bool) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err(NO_FAMILY.to_owned()) };
        family.frozen = true;
        family.guest.freeze(to_home).map_err(describe)
    }

    /// The family goes on here.
    pub(super) fn go_on(&mut self) {
        self.wanted = None;
        self.sending = None;
        self.forget_taken();
        if let Stage::Living(family) = &mut self.stage {
            family.frozen = false;
            family.bulk.stop();
            family.guest.thaw();
        }
    }

    /// Captures the family and starts to send the rest of its memory. Nothing waits for that here: its receiver may be
    /// gone, and home may then want the family to go on.
    fn send_rest(&mut self, ask: Ask, transfer: u64) -> Result<(), String> {
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err(NO_FAMILY.to_owned()) };
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
        self.sending = Some((ask, transfer, image));
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            drop(events.send(Event::Sent(transfer, done(rest).await)));
        });
        Ok(())
    }

    /// The memory is sent, or cannot be.
    pub(super) fn sent(&mut self, transfer: u64, sent: Result<Rest, String>) {
        let taken = self.sending.take_if(|(_, sending, _)| *sending == transfer);
        let Some((ask, _, family)) = taken else { return };
        let whole = sent.and_then(|(sent, sum)| Ok((sent, sum.with(&family).map_err(describe)?)));
        match whole {
            Ok((sent, digest)) => self.has_taken(ask, (family, sent), Digest(digest)),
            Err(reason) => self.could_not(ask, reason),
        }
    }
}

/// How far what home wants is.
enum Pursuit {
    /// Something still stands in the way, or has to come.
    Waits,
    /// As far as can be done here.
    Done,
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

const NO_FAMILY: &str = "no family";

/// From the first stopped thread to the last: a thread may have to wait for a page.
const FREEZE_LIMIT: Duration = Duration::from_secs(3);

/// For a call in pieces to end by itself before the family comes home.
const PIECES_LIMIT: Duration = Duration::from_millis(300);
