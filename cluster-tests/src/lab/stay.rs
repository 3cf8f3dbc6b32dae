//! The proof that a family is away, taken from outside homing.

use std::thread;
use std::time::{Duration, Instant};

use super::{LabError, LabNode, Ticks, process, usage};

/// A proven stay: the process at home neither holds memory nor computes, and its family at the guest does compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The body, as this process numbers it.
    pub body: u32,
    /// Resident memory of the process at home, in KiB.
    pub home_resident_kib: u64,
    /// User time that the family gained while the process at home stood still, in clock ticks.
    pub gained_ticks: u64,
    /// User time that the process at home was given meanwhile, in clock ticks: what [`Stay::prove`] takes for none.
    pub home_gained_ticks: u64,
}

impl Stay {
    /// Proves that the process numbered `home` here has its body at `guest`.
    ///
    /// # Errors
    /// [`LabError::NotAway`] when there is no body of that number at `guest`, when the process at home holds more than
    /// [`HOME_RESIDENT_KIB_MAX`] for longer than two seconds, or when for `patience` it does not stand still while a
    /// body that should compute does so.
    pub fn prove(home: u32, guest: &LabNode, work: Work, patience: Duration) -> Result<Stay, LabError> {
        let not_away = |reason: String| LabError::NotAway { reason };
        let number = process::inner_pid(home);
        let body = guest.bodies()?.into_iter().find(|&body| process::inner_pid(body) == number);
        let body = body.ok_or_else(|| not_away(format!("no body {number:?} at {}", guest.name())))?;
        let arrived = Instant::now();
        let deadline = arrived + patience;
        let (mut started, mut before) = (Instant::now(), ticks(home, body)?);
        loop {
            let home_resident_kib = usage(home)?.resident_kib;
            if home_resident_kib > HOME_RESIDENT_KIB_MAX && arrived.elapsed() < GIVE_BACK_MAX {
                thread::sleep(SAMPLE_INTERVAL);
                continue;
            }
            if home_resident_kib > HOME_RESIDENT_KIB_MAX {
                return Err(not_away(format!("process {home} at home holds {home_resident_kib} KiB")));
            }
            let now = ticks(home, body)?;
            let (home_gained, gained) = (now.0.since(before.0).user, now.1.since(before.1).user);
            let stands_still = home_gained <= HOME_TICKS_MAX + gained / FAMILY_TICKS_PER_HOME_TICK;
            if stands_still && gained >= work.gain_ticks_min() && started.elapsed() >= STAND_STILL_MIN {
                return Ok(Stay {
                    body,
                    home_resident_kib,
                    gained_ticks: gained,
                    home_gained_ticks: home_gained,
                });
            }
            if Instant::now() > deadline {
                let gains = format!("process {home} at home gained {home_gained} ticks, the family {gained}");
                return Err(not_away(format!("{gains}, in {:?} to {patience:?}", started.elapsed())));
            }
            if !stands_still && started.elapsed() >= INTERVAL_MAX {
                (started, before) = (Instant::now(), now);
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    /// CPU time that the family has spent at the guest so far; nothing once it has left.
    #[must_use]
    pub fn away_ticks(&self) -> Ticks {
        process::namespace_ticks(self.body)
    }
}

/// Of the process at home, and of the family at the guest.
fn ticks(home: u32, body: u32) -> Result<(Ticks, Ticks), LabError> {
    Ok((usage(home)?.own, process::namespace_ticks(body)))
}

/// What a program does most of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It or a child of it computes: a stay shows in the CPU time of the family.
    Computes,
    /// It waits: a stay shows in where its memory is.
    Waits,
}

impl Work {
    fn gain_ticks_min(self) -> u64 {
        match self {
            Work::Computes => 5 * HOME_TICKS_MAX,
            Work::Waits => 0,
        }
    }
}

/// What a process at home may hold while its body is away.
pub const HOME_RESIDENT_KIB_MAX: u64 = 1024;

/// Large memory is given back bit by bit, for a while after the body runs elsewhere.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

/// The kernel gives a whole tick of user time to whoever runs when its timer strikes, also to a shadow thread on its
/// way into a call: so much of it is none.
const HOME_TICKS_MAX: u64 = 2;

/// A family that calls and forks all the time has its shadow threads hit by the timer more often.
const FAMILY_TICKS_PER_HOME_TICK: u64 = 10;

/// For how long the process at home is watched at least.
const STAND_STILL_MIN: Duration = Duration::from_millis(50);

/// If the process at home has not stood still for so long, another interval is looked at.
const INTERVAL_MAX: Duration = Duration::from_secs(2);

const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
