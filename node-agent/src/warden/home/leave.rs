//! From home to a guest.

use std::fs::File;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::Frozen;
use migration::image::{FamilyImage, ProcessImage};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::{self, Changed};

use super::peer::{clocks, prepared};
use super::{HomeWarden, Peer};
use crate::warden::bulk::{Load, Sent};
use crate::warden::common::{describe, done};
use crate::warden::control::{Accept, MoveReport};
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// From home to a guest.
    pub(super) async fn leave(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let peer = self.dial(node, accept).await?;
        let pid = self.pid;
        let area = HealingArea::find(pid).map_err(describe)?;
        let stopped_at = Instant::now();
        let mut frozen = Frozen::new(pid, &self.waiter).map_err(describe)?;
        let begun = match self.send_out(&peer, &mut frozen, &area).await {
            Ok(ready) => self.begin(&peer).await.map(|()| ready),
            Err(reason) => Err(reason),
        };
        let (image, foothold, sent) = match begun {
            Ok(ready) => ready,
            Err(reason) => {
                // No call of the body was executed yet, so the program goes on here; its next epoch is a newer one.
                frozen.thaw();
                // The page stays a private copy until the next move drops it.
                let _ = area.erase();
                self.dismiss(&peer);
                self.too_early.clear();
                self.outboxes.clear();
                return Err(reason);
            }
        };
        let pause = stopped_at.elapsed();
        let shadows = deputize(frozen, &image, &area, foothold, &self.waiter).map_err(describe)?;
        let mut deputy = Deputy::new(foothold, Rc::clone(&self.waiter));
        deputy.adopt(&image, shadows).map_err(describe)?;
        self.deputy = Some(deputy);
        self.foothold = Some(foothold);
        self.away = Some(peer);
        self.moving = false;
        self.catch_up();
        Ok(self.report(node, started, pause, sent))
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

    pub(super) async fn send_out(
        &mut self,
        peer: &Peer,
        frozen: &mut Frozen,
        area: &HealingArea,
    ) -> Result<(ProcessImage, Foothold, Sent), String> {
        let pid = self.pid;
        let (layout, ties) = layout::read(pid, &Side::Home).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(format!("cannot move: {tie}"));
        }
        let foothold = Foothold::find(&layout).ok_or("the address space is full")?;
        let prepare = ToGuest::Prepare {
            epoch: self.epoch.next(),
            foothold,
            clocks: clocks().map_err(describe)?,
            processes: vec![(pid, layout.clone())],
            pages_from: None,
        };
        peer.control.send(prepare, Bytes::new());
        let pages = self.expect(prepared).await?;
        self.start_bulk()?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.dial(pages, peer.accept.key)).await?;
        let image = capture(frozen, layout, Access::Healing(area), &self.waiter).map_err(describe)?;
        let sent = self.send_pages(&image, area).await?;
        let family = FamilyImage { processes: vec![image.clone()] };
        peer.control.send(ToGuest::Context { family, batches: sent.batches }, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        Ok((image, foothold, sent))
    }

    pub(super) async fn send_pages(&self, image: &ProcessImage, area: &HealingArea) -> Result<Sent, String> {
        let pid = image.pid;
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).map_err(describe)?;
        let runs = pages::content(&pagemap, &image.layout, Changed::Copied).map_err(describe)?;
        let runs = pages::without(runs, area.page());
        let memory = File::open(format!("/proc/{pid}/mem")).map_err(describe)?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.send(Load { transfer: 0, pid, source: pid, memory, runs })).await
    }
}
