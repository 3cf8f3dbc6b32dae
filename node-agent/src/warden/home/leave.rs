//! From home to a guest.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::Frozen;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::Changed;
use migration::precopy::BYTES_MIN;
use migration::sys::signal;
use migration::tracking::SharedWritten;
use migration::watch;

use super::state::private_bytes;
use super::{HomeWarden, Peer};
use crate::warden::bulk::{Sent, Source};
use crate::warden::common::describe;
use crate::warden::control::{Accept, MoveReport};
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// From home to a guest.
    pub(super) async fn leave(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let peer = self.dial(node, accept).await?;
        let transfer = self.next_transfer();
        let copied = self.copy_out(&peer, transfer).await;
        let stopped_at = Instant::now();
        let stopped = copied.and_then(|(copied, area)| Ok((copied, self.stop_at_home(area)?)));
        let (mut sent, (mut frozen, area)) = match stopped {
            Ok(stopped) => stopped,
            Err(reason) => {
                self.call_off(&peer);
                return Err(reason);
            }
        };
        let begun = match self.send_out(&peer, &mut frozen, &area, transfer).await {
            Ok(ready) => self.begin(&peer).await.map(|()| ready),
            Err(reason) => Err(reason),
        };
        let (image, rest) = match begun {
            Ok(ready) => ready,
            Err(reason) => {
                // No call of the body was executed yet, so the program goes on here; its next epoch is a newer one.
                frozen.thaw();
                // The page stays a private copy until a later move drops it.
                let _ = area.erase();
                self.call_off(&peer);
                return Err(reason);
            }
        };
        let pause = stopped_at.elapsed();
        sent += rest;
        if let Err(reason) = self.become_deputy(frozen, &image, &area) {
            tracing::error!(reason, "the program at home does not become a deputy: its family ends");
            // The body runs, so what is here is no program any more, and without a shadow the body cannot go on.
            let _ = signal::kill(self.pid, libc::SIGKILL);
            self.dismiss(&peer);
            return Err(reason);
        }
        // The kernel forgets the tracking of memory that was moved aside at once, and of any other in 14 ms for 256 MiB.
        self.bulk()?.settle();
        self.be_at(peer);
        self.moving = false;
        self.catch_up();
        Ok(self.report(node, started, pause, sent))
    }

    fn become_deputy(
        &mut self,
        frozen: Frozen,
        image: &ProcessImage,
        area: &HealingArea,
    ) -> Result<(), String> {
        let foothold = self.foothold.ok_or("no address range of homing's own")?;
        let shadows = deputize(frozen, image, area, foothold, &self.waiter).map_err(describe)?;
        let mut deputy = Deputy::new(foothold, Rc::clone(&self.waiter));
        deputy.adopt(image, shadows).map_err(describe)?;
        self.deputy = Some(deputy);
        Ok(())
    }

    /// The program goes on at home; nothing else of the attempt stays.
    fn call_off(&mut self, peer: &Peer) {
        self.dismiss(peer);
        if let Some(bulk) = &self.bulk {
            bulk.stop();
        }
        self.foothold = None;
        self.too_early.clear();
        self.outboxes.clear();
    }

    /// Stops the program where it is and finds room for injected code, unless that was found before.
    fn stop_at_home(&self, area: Option<HealingArea>) -> Result<(Frozen, HealingArea), String> {
        let frozen = Frozen::new(self.pid, &self.waiter).map_err(describe)?;
        match area.map_or_else(|| HealingArea::find_unused(&frozen), Ok) {
            Ok(area) => Ok((frozen, area)),
            Err(error) => {
                frozen.thaw();
                Err(describe(error))
            }
        }
    }

    /// Sends memory while the program runs.
    async fn copy_out(&mut self, peer: &Peer, transfer: u64) -> Result<(Sent, Option<HealingArea>), String> {
        let layout = self.movable_layout(&Side::Home)?;
        self.foothold = Some(Foothold::find(&layout).ok_or("the address space is full")?);
        let pages = self.make_room(peer, transfer, |_| None).await?;
        let dialled = self.bulk()?.dial(pages, peer.accept.key);
        self.meanwhile(dialled).await?;
        let (tracker, area) = self.track()?.map_or((None, None), |(uffd, area)| (uffd, Some(area)));
        let sources = vec![source(self.pid, area.as_ref(), tracker)];
        let copied = self.bulk()?.copy(transfer, sources);
        Ok((self.meanwhile(copied).await?, area))
    }

    fn movable_layout(&self, side: &Side) -> Result<Layout, String> {
        let (layout, ties) = layout::read(self.pid, side).map_err(describe)?;
        ties.first().map_or(Ok(layout), |tie| Err(format!("cannot move: {tie}")))
    }

    /// Has the program's writes tracked, if it has enough memory to make that worth a stop of a millisecond.
    fn track(&self) -> Result<Option<(Option<OwnedFd>, HealingArea)>, String> {
        if private_bytes(self.pid).map_err(describe)? < TRACKED_BYTES_MIN {
            return Ok(None);
        }
        let (mut frozen, area) = self.stop_at_home(None)?;
        let tracker = watch::writes(&mut frozen, &area, &self.waiter).map_err(describe);
        frozen.thaw();
        area.erase().map_err(describe)?;
        Ok(Some((tracker?, area)))
    }

    /// The point of no return: home's record of the new epoch. Then the body runs.
    async fn begin(&mut self, peer: &Peer) -> Result<(), String> {
        self.grant()?;
        peer.control.send(ToGuest::Start, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Running).then_some(())).await
    }

    /// Messages that came before their deputies.
    pub(super) fn catch_up(&mut self) {
        for (tid, message, tail) in std::mem::take(&mut self.too_early) {
            if let Some(deputy) = &mut self.deputy {
                deputy.message(tid, message, tail);
            }
        }
        self.reap();
        self.effects();
    }

    async fn send_out(
        &mut self,
        peer: &Peer,
        frozen: &mut Frozen,
        area: &HealingArea,
        transfer: u64,
    ) -> Result<(ProcessImage, Sent), String> {
        let layout = self.movable_layout(&Side::HomeTracked)?;
        let taken = self.foothold.ok_or("no address range of homing's own")?.range();
        if layout.vmas.iter().any(|vma| vma.start < taken.end && taken.start < vma.end) {
            return Err("the program has just mapped something at homing's addresses; try again".to_owned());
        }
        // The pages thread reads memory while this one reads registers.
        let memory = vec![(source(self.pid, Some(area), None), layout.clone())];
        let rest = self.bulk()?.rest(transfer, memory);
        let image = capture(frozen, layout, Access::Healing(area), &self.waiter).map_err(describe)?;
        let family = FamilyImage { processes: vec![image.clone()] };
        peer.control.send(ToGuest::Context { family, transfer }, Bytes::new());
        let sent = self.meanwhile(rest).await?;
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        Ok((image, sent))
    }
}

/// A program at home as the pages thread sees it.
pub(super) fn source(pid: u32, area: Option<&HealingArea>, uffd: Option<OwnedFd>) -> Source {
    Source {
        pid,
        outer: pid,
        side: Side::HomeTracked,
        changed: Changed::Copied,
        uffd,
        written: SharedWritten::default(),
        left_out: area.map_or_else(Vec::new, |area| area.pages().collect()),
    }
}

/// Below this the whole memory goes faster than it is tracked.
const TRACKED_BYTES_MIN: u64 = 4 * BYTES_MIN;
