//! The moves of a program while it works.

use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Lab, Part, Stay, Ticks};

use super::{CheckError, Scenario, Served};

/// Where a program is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// To node `n<number>`, which is not its home.
    Node(usize),
    /// Home, to `n1`.
    Home,
}

/// What a program's moves came to.
#[derive(Clone, Debug)]
pub struct Journey {
    /// How long the program took when it was left alone.
    pub native_time: Duration,
    /// Moves that were completed before the program ended.
    pub moves: usize,
    /// What `homing move` said of each, after the time since the program's start.
    pub diary: Vec<(Duration, String)>,
    /// The proof of each stay away.
    pub stays: Vec<Stay>,
    /// CPU time at guests, as far as sampled.
    pub away_ticks: Ticks,
    /// CPU time at home, of the shadow too, as far as sampled.
    pub home_ticks: Ticks,
    /// What the clients were served, if there are any.
    pub served: Vec<Served>,
    at: Stop,
    part: Part,
    /// Of the stay that is not over, if it is one away.
    here_ticks: Ticks,
    started: Instant,
}

impl Journey {
    /// Of `part`, which is at home and not moved yet.
    pub(super) fn new(part: Part) -> Journey {
        Journey {
            native_time: Duration::ZERO,
            moves: 0,
            diary: Vec::new(),
            stays: Vec::new(),
            away_ticks: Ticks::default(),
            home_ticks: Ticks::default(),
            served: Vec::new(),
            at: Stop::Home,
            part,
            here_ticks: Ticks::default(),
            started: Instant::now(),
        }
    }

    /// Moves it along the route until that or it ends.
    pub(super) fn take(&mut self, lab: &Lab, scenario: &Scenario) -> Result<(), CheckError> {
        let part = self.part;
        let stops = scenario.route.iter().cycle().take(scenario.route.len().saturating_mul(scenario.rounds));
        for &stop in stops {
            let dwell = if self.at == Stop::Home { scenario.dwell_home } else { scenario.dwell };
            let until = Instant::now() + dwell;
            self.stay_while(|| Instant::now() < until);
            if part.has_ended() || !self.go(lab, stop)? {
                break;
            }
            if let Stop::Node(number) = stop {
                match Stay::prove(part.outer_pid, lab.node(number), scenario.work, scenario.patience) {
                    Ok(stay) => self.stays.push(stay),
                    // A body that has just ended proves nothing and is no failure.
                    Err(_) if part.has_ended() => break,
                    Err(error) => return Err(error.into()),
                }
            }
            self.at = stop;
        }
        Ok(())
    }

    /// Lets the program work while `condition` holds, or until it ends.
    pub(super) fn stay_while(&mut self, condition: impl Fn() -> bool) {
        while !self.part.has_ended() && condition() {
            self.sample();
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    /// The part of the sampled CPU time that was spent away, from 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "ticks of a test are far below 2^52")]
    pub fn away_share(&self) -> f64 {
        match (self.away_ticks + self.home_ticks).all() {
            0 => 0.0,
            all => self.away_ticks.all() as f64 / all as f64,
        }
    }

    /// False if the program ended before the move was done.
    fn go(&mut self, lab: &Lab, stop: Stop) -> Result<bool, CheckError> {
        let to = match stop {
            Stop::Node(number) => lab.node(number).name(),
            Stop::Home => "home",
        };
        let mut moving = lab.node(1).start_homing(&["move", &self.part.pid.to_string(), to])?;
        // It works on while it is being moved.
        while !moving.has_ended()? {
            self.sample();
            thread::sleep(SAMPLE_INTERVAL);
        }
        let finished = moving.finish(MOVE_PATIENCE)?;
        self.leave();
        if self.part.has_ended() {
            return Ok(false);
        }
        if finished.code != 0 {
            let reason = String::from_utf8_lossy(&finished.errors).trim().to_owned();
            let (number, to) = (self.moves + 1, to.to_owned());
            return Err(CheckError::Move { number, to, code: finished.code, reason });
        }
        self.moves += 1;
        self.diary.push((self.started.elapsed(), finished.text()));
        Ok(true)
    }

    /// The family has left where it was: what it used there is final.
    pub(super) fn leave(&mut self) {
        self.away_ticks = self.away_ticks + std::mem::take(&mut self.here_ticks);
    }

    /// What has ended cannot be asked any more; the last sample then stands.
    fn sample(&mut self) {
        self.home_ticks = later(self.home_ticks, self.part.ticks());
        if let (Stop::Node(_), Some(stay)) = (self.at, self.stays.last()) {
            self.here_ticks = later(self.here_ticks, stay.away_ticks());
        }
    }
}

/// The later of two readings of one count: what has ended between them has taken its time with it.
fn later(one: Ticks, other: Ticks) -> Ticks {
    if one.all() < other.all() { other } else { one }
}

const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);

/// For the output of a command that has ended.
const MOVE_PATIENCE: Duration = Duration::from_secs(20);
