//! How far home's clocks are ahead of this node's.
//!
//! The offsets of a time namespace can be set only before the first process enters it, so they are measured before a
//! family's namespaces are made: home is asked for its clocks several times, one question after the other. It read them
//! at some instant between question and answer, and the middle of the two is wrong by half of the time between them at
//! most. The shortest exchange of all counts: whatever waited somewhere on a busy machine made its exchange longer.
//!
//! What remains is an error of at most half of the shortest round trip. Between a thread's last instruction at one node
//! and its first at another lies more than a round trip, so the program's clocks do not step back, unless every
//! exchange took much longer than the frames of the move itself.

use std::io;
use std::time::Duration;

use migration::init::ClockOffsets;
use migration::sys::clock;

use crate::warden::handoff::Clocks;

/// What the exchanges so far have told.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    asked: Option<(u64, Clocks)>,
    questions: u64,
    best: Option<Exchange>,
    /// All exchanges together.
    spent_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Exchange {
    round_trip_ns: i64,
    ahead: ClockOffsets,
}

impl Estimate {
    /// The number of the next question, which is asked now.
    pub(super) fn ask(&mut self, now: Clocks) -> u64 {
        self.questions += 1;
        self.asked = Some((self.questions, now));
        self.questions
    }

    /// Home's answer to a question, heard now. True if it is worth asking once more.
    pub(super) fn heard(&mut self, question: u64, home: Clocks, now: Clocks) -> bool {
        let Some((_, asked)) = self.asked.take_if(|(number, _)| *number == question) else { return false };
        let round_trip_ns = now.monotonic_ns - asked.monotonic_ns;
        if self.best.is_none_or(|best| round_trip_ns < best.round_trip_ns) {
            let middle = |asked: i64, now: i64| asked + (now - asked) / 2;
            let ahead = ClockOffsets {
                monotonic_ns: home.monotonic_ns - middle(asked.monotonic_ns, now.monotonic_ns),
                boottime_ns: home.boottime_ns - middle(asked.boottime_ns, now.boottime_ns),
            };
            self.best = Some(Exchange { round_trip_ns, ahead });
        }
        self.spent_ns += round_trip_ns;
        self.questions < EXCHANGES_MIN || self.questions < EXCHANGES_MAX && self.spent_ns < SPENT_NS_MAX
    }

    /// How far the clocks of a namespace that is made here must be ahead of the machine's: this node's own may be
    /// shifted themselves.
    pub(super) fn offsets(&self) -> Option<ClockOffsets> {
        let Exchange { ahead, round_trip_ns } = self.best?;
        let round_trip = Duration::from_nanos(u64::try_from(round_trip_ns).unwrap_or(0));
        tracing::debug!(?ahead, ?round_trip, exchanges = self.questions, "home's clocks");
        Some(ClockOffsets {
            monotonic_ns: own_shift("monotonic") + ahead.monotonic_ns,
            boottime_ns: own_shift("boottime") + ahead.boottime_ns,
        })
    }
}

/// This node's clocks now.
pub(super) fn own() -> io::Result<Clocks> {
    Ok(Clocks { monotonic_ns: clock::monotonic_ns()?, boottime_ns: clock::boottime_ns()? })
}

/// By which this process's namespace shifts the machine's clock.
fn own_shift(clock: &str) -> i64 {
    let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let shift = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == clock).then_some(())?;
        let seconds: i64 = words.next()?.parse().ok()?;
        Some(seconds * 1_000_000_000 + words.next()?.parse::<i64>().ok()?)
    });
    shift.unwrap_or(0)
}

/// So that one that met nothing on its way is among them.
const EXCHANGES_MIN: u64 = 4;

const EXCHANGES_MAX: u64 = 16;

/// Over a long line the exchanges must not make up the move.
const SPENT_NS_MAX: i64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Home's clocks are ahead by this.
    const AHEAD_NS: i64 = 3_600_000_000_000;

    /// Both ends with a clock of their own, and a network in between.
    fn exchange(estimate: &mut Estimate, now_ns: &mut i64, there_ns: i64, back_ns: i64) -> bool {
        let clocks = |ns: i64| Clocks { monotonic_ns: ns, boottime_ns: ns + 1_000 };
        let question = estimate.ask(clocks(*now_ns));
        let home = clocks(*now_ns + there_ns + AHEAD_NS);
        *now_ns += there_ns + back_ns;
        estimate.heard(question, home, clocks(*now_ns))
    }

    fn ahead_ns(estimate: &Estimate) -> i64 {
        let ahead = estimate.best.expect("an exchange").ahead;
        assert_eq!(ahead.monotonic_ns, ahead.boottime_ns);
        ahead.monotonic_ns
    }

    #[test]
    fn the_exchange_that_met_nothing_on_its_way_counts() {
        let (mut estimate, mut now_ns) = (Estimate::default(), 7_000);
        // The question of the first and the answer of the third wait 15 ms in some queue.
        for (there_ns, back_ns) in [(15_000_000, 100_000), (120_000, 80_000), (100_000, 15_000_000)] {
            assert!(exchange(&mut estimate, &mut now_ns, there_ns, back_ns));
        }
        assert_eq!(ahead_ns(&estimate) - AHEAD_NS, 20_000);
    }

    #[test]
    fn the_error_is_half_of_the_shortest_round_trip_at_most() {
        for (there_ns, back_ns) in [(0, 200_000), (200_000, 0), (90_000, 110_000)] {
            let (mut estimate, mut now_ns) = (Estimate::default(), 0);
            while exchange(&mut estimate, &mut now_ns, there_ns, back_ns) {}
            assert!((ahead_ns(&estimate) - AHEAD_NS).abs() <= 100_000);
        }
    }

    #[test]
    fn asking_ends_soon_over_a_long_line_and_later_over_a_short_one() {
        let exchanges = |way_ns| {
            let (mut estimate, mut now_ns) = (Estimate::default(), 0);
            while exchange(&mut estimate, &mut now_ns, way_ns, way_ns) {}
            estimate.questions
        };
        assert_eq!(exchanges(100_000), EXCHANGES_MAX);
        assert_eq!(exchanges(50_000_000), EXCHANGES_MIN);
    }

    #[test]
    fn an_answer_to_another_question_says_nothing() {
        let clocks = Clocks { monotonic_ns: 5, boottime_ns: 5 };
        let mut estimate = Estimate::default();
        let question = estimate.ask(clocks);
        assert!(!estimate.heard(question + 1, clocks, clocks));
        assert!(estimate.best.is_none());
        assert!(estimate.heard(question, clocks, clocks));
    }
}
