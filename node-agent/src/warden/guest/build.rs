//! Building what home sends: empty processes, then bodies, then new programs.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::guest::Guest;
use ipc_home::syscall::filter::filter;
use migration::body::{Body, FilterInstruction};
use migration::digest::Transfer;
use migration::foothold::Foothold;
use migration::handoff::{Ask, Digest};
use migration::image::{FamilyImage, ProcessImage};
use migration::init::FamilyInit;
use migration::tracee::Waiter;
use migration::vessel::{BuildError, Vessel};
use transport::{Epoch, KeyHash};

use super::clocks::{self, Estimate};
use super::group::{Group, most_memory};
use super::lease;
use super::{Arrival, Event, Family, GuestWarden, Stage};
use crate::mover::place::MEMORY_SPARE_BYTES;
use crate::warden::bulk::{Bulk, Order, Receiver, Target};
use crate::warden::common::{describe, done};
use crate::warden::handoff::{Clocks, OTHER, ToHome};
use crate::warden::memory::Plan;

/// What home wants to be prepared.
pub(super) struct Preparation {
    pub(super) epoch: Epoch,
    pub(super) foothold: Foothold,
    pub(super) transfer: u64,
    pub(super) pages_from: Option<KeyHash>,
    pub(super) lease: Duration,
    pub(super) clocks: Estimate,
}

impl GuestWarden {
    /// Asks home what time it is; what it wants to be prepared must wait for that.
    pub(super) fn ask_clocks(&mut self, mut preparation: Preparation) -> Result<(), String> {
        let question = preparation.clocks.ask(clocks::own().map_err(describe)?);
        self.preparation = Some(preparation);
        self.control.send(ToHome::AskClocks(question), Bytes::new());
        Ok(())
    }

    pub(super) fn heard_clocks(&mut self, question: u64, home: Clocks) {
        let Some(mut preparation) = self.preparation.take() else { return };
        let ask = Ask::Prepare(preparation.epoch);
        let done = clocks::own().map_err(describe).and_then(|now| {
            if preparation.clocks.heard(question, home, now) {
                return self.ask_clocks(preparation);
            }
            self.prepare(preparation)?;
            self.did(ask, None);
            Ok(())
        });
        if let Err(reason) = done {
            self.could_not(ask, reason);
        }
    }

    fn prepare(&mut self, preparation: Preparation) -> Result<(), String> {
        let Preparation { foothold, transfer, pages_from, lease, clocks, epoch: _ } = preparation;
        let offsets = clocks.offsets().ok_or("home did not say what time it is")?;
        // The namespaces first: they need a process with a single thread, and the pages thread is the second one.
        let offered = self.common.guest_memory.map(|bytes| bytes.saturating_add(MEMORY_SPARE_BYTES));
        let group = Group::make(offered.unwrap_or_else(most_memory));
        let init = FamilyInit::start(offsets, &group.doors()).map_err(describe)?;
        self.group = Some(group);
        let (bulk, mut orders) =
            Bulk::start(Arc::clone(&self.key), self.common.ip, self.common.ports.0.clone(), lease)
                .map_err(describe)?;
        let events = self.events.clone();
        tokio::task::spawn_local(async move {
            while let Some(order) = orders.recv().await {
                drop(events.send(Event::Memory(order)));
            }
        });
        bulk.expect(transfer);
        bulk.allow(pages_from.unwrap_or(self.home_key));
        bulk.allow(self.home_key);
        lease::watch(self.connection.clone(), lease, self.events.clone());
        self.stage = Stage::Building(Family {
            init,
            bulk,
            foothold,
            guest: Guest::new(foothold, Rc::clone(&self.waiter)),
            filter: filter_of_bodies(),
            vessels: HashMap::new(),
            frozen: false,
            receiver: Receiver::Vessel,
        });
        Ok(())
    }

    /// Gives processes the mappings that their memory needs, as far as nothing stands in the way.
    pub(super) fn lay_out(&mut self) {
        while let Some(order) = self.orders.pop_front() {
            if self.given_up.contains(&order.transfer) {
                let _ = order.done.send(Err("home has given this program up".to_owned()));
                continue;
            }
            let (Stage::Building(family) | Stage::Living(family)) = &mut self.stage else { return };
            if family.guest.processes().contains_key(&order.pid) {
                // The process has a new program; its former body must have ended, which comes as an event.
                family.guest.end(order.pid);
                return self.orders.push_front(order);
            }
            let Order { pid, plan, done, transfer: _ } = order;
            let former = family.vessels.remove(&pid);
            let made = family.vessel(former, &self.waiter, pid, plan);
            let target = made.map_err(describe).and_then(|vessel| {
                let target = target(&vessel);
                family.vessels.insert(pid, vessel);
                target.map(Some)
            });
            // A transfer that was given up does not want to know.
            let _ = done.send(target);
        }
    }

