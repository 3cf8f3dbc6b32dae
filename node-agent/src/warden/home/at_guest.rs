//! What home has a guest do for a move: the next one, or the one where the family is.

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use migration::handoff::{Answer, Ask, Digest};
use migration::image::FamilyImage;
use transport::Epoch;

use super::peer::STEP_LIMIT;
use super::{HomeWarden, Peer};
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// Asks the guest warden of this number; `None` where no answer is waited for.
    pub(super) async fn at_guest(&mut self, number: u64, ask: Ask) -> Result<Option<Answer>, String> {
        // A seat is asked for one deed at a time: what is not claimed by now answers a former one.
        self.unclaimed.retain(|(peer, message)| *peer != number || message.answer().is_none());
        match ask {
            Ask::Prepare(epoch) => self.make_room(number, epoch).await?,
            Ask::Copy(epoch) => self.copy_on(number, epoch).await?,
            Ask::Stop(epoch) => self.stop_at_guest(number, epoch).await?,
            Ask::Take(epoch) => return Ok(Some(Answer::Taken(epoch, self.take_from(number, epoch).await?))),
            Ask::Accept(epoch, digest) => self.give_to(number, epoch, digest).await?,
            Ask::Start(epoch) => {
                self.say(number, ToGuest::Start { epoch })?;
                self.answer_of(number, ask).await?;
            }
            Ask::GoOn { former, epoch } => self.stay(number, former, epoch).await?,
            Ask::Discard(_) => self.discard(number),
        }
        Ok(match ask {
            Ask::Prepare(epoch) => Some(Answer::Prepared(epoch)),
            Ask::Copy(epoch) => Some(Answer::Copied(epoch)),
            Ask::Stop(epoch) => Some(Answer::Stopped(epoch)),
            Ask::Accept(epoch, digest) => Some(Answer::Accepted(epoch, digest)),
            Ask::Start(epoch) | Ask::GoOn { epoch, .. } => Some(Answer::Runs(epoch)),
            Ask::Take(_) | Ask::Discard(_) => None,
        })
    }

    /// Lets a guest make room for the family.
    async fn make_room(&mut self, number: u64, epoch: Epoch) -> Result<(), String> {
        if self.deputy.is_none() {
            self.choose_foothold()?;
        }
        let prepare = ToGuest::Prepare {
            epoch,
            foothold: self.foothold.ok_or("no address range of homing's own")?,
            transfer: self.under_way()?.transfer,
            pages_from: self.away.as_ref().map(|peer| peer.accept.key),
            lease: super::lease(&self.common),
        };
        self.say(number, prepare)?;
        if let ToHome::Prepared { pages, .. } = self.answer_of(number, Ask::Prepare(epoch)).await? {
            self.under_way()?.pages = Some(pages);
        }
        Ok(())
    }

    /// The guest sends memory while the family runs there.
    async fn copy_on(&mut self, number: u64, epoch: Epoch) -> Result<(), String> {
        let copied = self.copy_with(number, epoch, true).await;
        let Err(reason) = copied else { return Ok(()) };
        if !self.under_way()?.is_homeward() || !self.heard.contains_key(&number) {
            return Err(reason);
        }
        // For instance stopped by job control, so that no thread can make room: everything goes at once then.
        tracing::info!(%reason, "nothing comes home before the family stands still");
        self.under_way()?.transfer = self.next_transfer();
        self.expect_memory()?;
        self.copy_with(number, epoch, false).await
    }

    async fn copy_with(&mut self, number: u64, epoch: Epoch, rounds: bool) -> Result<(), String> {
        let home = self.key.hash();
        let moving = self.under_way()?;
        let (pages, wanted) = (moving.pages.ok_or("nobody has made room")?, moving.transfer);
        let key = moving.next.as_ref().map_or(home, |next| next.accept.key);
        self.say(number, ToGuest::Copy { epoch, pages, key, transfer: wanted, rounds })?;
        match self.answer_of(number, Ask::Copy(epoch)).await? {
            ToHome::Copied { transfer, sent, .. } if transfer == wanted => {
                self.under_way()?.sent += sent;
                Ok(())
            }
            // Of the first attempt, which was taken for a failure too early.
            _ => Err("the guest warden has copied memory of another transfer".to_owned()),
        }
    }

    async fn stop_at_guest(&mut self, number: u64, epoch: Epoch) -> Result<(), String> {
        let to_home = self.under_way()?.is_homeward();
        self.say(number, ToGuest::Freeze { epoch, to_home })?;
        self.answer_of(number, Ask::Stop(epoch)).await?;
        let from = self.away.take();
        // What the deputies say from now on is for the next guest; at home it is for the bodies that stand still.
        let lines = if to_home { Default::default() } else { std::mem::take(&mut self.outboxes) };
        let moving = self.under_way()?;
        (moving.from, moving.lines) = (from, lines);
        Ok(())
    }

    /// Has the rest of the memory sent, and hears what else the family is; what all that comes to.
    async fn take_from(&mut self, number: u64, epoch: Epoch) -> Result<Digest, String> {
        if self.under_way()?.is_homeward() {
            self.recall_deputies(number)?;
        }
        let transfer = self.under_way()?.transfer;
        self.say(number, ToGuest::SendRest { epoch, transfer })?;
        let answer = self.answer_of(number, Ask::Take(epoch)).await?;
        let ToHome::Captured { digest, family, sent, .. } = answer else {
            return Err("the guest warden has not sent the family".to_owned());
        };
        if let Some(deputy) = &mut self.deputy {
            deputy.heard(&family);
        }
        let moving = self.under_way()?;
        moving.sent += sent;
        moving.family = family;
        Ok(digest)
    }

    /// The family becomes complete there.
    async fn give_to(&mut self, number: u64, epoch: Epoch, digest: Digest) -> Result<(), String> {
        let moving = self.under_way()?;
        let (family, transfer) = (moving.family.clone(), moving.transfer);
        self.agree(&family).await?;
        self.say(number, ToGuest::Context { epoch, digest, family, transfer })?;
        self.answer_of(number, Ask::Accept(epoch, digest)).await?;
        Ok(())
    }

    /// The family goes on where it is: the move did not happen.
    async fn stay(&mut self, number: u64, former: Epoch, epoch: Epoch) -> Result<(), String> {
        // Its threads may have streams here already: theirs are no lines to the family.
        if let Some(next) = self.under_way()?.next.as_ref().map(|next| next.number) {
            self.dismiss(next);
        } else {
            self.keep_deputies();
        }
        self.say(number, ToGuest::Thaw { former, epoch })?;
        let moving = self.under_way()?;
        let lines = std::mem::take(&mut moving.lines);
        if let Some(peer) = moving.from.take() {
            self.be_at(peer);
            self.outboxes.extend(lines);
            for (tid, messages) in std::mem::take(&mut self.held_back) {
                if let Some(outbox) = self.outboxes.get(&tid) {
                    messages.into_iter().for_each(|(message, tail)| outbox.send(message, tail));
                }
            }
            if let Some(deputy) = &mut self.deputy {
                deputy.tell_all_again();
            }
            self.catch_up();
        }
        self.effects();
        self.answer_of(number, Ask::GoOn { former, epoch }).await?;
        Ok(())
    }

    /// The family is not there, or not any more.
    fn discard(&mut self, number: u64) {
        self.dismiss(number);
        if self.deputy.is_none() {
            self.plain_again();
        }
    }

    /// The family is there from now on. What has ended at home meanwhile must not live on there: nobody would ever end
    /// it, or bring it home.
    pub(super) fn be_at(&mut self, peer: Peer) {
        for pid in self.gone.drain(..) {
            peer.control.send(ToGuest::End { pid, transfer: None }, Bytes::new());
        }
        self.away = Some(peer);
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
