//! What must hold behind every step, whatever has happened.

use std::hash::Hash;

use migration::handoff::{Incarnation, Seat};

use super::guest::End;
use super::home::Original;
use super::stage::{LEASE, Time};
use super::witness::Job;
use super::word::Address;
use super::world::World;

impl World {
    /// What must hold behind every step.
    pub(super) fn look_at(&mut self, actor: Address) {
        let family = match actor {
            Address::Home(family) => family,
            Address::Guest(incarnation) => self.guests[&incarnation].family,
            Address::Agent(_) => return,
        };
        let World { stage, homes, guests, .. } = self;
        let home = &mut homes[family];
        (home.residence.phase(), home.residence.seat(), home.residence.epoch()).hash(&mut self.trace);
        let job = stage.witness.job(family);
        let (seat, epoch) = (home.residence.seat(), home.residence.epoch());
        if let Some(loss) = home.loss.take().filter(|loss| home.residence.is_lost() && loss.seat == seat)
            && let Seat::Guest(Incarnation(lost)) = loss.seat
        {
            let is_silent = loss.silence >= microseconds(LEASE) * 9 / 10;
            let may_be = match guests[&lost].end {
                None => is_silent,
                Some(end) => end != End::Told,
            };
            if !may_be {
                stage
                    .witness
                    .complain(|| format!("family {family} is lost although nothing has died: {loss:?}"));
            }
        }
        let mut counting = 0;
        for guest in guests.values().filter(|guest| guest.family == family) {
            let Some(runs_in) = guest.keeper.runs_in() else { continue };
            let own = Seat::Guest(Incarnation(guest.incarnation));
            if guest.end.is_none() && !stage.witness.was_granted(family, runs_in, own) {
                let wrong =
                    format!("guest {} runs in epoch {runs_in}, which is not its own", guest.incarnation);
                stage.witness.complain(|| wrong);
            }
            if guest.end.is_none() && runs_in == epoch && seat == own {
                counting += 1;
                stage.witness.compare(family, &guest.body);
            }
            let silence = stage.now - guest.heard;
            if guest.end.is_none() && silence > (microseconds(LEASE) + HOLD_SLACK_US) * 10 / 9 {
                stage.witness.complain(|| format!("a body lives on after {silence} us without a home"));
            }
            let held_after = (microseconds(LEASE) * 8 / 10 + HOLD_SLACK_US) * 10 / 9;
            if guest.is_computing() && !guest.is_moving() && silence > held_after {
                stage.witness.complain(|| format!("a body computes on after {silence} us without a home"));
            }
        }
        if let Original::Runs(body) = &home.original {
            counting += 1;
            stage.witness.compare(family, body);
            if seat != Seat::Home {
                stage.witness.complain(|| format!("the original runs although {seat:?} counts"));
            }
        }
        if counting > 1 {
            stage.witness.complain(|| format!("{counting} bodies count in epoch {epoch}"));
        }
        if let Address::Guest(incarnation) = actor {
            let guest = &guests[&incarnation];
            let counted = seat == Seat::Guest(Incarnation(incarnation)) && job == Job::Runs;
            if guest.end == Some(End::Told) && counted && !home.residence.is_lost() {
                stage.witness.complain(|| format!("the body that counts was ended: {guest:?}"));
            }
        }
    }
}

fn microseconds(time: std::time::Duration) -> Time {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What the guest's looking now and then adds to 0.8 of its lease.
const HOLD_SLACK_US: Time = 380_000;
