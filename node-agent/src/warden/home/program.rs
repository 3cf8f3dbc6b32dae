//! New programs: after an exec in a deputy, the fresh image follows its family.

use bytes::Bytes;
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::Frozen;
use migration::handoff::Digest;
use migration::image::ProcessImage;
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::sys::signal;
use migration::tracee::Stopped;
use migration::vessel::settled_stop;
use migration::waits::Waits;

use super::HomeWarden;
use super::leave::source;
use super::peer::STEP_LIMIT;
use crate::warden::common::describe;
use crate::warden::handoff::{ToGuest, ToHome};

impl HomeWarden {
    /// Processes with a new program follow their family, or go on at home if they cannot.
    pub(super) async fn programs(&mut self) {
        while let Some((pid, task)) = self.programs.pop_front() {
            self.starting = Some(pid);
            self.program_transfer = None;
            let sent = self.send_program(pid, task).await;
            self.starting = None;
            if let Err(reason) = sent {
                tracing::info!(pid, %reason, "the new program goes on at home");
                if let Some(peer) = &self.away {
                    let transfer = self.program_transfer;
                    peer.control.send(ToGuest::End { pid, transfer }, Bytes::new());
                }
            }
        }
    }

    pub(super) async fn send_program(&mut self, pid: u32, task: Stopped) -> Result<(), String> {
        tracing::debug!(pid, moving = self.under_way.is_some(), "a new program");
        if let Some(deputy) = &mut self.deputy {
            deputy.forget(pid);
        }
        let task = task.resume_to_stop().map_err(describe)?;
        let thread = settled_stop(&self.waiter, task).map_err(describe)?;
        let mut frozen = Frozen { pid, threads: vec![thread], waits: Waits::default() };
        let Some(foothold) = self.foothold else {
            frozen.thaw();
            return Err("the family is at home".to_owned());
        };
        let built = self.offer_program(&mut frozen, foothold).await;
        match built {
            Ok((image, area)) => {
                let taken = self.take_program(frozen, (&image, &area), foothold);
                if taken.is_err() {
                    // Its body runs at the guest, so what is here is no program any more. Gone by itself: so be it.
                    let _ = signal::kill(pid, libc::SIGKILL);
                }
                self.catch_up();
                taken
            }
            Err(reason) => {
                plain(frozen);
                Err(reason)
            }
        }
    }

    /// The new program's body runs at the guest: what is here becomes its deputy.
    fn take_program(
        &mut self,
        frozen: Frozen,
        (image, area): (&ProcessImage, &HealingArea),
        foothold: Foothold,
    ) -> Result<(), String> {
        let shadows = deputize(frozen, image, area, foothold, &self.waiter).map_err(describe)?;
        match &mut self.deputy {
            Some(deputy) => deputy.adopt(image, shadows).map_err(describe),
            None => Ok(()),
        }
    }

    pub(super) async fn offer_program(
        &mut self,
        frozen: &mut Frozen,
        foothold: Foothold,
    ) -> Result<(ProcessImage, HealingArea), String> {
        let pid = frozen.pid;
        let (layout, ties) = layout::read(pid, &Side::Home).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(tie.to_string());
        }
        let taken = foothold.range();
        if layout.vmas.iter().any(|vma| vma.start < taken.end && taken.start < vma.end) {
            return Err("the new program uses homing's addresses".to_owned());
        }
        let area = HealingArea::find(pid).map_err(describe)?;
        let transfer = self.next_transfer();
        self.program_transfer = Some(transfer);
        let rest = self.bulk()?.rest(transfer, vec![(source(pid, Some(&area), None), layout.clone())]);
        let image = capture(frozen, layout, Access::Healing(&area), &self.waiter).map_err(describe)?;
        let guest = self.away.as_ref().ok_or("the family is at home")?.number;
        let (_, sum) = self.meanwhile(rest).await?;
        self.bulk()?.settle();
        let digest = sum.with(&image).map(Digest).map_err(describe)?;
        self.say(guest, ToGuest::NewProgram { image: Box::new(image.clone()), transfer, digest })?;
        self.hear(guest, STEP_LIMIT, move |message| match message {
            ToHome::ProgramRuns { transfer: of } if *of == transfer => Some(Ok(())),
            ToHome::ProgramFailed { transfer: of, reason } if *of == transfer => Some(Err(reason.clone())),
            _ => None,
        })
        .await?;
        Ok((image, area))
    }
}

/// Lets a process go that has become a plain program of its own.
pub(super) fn plain(frozen: Frozen) {
    for thread in &frozen.threads {
        let _ = thread.task.set_options(migration::sys::ptrace::OPTIONS);
    }
    frozen.thaw();
}
