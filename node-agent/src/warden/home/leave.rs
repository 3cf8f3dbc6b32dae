//! A program leaves home.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use ipc_home::deputy::Deputy;
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::Frozen;
use migration::handoff::Digest;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::Changed;
use migration::precopy::BYTES_MIN;
use migration::sys::signal;
use migration::tracking::SharedWritten;
use migration::watch;
use tokio::sync::oneshot;

use super::HomeWarden;
use super::state::private_bytes;
use crate::warden::bulk::{Rest, Source};
use crate::warden::common::describe;

/// What there is of a program that leaves home.
#[derive(Default)]
pub(super) struct Leaving {
    /// Room for injected code, once it was found.
    area: Option<HealingArea>,
    frozen: Option<Frozen>,
    image: Option<ProcessImage>,
}

impl HomeWarden {
    /// The address range that will be homing's own in every process of the family.
    pub(super) fn choose_foothold(&mut self) -> Result<(), String> {
        let layout = self.movable_layout(&Side::Home)?;
        self.foothold = Some(Foothold::find(&layout).ok_or("the address space is full")?);
        Ok(())
    }

    /// Sends memory while the program runs.
    pub(super) async fn copy_out(&mut self) -> Result<(), String> {
        let moving = self.under_way()?;
        let (pages, transfer) = (moving.pages.ok_or("nobody has made room")?, moving.transfer);
        let key = moving.next.as_ref().ok_or("the program is at home")?.accept.key;
        let dialled = self.bulk()?.dial(pages, key);
        self.meanwhile(dialled).await?;
        let (tracker, area) = self.track()?.map_or((None, None), |(uffd, area)| (uffd, Some(area)));
        let sources = vec![source(self.pid, area.as_ref(), tracker)];
        let copied = self.bulk()?.copy(transfer, sources);
        let sent = self.meanwhile(copied).await?;
        let moving = self.under_way()?;
        moving.sent += sent;
        moving.leaving.area = area;
        Ok(())
    }

    pub(super) fn stop_program(&mut self) -> Result<(), String> {
        let area = self.under_way()?.leaving.area.take();
        let (frozen, area) = self.stop_at_home(area)?;
        let leaving = &mut self.under_way()?.leaving;
        (leaving.frozen, leaving.area) = (Some(frozen), Some(area));
        Ok(())
    }

    /// Takes everything that the program is, and sends the rest of its memory; what all that comes to.
    pub(super) async fn take_program_out(&mut self) -> Result<Digest, String> {
        let leaving = &mut self.under_way()?.leaving;
        let (frozen, area) = (leaving.frozen.take(), leaving.area.take());
        let (mut frozen, area) = frozen.zip(area).ok_or("the program does not stand still")?;
        let taken = self.capture_program(&mut frozen, &area);
        let moving = self.under_way()?;
        (moving.leaving.frozen, moving.leaving.area) = (Some(frozen), Some(area));
        let (image, rest) = taken?;
        moving.family = FamilyImage { processes: vec![image.clone()] };
        moving.leaving.image = Some(image);
        let (sent, sum) = self.meanwhile(rest).await?;
        let moving = self.under_way()?;
        moving.sent += sent;
        sum.with(&moving.family).map(Digest).map_err(describe)
    }

    fn capture_program(
        &mut self,
        frozen: &mut Frozen,
        area: &HealingArea,
    ) -> Result<(ProcessImage, oneshot::Receiver<Result<Rest, String>>), String> {
        let layout = self.movable_layout(&Side::HomeTracked)?;
        let taken = self.foothold.ok_or("no address range of homing's own")?.range();
        if layout.vmas.iter().any(|vma| vma.start < taken.end && taken.start < vma.end) {
            return Err("the program has just mapped something at homing's addresses; try again".to_owned());
        }
        let transfer = self.under_way()?.transfer;
        // The pages thread reads memory while this one reads registers.
        let memory = vec![(source(self.pid, Some(area), None), layout.clone())];
        let rest = self.bulk()?.rest(transfer, memory);
        let image = capture(frozen, layout, Access::Healing(area), &self.waiter).map_err(describe)?;
        Ok((image, rest))
    }

    /// The program goes on; nothing else of the attempt stays.
    pub(super) fn go_on_at_home(&mut self) {
        if let Ok(moving) = self.under_way() {
            let Leaving { frozen, area, .. } = std::mem::take(&mut moving.leaving);
            if let (Some(frozen), Some(area)) = (frozen, area) {
                frozen.thaw();
                // The page stays a private copy until a later move drops it.
                let _ = area.erase();
            }
        }
        self.plain_again();
    }

    pub(super) fn plain_again(&mut self) {
        if let Some(bulk) = &self.bulk {
            bulk.stop();
        }
        self.foothold = None;
        self.too_early.clear();
        self.outboxes.clear();
    }

    /// The body runs at the guest: what is here has no memory any more, and makes its calls.
    pub(super) fn become_deputy(&mut self) -> Result<(), String> {
        let moving = self.under_way()?;
        let Leaving { frozen, image, area, .. } = std::mem::take(&mut moving.leaving);
        let guest = moving.next.as_ref().map(|peer| peer.number);
        let all = frozen.zip(image).zip(area).ok_or_else(|| "the program was not taken".to_owned());
        let became = all.and_then(|((frozen, image), area)| self.deputize(frozen, &image, &area));
        if let Err(reason) = became {
            tracing::error!(reason, "the program at home does not become a deputy: its family ends");
            // What is here is no program any more, and without a shadow the body cannot go on.
            let _ = signal::kill(self.pid, libc::SIGKILL);
            if let Some(number) = guest {
                self.dismiss(number);
            }
            return Err(reason);
        }
        // The kernel forgets the tracking of memory that was moved aside at once, and of any other in 14 ms for 256 MiB.
        self.bulk()?.settle();
        Ok(())
    }

    fn deputize(&mut self, frozen: Frozen, image: &ProcessImage, area: &HealingArea) -> Result<(), String> {
        let foothold = self.foothold.ok_or("no address range of homing's own")?;
        let shadows = deputize(frozen, image, area, foothold, &self.waiter).map_err(describe)?;
        let mut deputy = Deputy::new(foothold, Rc::clone(&self.waiter));
        deputy.adopt(image, shadows).map_err(describe)?;
        self.deputy = Some(deputy);
        Ok(())
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

    /// Messages that came before it was known whether they count.
    pub(super) fn catch_up(&mut self) {
        if self.under_way.as_ref().is_some_and(|moving| moving.is_starting) {
            return;
        }
        let present = self.present().map_or(0, |peer| peer.number);
        for (peer, tid, message, tail) in std::mem::take(&mut self.too_early) {
            if let Some(deputy) = self.deputy.as_mut().filter(|_| peer == present) {
                deputy.message(tid, message, tail);
            }
        }
        self.reap();
        self.effects();
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
