//! The moves of a program while it works.

use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, LabNode, Running, Stay, usage};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// Moves that were completed before the program ended.
    pub moves: usize,
    /// The proof of each stay away.
    pub stays: Vec<Stay>,
    /// User time at guests, in clock ticks, as far as sampled.
    pub away_ticks: u64,
    /// User time at home, in clock ticks, as far as sampled.
    pub home_ticks: u64,
}

impl Journey {
    /// Moves `running` along the scenario's route until that or the program ends.
    pub(super) fn take(lab: &Lab, scenario: &Scenario, running: &mut Running) -> Result<Journey, CheckError> {
        let mut journey = Journey::default();
        let stops = scenario.route.iter().cycle().take(scenario.route.len() * scenario.rounds);
        for &stop in stops {
            if wait_for_end(running, scenario.dwell)? || !journey.go(lab, running, stop)? {
                break;
            }
            if let Stop::Node(number) = stop {
                match Stay::prove(running.outer_pid(), lab.node(number), scenario.work, scenario.patience) {
                    Ok(stay) => journey.stays.push(stay),
                    // A body that has just ended proves nothing and is no failure.
                    Err(_) if running.has_ended()? => break,
                    Err(error) => return Err(error.into()),
                }
            }
            journey.sample(running);
        }
        journey.sample(running);
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
    fn go(&mut self, lab: &Lab, running: &mut Running, stop: Stop) -> Result<bool, CheckError> {
        self.leave(running);
        let to = match stop {
            Stop::Node(number) => lab.node(number).name(),
            Stop::Home => "home",
        };
        let home: &LabNode = lab.node(1);
        let finished = home.homing(&["move", &running.pid().to_string(), to])?;
        if running.has_ended()? {
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

    /// Counts what the body that is about to leave has computed where it is.
    fn leave(&mut self, running: &Running) {
        if let Some(stay) = self.stays.last()
            && let Ok(used) = usage(stay.body)
        {
            self.away_ticks += used.user_ticks;
        }
        self.sample(running);
    }

    fn sample(&mut self, running: &Running) {
        // The process at home may have ended; the last sample then stands.
        if let Ok(used) = usage(running.outer_pid()) {
            self.home_ticks = self.home_ticks.max(used.user_ticks);
        }
    }
}

/// True if the program ends within `patience`.
fn wait_for_end(running: &mut Running, patience: Duration) -> Result<bool, CheckError> {
    let deadline = Instant::now() + patience;
    while !running.has_ended()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(true)
}

const POLL_INTERVAL: Duration = Duration::from_millis(2);
