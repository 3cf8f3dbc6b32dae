//! How many rounds of pre-copy are worth it: a state machine that is told what each look at the memory found.
//!
//! ```text
//!          Found(bytes)                     Placed(bytes, time)
//!   ┌────────────────────▶ send a round ────────────────────────┐
//!  look                                                         │
//!   ▲ └──▶ freeze: little is left, or no round makes it less    │
//!   └───────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes differ at the receiver.
    Found(u64),
    /// So many bytes are in place there, and it took so long.
    Placed(u64, Duration),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send what was found, while the program runs.
    Send,
    /// See what has changed since.
    Look,
    /// Freeze the program; the rest goes then.
    Freeze,
}

/// The pre-copy of one family for one move.
#[derive(Clone, Copy, Debug, Default)]
pub struct Precopy {
    rounds: u32,
    /// The least that a look has found so far.
    least: Option<u64>,
    /// Looks in a row that found hardly less than that: garbage collectors dirty now more and now less.
    stuck: u32,
    bytes_per_second: Option<u64>,
    /// What the last look found.
    found: u64,
}

impl Precopy {
    /// Rounds sent so far.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// How long it would take to send what the last look has found, at the rate of the last round; nothing if none was
    /// sent.
    #[must_use]
    pub fn rest(&self) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        Duration::from_millis(self.found.saturating_mul(1000) / rate.max(1))
    }

    /// Takes an event, says what follows.
    pub fn step(&mut self, event: Event) -> Action {
        match event {
            Event::Found(bytes) => {
                self.found = bytes;
                let shrinks =
                    self.least.is_none_or(|least| bytes.saturating_mul(5) < least.saturating_mul(4));
                self.stuck = if shrinks { 0 } else { self.stuck + 1 };
                self.least = Some(self.least.map_or(bytes, |least| least.min(bytes)));
                if self.is_worth_it(bytes) {
                    self.rounds += 1;
                    Action::Send
                } else {
                    Action::Freeze
                }
            }
            Event::Placed(bytes, time) => {
                let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
                self.bytes_per_second = Some(bytes.saturating_mul(1_000_000) / micros);
                Action::Look
            }
        }
    }

    fn is_worth_it(&self, bytes: u64) -> bool {
        let quick = self
            .bytes_per_second
            .is_some_and(|rate| u128::from(bytes) * 1000 <= u128::from(rate) * REST_GOAL.as_millis());
        bytes > BYTES_MIN && !quick && self.stuck < STUCK_MAX && self.rounds < ROUNDS_MAX
    }
}

/// Less than this costs the program nothing that it would notice.
pub const BYTES_MIN: u64 = 256 * 1024;

/// What is left may take so long, at the rate of the round before.
const REST_GOAL: Duration = Duration::from_millis(4);

/// A program that dirties its memory as fast as the line takes it is frozen after so many fruitless looks.
const STUCK_MAX: u32 = 2;

/// In any case.
const ROUNDS_MAX: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    /// Virtual time: a line of `line` bytes/s, a program that dirties `dirty` bytes/s of a working set.
    fn run(heap: u64, dirty: u64, working_set: u64, line: u64) -> (u32, u64) {
        let mut precopy = Precopy::default();
        let mut found = heap;
        while precopy.step(Event::Found(found)) == Action::Send {
            let time = Duration::from_micros(found * 1_000_000 / line);
            assert_eq!(precopy.step(Event::Placed(found, time)), Action::Look);
            found = (dirty * u64::try_from(time.as_micros()).expect("short") / 1_000_000).min(working_set);
        }
        (precopy.rounds(), found)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_idle_program_is_sent_in_one_round() {
        assert_eq!(run(256 * MIB, 0, 0, 400 * MIB), (1, 0));
    }

    #[test]
    fn a_small_program_is_not_worth_a_round() {
        assert_eq!(run(BYTES_MIN, 0, 0, 400 * MIB), (0, BYTES_MIN));
    }

    #[test]
    fn a_busy_program_converges_when_the_line_is_faster() {
        let (rounds, rest) = run(256 * MIB, 100 * MIB, 256 * MIB, 400 * MIB);
        assert!((2..=6).contains(&rounds), "{rounds} rounds");
        assert!(rest <= 400 * MIB * 4 / 1000, "{rest} bytes are left");
    }

    #[test]
    fn a_program_that_outruns_the_line_is_frozen_after_a_few_rounds() {
        let (rounds, rest) = run(256 * MIB, 900 * MIB, 64 * MIB, 400 * MIB);
        assert!(rounds <= 4, "{rounds} rounds");
        assert_eq!(rest, 64 * MIB);
    }

    #[test]
    fn the_rest_is_known_by_the_rate_of_the_last_round() {
        let mut precopy = Precopy::default();
        precopy.step(Event::Found(8 * MIB));
        assert_eq!(precopy.rest(), Duration::ZERO);
        precopy.step(Event::Placed(8 * MIB, Duration::from_secs(8)));
        precopy.step(Event::Found(5 * MIB));
        assert_eq!(precopy.rest(), Duration::from_secs(5));
    }

    #[test]
    fn a_program_that_dirties_now_more_and_now_less_is_frozen_as_soon() {
        let mut precopy = Precopy::default();
        for found in [100 * MIB, 60 * MIB, 80 * MIB] {
            assert_eq!(precopy.step(Event::Found(found)), Action::Send);
            precopy.step(Event::Placed(found, Duration::from_secs(1)));
        }
        assert_eq!(precopy.step(Event::Found(55 * MIB)), Action::Freeze);
    }

    #[test]
    fn no_sequence_of_findings_goes_on_for_ever() {
        let mut precopy = Precopy::default();
        let mut found = u64::MAX;
        for _ in 0..=ROUNDS_MAX {
            if precopy.step(Event::Found(found)) == Action::Freeze {
                return;
            }
            precopy.step(Event::Placed(found, Duration::ZERO));
            found = found / 4 * 3;
        }
        panic!("more than {ROUNDS_MAX} rounds");
    }
}
