//! The moves of a program while it works.

use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Part, Running, Stay};

use super::{CheckError, Scenario};

/// Where a program is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// To node `n<number>`, which is not its home.
    Node(usize),
    /// Home, to `n1`.
    Home,
}

/// What a program's moves came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// Moves that were completed before the program ended.
    pub moves: usize,
    /// The proof of each stay away.
    pub stays: Vec<Stay>,
    /// User time at guests, in clock ticks, as far as sampled.
    pub away_ticks: u64,
    /// User time at home, in clock ticks, as far as sampled.
    pub home_ticks: u64,
    at: Stop,
    /// Of the stay that is not over, if it is one away.
    here_ticks: u64,
}

impl Journey {
    /// Moves `running`, or the part of it that the scenario names, along the route until that or the program ends.
    pub(super) fn take(lab: &Lab, scenario: &Scenario, running: &mut Running) -> Result<Journey, CheckError> {
        let mut journey = Journey {
            moves: 0,
            stays: Vec::new(),
            away_ticks: 0,
            home_ticks: 0,
            at: Stop::Home,
            here_ticks: 0,
        };
        let part = match &scenario.part {
            Some(name) => running.child(name, scenario.patience)?,
            None => running.whole(),
        };
        let stops = scenario.route.iter().cycle().take(scenario.route.len() * scenario.rounds);
        for &stop in stops {
            journey.stay_for(scenario.dwell, part);
            if part.has_ended() || !journey.go(lab, part, stop)? {
                break;
            }
            if let Stop::Node(number) = stop {
                match Stay::prove(part.outer_pid, lab.node(number), scenario.work, scenario.patience) {
                    Ok(stay) => journey.stays.push(stay),
                    // A body that has just ended proves nothing and is no failure.
                    Err(_) if part.has_ended() => break,
                    Err(error) => return Err(error.into()),
                }
            }
            journey.at = stop;
        }
        // The rest of the program's time counts where it is spent.
        let deadline = Instant::now() + scenario.patience;
        while !part.has_ended() && Instant::now() < deadline {
            journey.stay_for(SAMPLE_INTERVAL, part);
        }
        journey.leave();
        Ok(journey)
    }

    /// The part of the sampled CPU time that was spent away, from 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "ticks of a test are far below 2^52")]
    pub fn away_share(&self) -> f64 {
        match self.away_ticks + self.home_ticks {
            0 => 0.0,
            all => self.away_ticks as f64 / all as f64,
        }
    }

    /// False if the program ended before the move was done.
    fn go(&mut self, lab: &Lab, part: Part, stop: Stop) -> Result<bool, CheckError> {
        let to = match stop {
            Stop::Node(number) => lab.node(number).name(),
            Stop::Home => "home",
        };
        self.sample(part);
        let finished = lab.node(1).homing(&["move", &part.pid.to_string(), to])?;
        self.leave();
        if part.has_ended() {
            return Ok(false);
        }
        if finished.code != 0 {
            let reason = String::from_utf8_lossy(&finished.errors).trim().to_owned();
            let (number, to) = (self.moves + 1, to.to_owned());
            return Err(CheckError::Move { number, to, code: finished.code, reason });
        }
        self.moves += 1;
        Ok(true)
    }

    /// Lets the program work for `time`, or until it ends.
    fn stay_for(&mut self, time: Duration, part: Part) {
        let until = Instant::now() + time;
        while !part.has_ended() && Instant::now() < until {
            self.sample(part);
            thread::sleep(SAMPLE_INTERVAL.min(time));
        }
    }

    /// The family has left where it was: what it used there is final.
    fn leave(&mut self) {
        self.away_ticks += std::mem::take(&mut self.here_ticks);
    }

    /// What has ended cannot be asked any more; the last sample then stands.
    fn sample(&mut self, part: Part) {
        self.home_ticks = self.home_ticks.max(part.user_ticks());
        if let (Stop::Node(_), Some(stay)) = (self.at, self.stays.last()) {
            self.here_ticks = self.here_ticks.max(stay.away_ticks());
        }
    }
}

const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
