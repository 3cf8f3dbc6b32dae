//! Whether the owner of a machine is at work.
//!
//! ```text
//!            input, sustained own load, or `reclaim`
//!   [away] ────────────────────────────────────────▶ [at work]
//!      ▲                                                 │
//!      └─────────────────── 60 s of nothing ─────────────┘
//! ```

use std::time::Duration;

/// What an agent sees of the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signs {
    /// Time since the last input at a console or terminal, if there ever was one.
    pub idle: Option<Duration>,
    /// Processors that the processes of the configured users take.
    pub demand: f64,
    /// The owner said so.
    pub reclaim: bool,
}

/// The owner as this node knows him.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owner {
    busy_since: Option<Duration>,
    last_sign: Option<Duration>,
}

impl Owner {
    /// Takes note of the signs; true while the owner is at work.
    pub fn step(&mut self, signs: Signs, now: Duration) -> bool {
        self.busy_since = (signs.demand > DEMAND).then(|| self.busy_since.unwrap_or(now));
        let busy = self.busy_since.is_some_and(|since| now.saturating_sub(since) >= SUSTAINED);
        let input = signs.idle.map(|idle| now.saturating_sub(idle));
        if busy || signs.reclaim {
            self.last_sign = Some(now);
        } else if input > self.last_sign {
            self.last_sign = input;
        }
        self.last_sign.is_some_and(|last| now.saturating_sub(last) < REOPEN)
    }
}

/// Processors: less is background work.
const DEMAND: f64 = 0.3;

/// For how long the owner's processes must be busy.
const SUSTAINED: Duration = Duration::from_secs(10);

/// A node takes guests again after so much silence: owners that have just left come back (Sprite).
const REOPEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn input_and_sustained_load_show_the_owner() {
        let mut owner = Owner::default();
        let idle = |idle| Signs { idle: Some(seconds(idle)), ..Signs::default() };
        assert!(!owner.step(idle(3600), seconds(4000)));
        assert!(owner.step(idle(0), seconds(4001)));
        assert!(owner.step(idle(59), seconds(4060)));
        assert!(!owner.step(idle(60), seconds(4061)));
        let busy = Signs { demand: 0.5, ..Signs::default() };
        assert!(!owner.step(busy, seconds(5000)));
        assert!(!owner.step(busy, seconds(5009)));
        assert!(owner.step(busy, seconds(5010)));
        assert!(!owner.step(Signs::default(), seconds(5071)));
        assert!(!owner.step(busy, seconds(5072)), "a new start");
    }

    #[test]
    fn reclaim_holds_until_it_is_quiet() {
        let mut owner = Owner::default();
        assert!(owner.step(Signs { reclaim: true, ..Signs::default() }, seconds(1)));
        assert!(owner.step(Signs::default(), seconds(60)));
        assert!(!owner.step(Signs::default(), seconds(61)));
    }
}
