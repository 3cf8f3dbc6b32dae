//! From a guest to home: the deputies become the program again.

use std::fs::File;

use ipc_home::deputy::Deputy;
use migration::foothold::Foothold;
use migration::handoff::Digest;
use migration::homecoming;
use migration::image::ProcessImage;
use migration::remote::Remote;
use migration::staging::Staging;
use migration::sys::signal;
use migration::tracee::TraceError;
use migration::vessel::BuildError;

use super::HomeWarden;
use super::state::how_it_ended;
use crate::warden::bulk::{Order, Target};
use crate::warden::common::describe;
use crate::warden::handoff::{OTHER, ToGuest};
use crate::warden::memory::Plan;

impl HomeWarden {
    /// Memory may come home.
    pub(super) fn expect_memory(&mut self) -> Result<(), String> {
        let transfer = self.under_way()?.transfer;
        let guest = self.away.as_ref().ok_or("the family is at home")?.accept.key;
        let bulk = self.bulk()?;
        bulk.allow(guest);
        bulk.expect(transfer);
        let pages = bulk.addr();
        self.under_way()?.pages = Some(pages);
        Ok(())
    }

    /// The bodies stand still: no call is executed at home any more.
    pub(super) fn recall_deputies(&mut self, guest: u64) -> Result<(), String> {
        self.deputy.as_mut().ok_or("no deputies")?.recall().map_err(describe)?;
        // Who has died meanwhile has no place at home any more.
        self.reap();
        self.effects();
        for pid in std::mem::take(&mut self.gone) {
            self.say(guest, ToGuest::End { pid, transfer: None })?;
        }
        Ok(())
    }

    /// The memory is in place, and every thread at home is at hand; none runs yet.
    pub(super) async fn bring_home(&mut self, whole: Digest) -> Result<(), String> {
        let moving = self.under_way()?;
        let (transfer, family) = (moving.transfer, moving.family.clone());
        let received = self.bulk()?.received(transfer);
        let sum = self.meanwhile(received).await?;
        if sum.with(&family).map(Digest).map_err(describe)? != whole {
            return Err(OTHER.to_owned());
        }
        self.agree(&family).await?;
        // One that were missing when the others are let go would stay behind, stopped.
        self.until_none("threads at home are not at hand", Deputy::absent).await
    }

    pub(super) fn let_all_go(&mut self) -> Result<(), String> {
        let foothold = self.foothold.ok_or("the family is not away")?;
        for image in std::mem::take(&mut self.under_way()?.family).processes {
            self.let_go(image, foothold);
        }
        Ok(())
    }

    /// The family is plain at home.
    pub(super) fn be_home(&mut self) {
        self.deputy = None;
        self.foothold = None;
        self.staging.clear();
        self.gone.clear();
        self.first_lines.clear();
        self.outboxes.clear();
        self.held_back.clear();
        self.too_early.clear();
    }

    /// The family does not come home after all: its deputies execute calls again.
    pub(super) fn keep_deputies(&mut self) {
        if let Some(deputy) = &mut self.deputy {
            deputy.go_on();
        }
        self.clear_stage();
        self.effects();
    }

    /// Lets one process be plain again. It is home's already, so whatever becomes of it, the others go on.
    fn let_go(&mut self, mut image: ProcessImage, foothold: Foothold) {
        let Some(deputy) = &mut self.deputy else { return };
        let pid = image.pid;
        let threads = deputy.surrender(pid);
        deputy.hand_over_signals(&mut image);
        match homecoming::let_go(&image, threads, foothold, &self.waiter) {
            Ok(()) => {}
            // Killed just now.
            Err(BuildError::Trace(TraceError::Died(_))) if how_it_ended(pid).is_some() => {}
            Err(error) => {
                tracing::error!(pid, error = describe(error), "a process that is half at home ends");
                // Gone by itself, then.
                let _ = signal::kill(pid, libc::SIGKILL);
            }
        }
    }

    /// Gives a deputy the mappings that memory on its way home needs: room aside while its body runs, the body's own
    /// mappings once that stands still.
    pub(super) fn lay_out(&mut self, order: Order) {
        let Order { pid, plan: Plan { layout, fresh, gone, still }, done, transfer: _ } = order;
        if !self.under_way.as_ref().is_some_and(|moving| moving.is_homeward() && !moving.is_called_off) {
            // Of a return that was called off; its deputies are at work again.
            let _ = done.send(Err("the family does not come home".to_owned()));
            return;
        }
        let result = self.make_place(pid, still, |home, task| {
            let (foothold, staging) = (home.foothold, home.staging);
            let mut remote = Remote::trapping(home.waiter, task, foothold.code())?;
            if fresh {
                staging.clear(&mut remote)?;
            }
            if !still {
                staging.extend(&mut remote, &layout)?;
            }
            let task = remote.release()?;
            if still {
                return homecoming::lay_out(pid, task, (&layout, &gone), foothold, staging, home.waiter);
            }
            Ok(task)
        });
        if still && let Some(deputy) = &mut self.deputy {
            deputy.was_cleared(pid);
        }
        let result = match result {
            Err(reason) if !still && self.has_ended(pid) => {
                tracing::debug!(pid, reason, "what has ended needs no memory");
                Ok(None)
            }
            other => other.map(Some),
        };
        // A transfer that was given up does not want to know.
        let _ = done.send(result);
    }

    /// Whether this process was one of the family's, and is no more: a process between two programs still is.
    fn has_ended(&mut self, pid: u32) -> bool {
        self.reap();
        let is_between =
            self.starting == Some(pid) || self.programs.iter().any(|(started, _)| *started == pid);
        !is_between && self.deputy.as_ref().is_some_and(|deputy| !deputy.is_alive(pid))
    }

    fn make_place(
        &mut self,
        pid: u32,
        still: bool,
        work: impl FnOnce(Place<'_>, migration::tracee::Stopped) -> Result<migration::tracee::Stopped, BuildError>,
    ) -> Result<Target, String> {
        let foothold = self.foothold.ok_or("the family is not away")?;
        let staging = self.staging.entry(pid).or_default();
        let place = Place { foothold, staging, waiter: &self.waiter };
        let deputy = self.deputy.as_mut().ok_or("no deputies")?;
        deputy.lend(pid, |task| work(place, task)).map_err(describe)?;
        let staged = (!still).then(|| self.staging.get(&pid).map(|staging| staging.pieces()));
        let path = format!("/proc/{pid}/mem");
        let memory = File::options().read(true).write(true).open(path).map_err(describe)?;
        Ok(Target { memory, uffd: None, staged: staged.flatten() })
    }

    /// The family does not come home: what is there of it already is of no use.
    fn clear_stage(&mut self) {
        let Some(foothold) = self.foothold else { return };
        if let Some(bulk) = &self.bulk {
            bulk.expect(self.transfers + 1);
        }
        for (pid, mut staging) in std::mem::take(&mut self.staging) {
            let Some(deputy) = &mut self.deputy else { return };
            let cleared = deputy.lend::<TraceError>(pid, |task| {
                let mut remote = Remote::trapping(&self.waiter, task, foothold.code())?;
                staging.clear(&mut remote)?;
                remote.release()
            });
            if let Err(error) = cleared {
                tracing::warn!(pid, %error, "memory that came home for nothing stays until the deputy ends");
            }
        }
    }
}

/// What laying out needs of the warden.
struct Place<'a> {
    foothold: Foothold,
    staging: &'a mut Staging,
    waiter: &'a migration::tracee::Waiter,
}
