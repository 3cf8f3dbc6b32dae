//! What is never true, whatever has happened.

use ipc_home::residence::Residence;
use migration::handoff::{Ask, Seat};

use crate::world::{Original, Packet, World};

impl World {
    pub(crate) fn check(self) -> Result<World, String> {
        self.one_body_counts()?;
        self.the_body_that_counts_is_the_one_of_the_log()?;
        if self.is_lucky && self.residence.is_lost() {
            return Err("a family was lost although nothing has died".to_owned());
        }
        let granted = self.network.iter().filter_map(|packet| match packet {
            Packet::Ask(to, Ask::Start(epoch) | Ask::GoOn { epoch, .. }) => Some((*epoch, *to)),
            _ => None,
        });
        let granted: Vec<_> = granted.collect();
        match granted
            .iter()
            .find(|(epoch, to)| granted.iter().any(|other| other.0 == *epoch && other.1 != *to))
        {
            Some((epoch, _)) => Err(format!("epoch {epoch} was granted twice")),
            None => Ok(self),
        }
    }

    fn one_body_counts(&self) -> Result<(), String> {
        let present = self.residence.epoch();
        let mut running = self
            .wardens
            .iter()
            .filter(|warden| warden.lives && warden.keeper.runs_in() == Some(present))
            .count();
        if let Original::Runs(_) = self.original {
            if self.residence.seat() != Seat::Home {
                return Err("the original runs although home has given it away".to_owned());
            }
            running += 1;
        }
        if running > 1 {
            return Err(format!("{running} bodies run in epoch {present}"));
        }
        Ok(())
    }

    fn the_body_that_counts_is_the_one_of_the_log(&self) -> Result<(), String> {
        let counts = |residence: &Residence, seat| residence.seat() == seat && !residence.is_lost();
        let at_guests = self.incarnations().filter(|(incarnation, warden)| {
            let seat = Seat::Guest(*incarnation);
            let present = Some(self.residence.epoch());
            warden.lives && warden.keeper.runs_in() == present && counts(&self.residence, seat)
        });
        let mut bodies: Vec<_> = at_guests.map(|(_, warden)| warden.body).collect();
        if let Original::Runs(content) = self.original {
            bodies.push(content);
        }
        for body in bodies {
            let mut pairs = body.threads.iter().zip(self.log);
            if let Some((thread, log)) = pairs.find(|(thread, log)| !thread.agrees_with(*log)) {
                return Err(format!("the body that counts is at {thread:?}, the world at {log:?}"));
            }
        }
        Ok(())
    }
}
