//! Building what home sends: empty processes, then bodies, then new programs.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::guest::Guest;
use ipc_home::syscall::filter::{ExemptCode, filter};
use migration::body::{Body, FilterInstruction};
use migration::foothold::Foothold;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::init::{ClockOffsets, FamilyInit};
use migration::pages::{self};
use migration::sys::clock;
use migration::vessel::Vessel;
use transport::{Epoch, KeyHash};

use super::{Family, GuestWarden, Stage};
use crate::warden::bulk::{Bulk, Target};
use crate::warden::common::{describe, done};
use crate::warden::handoff::{Clocks, ToHome};

impl GuestWarden {
    pub(super) fn prepare(
        &mut self,
        epoch: Epoch,
        foothold: Foothold,
        clocks: Clocks,
        processes: Vec<(u32, Layout)>,
        pages_from: Option<KeyHash>,
    ) -> Result<(), String> {
        // The namespaces first: they need a process with a single thread, and the pages thread is the second one.
        let offsets = offsets(clocks, self.connection.rtt()).map_err(|error| error.to_string())?;
        let init = FamilyInit::start(offsets).map_err(describe)?;
        let bulk = Bulk::start(Arc::clone(&self.key), self.common.ip, self.common.ports.0.clone())
            .map_err(describe)?;
        bulk.allow(pages_from.unwrap_or(self.home_key));
        bulk.allow(self.home_key);
        let mut vessels = Vec::new();
        for (pid, layout) in processes {
            let vessel = Vessel::build(&init, &self.waiter, pid, layout, foothold).map_err(describe)?;
            bulk.receive(pid, target(&vessel.memory, Some(&vessel.uffd))?);
            vessels.push(vessel);
        }
        self.epoch = epoch;
        self.control.send(ToHome::Prepared { pages: bulk.addr() }, Bytes::new());
        let family = Family {
            init,
            bulk,
            foothold,
            guest: Guest::new(foothold, Rc::clone(&self.waiter)),
            filter: filter_for(foothold),
            frozen: false,
        };
        self.stage = Stage::Building(family, vessels);
        Ok(())
    }

    pub(super) async fn complete(&mut self, image: &FamilyImage, batches: u64) -> Result<(), String> {
        let Stage::Building(mut family, vessels) = std::mem::replace(&mut self.stage, Stage::Empty) else {
            return Err("registers for a body that was not prepared".to_owned());
        };
        done(family.bulk.received(batches)).await?;
        for vessel in vessels {
            let seen = image.processes.iter().find(|process| process.pid == vessel.pid);
            let seen = seen.ok_or("a process without registers")?;
            family.bulk.forget(vessel.pid);
            let body = Body::complete(vessel, seen, &family.filter, &family.init, &self.waiter);
            family.guest.adopt(body.map_err(describe)?, seen);
        }
        self.stage = Stage::Living(family);
        self.open_fetches().await?;
        self.effects();
        self.control.send(ToHome::Ready, Bytes::new());
        Ok(())
    }

    pub(super) async fn new_program(&mut self, image: &ProcessImage, batches: u64) -> Result<(), String> {
        let built = self.build_program(image, batches).await;
        let message = match built {
            Ok(()) => ToHome::ProgramRuns(image.pid),
            Err(reason) => ToHome::ProgramFailed(image.pid, reason),
        };
        self.control.send(message, Bytes::new());
        Ok(())
    }

    pub(super) async fn build_program(&mut self, image: &ProcessImage, batches: u64) -> Result<(), String> {
        let pid = image.pid;
        if let Some(guest) = self.guest() {
            guest.end(pid);
        }
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        while self.guest().is_some_and(|guest| guest.processes().contains_key(&pid)) {
            if tokio::time::Instant::now() > deadline {
                return Err(format!("the former body of {pid} does not end"));
            }
            self.reap();
            tokio::time::sleep(SHORT).await;
        }
        self.effects();
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        let layout = image.layout.clone();
        let vessel = Vessel::build(&family.init, &waiter, pid, layout, family.foothold).map_err(describe)?;
        family.bulk.receive(pid, target(&vessel.memory, Some(&vessel.uffd))?);
        done(family.bulk.received(batches)).await?;
        family.bulk.forget(pid);
        let body = Body::complete(vessel, image, &family.filter, &family.init, &waiter).map_err(describe)?;
        family.guest.adopt(body, image);
        family.guest.start();
        Ok(())
    }
}

pub(super) fn filter_for(foothold: Foothold) -> Vec<FilterInstruction> {
    let exempt = ExemptCode::new(foothold.code()..foothold.code() + pages::PAGE);
    filter(exempt.as_ref())
        .into_iter()
        .map(|step| FilterInstruction { code: step.code, jt: step.jt, jf: step.jf, k: step.k })
        .collect()
}

pub(super) fn target(memory: &File, uffd: Option<&OwnedFd>) -> Result<Target, String> {
    let uffd = uffd.map(OwnedFd::try_clone).transpose().map_err(describe)?;
    Ok(Target { memory: memory.try_clone().map_err(describe)?, uffd })
}

/// How far the family's clocks must be ahead of the machine's: home's clocks, which are half a round trip old, less
/// this node's, which may themselves be shifted.
pub(super) fn offsets(home: Clocks, rtt: Duration) -> io::Result<ClockOffsets> {
    let half = i64::try_from(rtt.as_nanos() / 2).unwrap_or(0);
    let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let own = |clock: &str| -> i64 {
        text.lines()
            .find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next()? == clock).then_some(())?;
                let seconds: i64 = words.next()?.parse().ok()?;
                Some(seconds * 1_000_000_000 + words.next()?.parse::<i64>().ok()?)
            })
            .unwrap_or(0)
    };
    Ok(ClockOffsets {
        monotonic_ns: own("monotonic") + home.monotonic_ns + half - clock::monotonic_ns()?,
        boottime_ns: own("boottime") + home.boottime_ns + half - clock::boottime_ns()?,
    })
}

/// For a body to end after it was killed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at a body that is ending.
const SHORT: Duration = Duration::from_micros(500);
