//! From one guest to the next: home decides, the pages go directly.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use migration::image::FamilyImage;
use transport::KeyHash;

use super::peer::{COPY_LIMIT, Preparing, STEP_LIMIT, captured, clocks, copied, prepared, still};
use super::{HomeWarden, Peer};
use crate::warden::bulk::Sent;
use crate::warden::common::describe;
use crate::warden::control::{Accept, MoveReport};
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// From one guest to the next; home's deputies are not even told.
    pub(super) async fn hop(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let next = self.dial(node, accept).await?;
        let transfer = self.next_transfer();
        let copied = self.copy_on(&next, transfer).await;
        let stopped_at = Instant::now();
        let frozen = match copied {
            Ok(copied) => self.freeze(false).await.map(|()| copied),
            Err(reason) => Err(reason),
        };
        let former = self.away.take().ok_or("the family is not away")?;
        // What the deputies say from now on is for the next guest.
        let lines = std::mem::take(&mut self.outboxes);
        let ready = match frozen {
            Ok((pages, copied)) => {
                self.hand_on(&former, &next, transfer).await.map(|rest| (pages, copied, rest))
            }
            Err(reason) => Err(reason),
        };
        let granted = ready.and_then(|ready| self.grant().map(|()| ready));
        let (pages, mut sent, rest) = match granted {
            Ok(ready) => ready,
            Err(reason) => {
                self.dismiss(&next);
                self.outboxes = lines;
                self.stay(former);
                return Err(reason);
            }
        };
        sent += rest;
        // From here on the family is at the next guest, whatever becomes of it there.
        self.dismiss(&former);
        next.control.send(ToGuest::Start, Bytes::new());
        let key = next.accept.key;
        self.be_at(next);
        self.expect(|message| matches!(message, ToHome::Running).then_some(())).await?;
        self.moving = false;
        self.catch_up();
        let pause = stopped_at.elapsed();
        // For the programs that the family will start there.
        let dialled = self.bulk()?.dial(pages, key);
        self.meanwhile(dialled).await?;
        Ok(self.report(node, started, pause, sent))
    }

    /// Sends the memory from guest to guest while the family runs.
    async fn copy_on(&mut self, next: &Peer, transfer: u64) -> Result<(SocketAddr, Sent), String> {
        let pages = self.make_room(next, transfer, |former| Some(former.accept.key)).await?;
        let copy = ToGuest::Copy { pages, key: next.accept.key, transfer, rounds: true };
        self.away.as_ref().ok_or("the family is at home")?.control.send(copy, Bytes::new());
        Ok((pages, self.hear(COPY_LIMIT, |message| copied(message, transfer)).await?))
    }

    /// Lets a guest make room for the family; returns where its memory goes.
    pub(super) async fn make_room(
        &mut self,
        next: &Peer,
        transfer: u64,
        pages_from: impl FnOnce(&Peer) -> Option<KeyHash>,
    ) -> Result<SocketAddr, String> {
        let prepare = ToGuest::Prepare {
            epoch: self.epoch.next(),
            foothold: self.foothold.ok_or("no address range of homing's own")?,
            transfer,
            pages_from: self.away.as_ref().and_then(pages_from),
            lease: super::lease(&self.common),
        };
        next.control.send(prepare, Bytes::new());
        loop {
            match self.expect(prepared).await? {
                Preparing::Done(pages) => return Ok(pages),
                Preparing::Clocks(question) => {
                    let answer = ToGuest::Clocks { question, clocks: clocks().map_err(describe)? };
                    next.control.send(answer, Bytes::new());
                }
            }
        }
    }

    /// The family goes on where it is: the move did not happen.
    pub(super) fn stay(&mut self, peer: Peer) {
        peer.control.send(ToGuest::Thaw, Bytes::new());
        self.be_at(peer);
        self.unclaimed.clear();
        for (tid, messages) in std::mem::take(&mut self.held_back) {
            if let Some(outbox) = self.outboxes.get(&tid) {
                messages.into_iter().for_each(|(message, tail)| outbox.send(message, tail));
            }
        }
        if let Some(deputy) = &mut self.deputy {
            deputy.tell_all_again();
        }
        self.effects();
    }

    /// The family is there from now on. What has ended at home meanwhile must not live on there: nobody would ever end
    /// it, or bring it home.
    pub(super) fn be_at(&mut self, peer: Peer) {
        for pid in self.gone.drain(..) {
            peer.control.send(ToGuest::End(pid), Bytes::new());
        }
        self.away = Some(peer);
    }

    /// Stops the family where it is.
    pub(super) async fn freeze(&mut self, to_home: bool) -> Result<(), String> {
        let peer = self.away.as_ref().ok_or("the family is at home")?;
        self.freezes += 1;
        let attempt = self.freezes;
        if let Some(heard) = self.heard.get_mut(&peer.number) {
            heard.freeze = attempt;
        }
        peer.control.send(ToGuest::Freeze { attempt, to_home }, Bytes::new());
        self.expect(still).await
    }

    async fn hand_on(&mut self, former: &Peer, next: &Peer, transfer: u64) -> Result<Sent, String> {
        former.control.send(ToGuest::SendRest { transfer }, Bytes::new());
        let (family, sent) = self.expect(captured).await?;
        if let Some(deputy) = &mut self.deputy {
            deputy.heard(&family);
        }
        self.agree(&family).await?;
        next.control.send(ToGuest::Context { family, transfer }, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        Ok(sent)
    }

    /// Waits until the last words of threads that ended before the freeze have come.
    pub(super) async fn agree(&mut self, family: &FamilyImage) -> Result<(), String> {
        self.until_none("guest and home do not have the same threads", |deputy| deputy.strangers(family))
            .await
    }

    /// Waits until no thread is left that stands in the way.
    pub(super) async fn until_none(
        &mut self,
        trouble: &str,
        threads: impl Fn(&Deputy) -> Vec<String>,
    ) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + STEP_LIMIT;
        loop {
            let left = self.deputy.as_ref().map_or_else(Vec::new, &threads);
            if left.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, self.next_event()).await {
                Ok(Some(event)) => self.handle(event),
                _ => return Err(format!("{trouble}: {}", left.join(", "))),
            }
        }
    }
}