    /// Goes on once all memory of a transfer is there.
    pub(super) fn await_memory(&mut self, arrival: Arrival, transfer: u64) {
        let (Stage::Building(family) | Stage::Living(family)) = &self.stage else { return };
        let (received, events) = (family.bulk.received(transfer), self.events.clone());
        tokio::task::spawn_local(async move {
            drop(events.send(Event::Received(arrival, done(received).await)));
        });
    }

    pub(super) async fn received(&mut self, arrival: Arrival, received: Result<Transfer, String>) {
        match arrival {
            Arrival::Family(ask @ Ask::Accept(_, expected), image) => {
                let whole = received.and_then(|sum| sum.with(&image).map(Digest).map_err(describe));
                let complete = match whole {
                    // What is another one is not even made.
                    Ok(digest) if digest != expected => Ok(digest),
                    Ok(digest) => self.complete(&image).await.map(|()| digest),
                    Err(reason) => Err(reason),
                };
                match complete {
                    Ok(digest) => self.did(ask, Some(digest)),
                    Err(reason) => self.could_not(ask, reason),
                }
            }
            // Home asks for nothing else with a family.
            Arrival::Family(..) => {}
            Arrival::Program { image, transfer, digest: expected } => {
                let built = received.and_then(|sum| {
                    let digest = sum.with(&image).map(Digest).map_err(describe)?;
                    if digest == expected { self.build_program(&image) } else { Err(OTHER.to_owned()) }
                });
                let message = match built {
                    Ok(()) => ToHome::ProgramRuns { transfer },
                    Err(reason) => ToHome::ProgramFailed { transfer, reason },
                };
                self.control.send(message, Bytes::new());
            }
        }
    }

    async fn complete(&mut self, image: &FamilyImage) -> Result<(), String> {
        let Stage::Building(mut family) = std::mem::replace(&mut self.stage, Stage::Empty) else {
            return Err("registers for a body that was not prepared".to_owned());
        };
        for process in &image.processes {
            family.enliven(process, &self.waiter)?;
        }
        // Those that ended after their memory had begun to travel.
        family.vessels.drain().for_each(|(_, vessel)| vessel.end());
        self.stage = Stage::Living(family);
        self.open_fetches().await?;
        self.effects();
        Ok(())
    }

    fn build_program(&mut self, image: &ProcessImage) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        family.enliven(image, &self.waiter)?;
        // One that stands still goes on as a whole.
        if !family.frozen {
            family.guest.start();
        }
        Ok(())
    }

    /// Ends a body, or what was to become one by this transfer.
    pub(super) fn end(&mut self, pid: u32, transfer: Option<u64>) {
        self.orders.retain(|order| order.pid != pid);
        let (Stage::Building(family) | Stage::Living(family)) = &mut self.stage else { return };
        if let Some(transfer) = transfer {
            // Its memory may be on the way still, and its mappings must not come to be made.
            family.bulk.refuse(transfer);
            self.given_up.push_back(transfer);
            self.given_up.drain(..self.given_up.len().saturating_sub(GIVEN_UP_MAX));
        }
        family.guest.end(pid);
        if let Some(vessel) = family.vessels.remove(&pid) {
            vessel.end();
        }
    }
}

impl Family {
    fn vessel(
        &self,
        former: Option<Vessel>,
        waiter: &Waiter,
        pid: u32,
        plan: Plan,
    ) -> Result<Vessel, BuildError> {
        let Plan { layout, fresh, gone, still } = plan;
        let vessel = match former {
            None => return Vessel::build(&self.init, waiter, pid, layout, self.foothold),
            Some(vessel) if fresh => vessel.renew(waiter, &layout.special)?,
            Some(vessel) => vessel,
        };
        vessel.lay_out(waiter, layout, &gone, still)
    }

    /// Makes a body of a vessel whose memory is complete.
    fn enliven(&mut self, image: &ProcessImage, waiter: &Waiter) -> Result<(), String> {
        let vessel = self.vessels.remove(&image.pid).ok_or("registers for a process without memory")?;
        let body = Body::complete(vessel, image, &self.filter, &self.init, waiter).map_err(describe)?;
        self.guest.adopt(body, image);
        Ok(())
    }
}

fn target(vessel: &Vessel) -> Result<Target, String> {
    let memory = vessel.memory.try_clone().map_err(describe)?;
    let uffd = vessel.uffd.try_clone().map_err(describe)?;
    Ok(Target { memory, uffd: Some(uffd), staged: None })
}

/// More than can be on their way at once: home sends one program after the other.
const GIVEN_UP_MAX: usize = 64;

fn filter_of_bodies() -> Vec<FilterInstruction> {
    filter()
        .into_iter()
        .map(|step| FilterInstruction { code: step.code, jt: step.jt, jf: step.jf, k: step.k })
        .collect()
}
