//! From a guest to home: the deputies become the program again.

use std::fs::File;
use std::time::Instant;

use bytes::Bytes;
use migration::foothold::Foothold;
use migration::homecoming;
use migration::image::{FamilyImage, Layout};

use super::peer::captured;
use super::{HomeWarden, Peer};
use crate::warden::bulk::{Sent, Target};
use crate::warden::common::{describe, done};
use crate::warden::control::MoveReport;
use crate::warden::handoff::ToGuest;

impl HomeWarden {
    /// From a guest to home: the deputies become the program again.
    pub(super) async fn recall(&mut self) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let foothold = self.foothold.ok_or("the family is not away")?;
        let stopped_at = Instant::now();
        let frozen = self.freeze().await;
        let peer = self.away.take().ok_or("the family is at home")?;
        let came = match frozen {
            Ok(layouts) => self.bring_home(&peer, foothold, layouts).await,
            Err(reason) => Err(reason),
        };
        let granted = came.and_then(|came| self.grant().map(|()| came));
        let (family, sent) = match granted {
            Ok(came) => came,
            Err(reason) => {
                if let Some(deputy) = &mut self.deputy {
                    deputy.go_on();
                }
                self.effects();
                self.stay(peer);
                return Err(reason);
            }
        };
        for mut image in family.processes {
            let deputy = self.deputy.as_mut().ok_or("no deputies")?;
            let threads = deputy.surrender(image.pid);
            deputy.hand_over_signals(&mut image);
            homecoming::let_go(&image, threads, foothold, &self.waiter).map_err(describe)?;
            if let Some(bulk) = &self.bulk {
                bulk.forget(image.pid);
            }
        }
        let pause = stopped_at.elapsed();
        self.dismiss(&peer);
        self.deputy = None;
        self.foothold = None;
        self.outboxes.clear();
        self.held_back.clear();
        self.too_early.clear();
        let home = self.common.node_name.clone();
        Ok(self.report(&home, started, pause, sent))
    }

    /// Everything up to the point of no return: the pages are in place, no thread runs yet.
    async fn bring_home(
        &mut self,
        peer: &Peer,
        foothold: Foothold,
        layouts: Vec<(u32, Layout)>,
    ) -> Result<(FamilyImage, Sent), String> {
        self.start_bulk()?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        bulk.allow(peer.accept.key);
        self.recalls += 1;
        let transfer = self.recalls;
        bulk.expect(transfer);
        let addr = bulk.addr();
        let deputy = self.deputy.as_mut().ok_or("no deputies")?;
        deputy.recall().map_err(describe)?;
        self.effects();
        for (pid, layout) in &layouts {
            let leader = self.deputy.as_mut().and_then(|deputy| deputy.leader(*pid));
            let leader = leader.ok_or("a process without threads")?;
            homecoming::lay_out(*pid, leader, layout, foothold, &self.waiter).map_err(describe)?;
            let path = format!("/proc/{pid}/mem");
            let memory = File::options().read(true).write(true).open(path).map_err(describe)?;
            if let Some(bulk) = &self.bulk {
                bulk.receive(*pid, Target { memory, uffd: None });
            }
        }
        peer.control.send(ToGuest::SendTo { pages: addr, key: self.key.hash(), transfer }, Bytes::new());
        let (family, sent) = self.expect(captured).await?;
        if let Some(bulk) = &self.bulk {
            done(bulk.received(sent.batches)).await?;
        }
        self.agree(&family).await?;
        Ok((family, sent))
    }
}
