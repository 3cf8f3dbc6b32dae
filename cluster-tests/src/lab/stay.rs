//! The proof that a family is away, taken from outside homing.

use std::thread;
use std::time::{Duration, Instant};

use super::process::{self, Usage};
use super::{LabError, LabNode, usage};

/// A proven stay: the process at home neither holds memory nor computes, and its family at the guest does compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The body, as this process numbers it.
    pub body: u32,
    /// Resident memory of the process at home, in KiB.
    pub home_resident_kib: u64,
    /// User time that the family gained while the process at home gained none, in clock ticks.
    pub gained_ticks: u64,
}

impl Stay {
    /// Proves that the process numbered `home` here has its body at `guest`.
    ///
    /// # Errors
    /// [`LabError::NotAway`] when there is no body of that number at `guest`, when the process at home holds more than
    /// [`HOME_RESIDENT_KIB_MAX`] or computes, or when a body that should compute has not done so for `patience`.
    pub fn prove(home: u32, guest: &LabNode, work: Work, patience: Duration) -> Result<Stay, LabError> {
        let not_away = |reason: String| LabError::NotAway { reason };
        let number = process::inner_pid(home);
        let body = guest.bodies()?.into_iter().find(|&body| process::inner_pid(body) == number);
        let body = body.ok_or_else(|| not_away(format!("no body {number:?} at {}", guest.name())))?;
        let (home_before, family_before) = (usage(home)?, process::namespace_ticks(body));
        let started = Instant::now();
        let deadline = started + patience;
        loop {
            let Usage { resident_kib, user_ticks, .. } = usage(home)?;
            if resident_kib > HOME_RESIDENT_KIB_MAX {
                return Err(not_away(format!("process {home} at home holds {resident_kib} KiB")));
            }
            let home_gained = user_ticks - home_before.user_ticks;
            // Time is counted by sampling, and a deputy that forks for its body is sampled now and then.
            let sampled = process::namespace_ticks(body).saturating_sub(family_before) / 10;
            if home_gained > HOME_TICKS_MAX.max(2) + sampled {
                return Err(not_away(format!("process {home} at home gained {home_gained} ticks")));
            }
            let gained_ticks = process::namespace_ticks(body).saturating_sub(family_before);
            if gained_ticks >= work.gain_ticks_min() && started.elapsed() >= STAND_STILL_MIN {
                return Ok(Stay { body, home_resident_kib: resident_kib, gained_ticks });
            }
            if Instant::now() > deadline {
                return Err(not_away(format!("the family gained {gained_ticks} ticks in {patience:?}")));
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    /// User time that the family has spent at the guest so far, in clock ticks; nothing once it has left.
    #[must_use]
    pub fn away_ticks(&self) -> u64 {
        process::namespace_ticks(self.body)
    }
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
            Work::Computes => 10 * HOME_TICKS_MAX,
            Work::Waits => 0,
        }
    }
}

/// What a process at home may hold while its body is away.
pub const HOME_RESIDENT_KIB_MAX: u64 = 1024;

/// The kernel gives a whole tick to whoever runs when its timer strikes, also to a shadow thread on its way into a
/// call.
const HOME_TICKS_MAX: u64 = 1;

/// For how long the process at home is watched at least.
const STAND_STILL_MIN: Duration = Duration::from_millis(50);

const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
