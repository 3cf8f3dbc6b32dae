//! From one guest to the next: home decides, the pages go directly.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use migration::foothold::Foothold;
use migration::image::{FamilyImage, Layout};

use super::peer::{STEP_LIMIT, captured, clocks, prepared, still};
use super::{HomeWarden, Peer};
use crate::warden::bulk::Sent;
use crate::warden::common::{describe, done};
use crate::warden::control::{Accept, MoveReport};
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// From one guest to the next; home's deputies are not even told.
    pub(super) async fn hop(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let next = self.dial(node, accept).await?;
        let foothold = self.foothold.ok_or("the family is not away")?;
        let stopped_at = Instant::now();
        let frozen = self.freeze().await;
        let former = self.away.take().ok_or("the family is not away")?;
        // What the deputies say from now on is for the next guest.
        let lines = std::mem::take(&mut self.outboxes);
        let ready = match frozen {
            Ok(layouts) => self.hand_on(&former, &next, foothold, layouts).await,
            Err(reason) => Err(reason),
        };
        let granted = ready.and_then(|ready| self.grant().map(|()| ready));
        let (sent, pages) = match granted {
            Ok(ready) => ready,
            Err(reason) => {
                self.dismiss(&next);
                self.outboxes = lines;
                self.stay(former);
                return Err(reason);
            }
        };
        // From here on the family is at the next guest, whatever becomes of it there.
        self.dismiss(&former);
        next.control.send(ToGuest::Start, Bytes::new());
        let key = next.accept.key;
        self.away = Some(next);
        self.expect(|message| matches!(message, ToHome::Running).then_some(())).await?;
        self.moving = false;
        self.catch_up();
        let pause = stopped_at.elapsed();
        // For the programs that the family will start there.
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.dial(pages, key)).await?;
        Ok(self.report(node, started, pause, sent))
    }

    /// The family goes on where it is: the move did not happen.
    pub(super) fn stay(&mut self, peer: Peer) {
        peer.control.send(ToGuest::Thaw, Bytes::new());
        self.away = Some(peer);
        self.unclaimed.clear();
        for (tid, messages) in std::mem::take(&mut self.held_back) {
            if let Some(outbox) = self.outboxes.get(&tid) {
                messages.into_iter().for_each(|(message, tail)| outbox.send(message, tail));
            }
        }
    }

    /// Stops the family where it is.
    pub(super) async fn freeze(&mut self) -> Result<Vec<(u32, Layout)>, String> {
        let peer = self.away.as_ref().ok_or("the family is at home")?;
        peer.control.send(ToGuest::Freeze, Bytes::new());
        self.expect(still).await
    }

    pub(super) async fn hand_on(
        &mut self,
        former: &Peer,
        next: &Peer,
        foothold: Foothold,
        layouts: Vec<(u32, Layout)>,
    ) -> Result<(Sent, SocketAddr), String> {
        let prepare = ToGuest::Prepare {
            epoch: self.epoch.next(),
            foothold,
            clocks: clocks().map_err(describe)?,
            processes: layouts,
            pages_from: Some(former.accept.key),
        };
        next.control.send(prepare, Bytes::new());
        let pages = self.expect(prepared).await?;
        former.control.send(ToGuest::SendTo { pages, key: next.accept.key, transfer: 0 }, Bytes::new());
        let (family, sent) = self.expect(captured).await?;
        self.agree(&family).await?;
        next.control.send(ToGuest::Context { family, batches: sent.batches }, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        Ok((sent, pages))
    }

    /// Waits until the last words of threads that ended before the freeze have come.
    pub(super) async fn agree(&mut self, family: &FamilyImage) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + STEP_LIMIT;
        loop {
            let strangers = self.deputy.as_ref().map_or_else(Vec::new, |deputy| deputy.strangers(family));
            if strangers.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, self.next_event()).await {
                Ok(Some(event)) => self.handle(event),
                _ => return Err(format!("ended at the guest and not at home: {}", strangers.join(", "))),
            }
        }
    }
}
