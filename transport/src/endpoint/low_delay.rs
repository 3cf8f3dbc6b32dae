//! How much may be under way: as much as fills the link and keeps the queue in front of it short.
//!
//! Loss-based control (Cubic) fills whatever buffer the link has, and every call waits behind it: 33 ms behind 50 ms
//! of buffer on 1 Gbit/s. This controller steers the queueing delay to a target instead, as Vegas and FAST do: with
//! a window `w` and a round trip of `base + queue`, the link carries `w / (base + queue)`, so a window of
//! `w * (base + target) / (base + queue)` would queue for exactly the target.
//!
//! The base is the shortest round trip ever seen on the path; the queue is judged once per round trip, by the
//! shortest one within it, so that a delayed acknowledgement or a late thread does not count.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// Makes controllers with this target.
#[derive(Clone, Copy, Debug)]
pub(super) struct LowDelayConfig {
    /// The queueing delay to steer to.
    pub(super) target: Duration,
}

impl ControllerFactory for LowDelayConfig {
    fn build(self: Arc<Self>, now: Instant, _mtu_bytes: u16) -> Box<dyn Controller> {
        Box::new(LowDelay::new(self.target, now))
    }
}

/// The state for one path.
#[derive(Clone, Debug)]
struct LowDelay {
    target: Duration,
    /// Bytes that may be under way.
    window: u64,
    /// Doubling per round trip until the first sign of a queue.
    slow_start: bool,
    /// Shortest round trip of the path.
    base: Duration,
    round: Round,
    /// Losses of packets sent before this were answered already.
    recovery_began: Instant,
}

/// One round trip.
#[derive(Clone, Debug)]
struct Round {
    /// The acknowledgement of a packet sent from here on ends it.
    began: Instant,
    /// Shortest round trip within it.
    shortest: Duration,
    /// Acknowledgements seen.
    acks: u32,
    /// Whether there was less to send than the window allows, so that nothing is learned about a larger one.
    idle: bool,
}

impl LowDelay {
    fn new(target: Duration, now: Instant) -> LowDelay {
        LowDelay {
            target,
            window: WINDOW_BYTES_MIN,
            slow_start: true,
            base: Duration::MAX,
            round: Round::new(now),
            recovery_began: now,
        }
    }

    fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64, idle: bool) {
        let round_trip = now.saturating_duration_since(sent);
        self.base = self.base.min(round_trip);
        self.round.shortest = self.round.shortest.min(round_trip);
        self.round.idle |= idle;
        if self.slow_start && !idle {
            self.set_window(self.window.saturating_add(bytes));
        }
        self.round.acks += 1;
        // A window that doubles must not wait for the end of the round to see that it is large enough.
        let overshoots = self.slow_start && self.round.acks >= SLOW_START_ACKS && self.queue() > self.target;
        if sent >= self.round.began || overshoots {
            self.end_round(now);
        }
    }

    fn end_round(&mut self, now: Instant) {
        let queue = self.queue();
        let may_grow = !self.round.idle && !self.slow_start;
        if queue > self.target {
            self.slow_start = false;
        }
        let ratio = (self.base + self.target).as_secs_f64() / (self.base + queue).as_secs_f64();
        if ratio < 1.0 || may_grow {
            self.scale_window(ratio.clamp(SHRINK_PER_ROUND, GROWTH_PER_ROUND));
        }
        self.round = Round::new(now);
    }

    /// The queueing delay of the round so far.
    fn queue(&self) -> Duration {
        self.round.shortest - self.base
    }

    fn lost(&mut self, now: Instant, sent: Instant, persistent: bool) {
        if persistent {
            self.window = WINDOW_BYTES_MIN;
        } else if sent > self.recovery_began {
            self.scale_window(LOSS_REDUCTION);
        } else {
            return;
        }
        self.slow_start = false;
        self.recovery_began = now;
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn scale_window(&mut self, factor: f64) {
        // The window is far below 2^52, and no factor is negative.
        self.set_window((self.window as f64 * factor) as u64);
    }

    fn set_window(&mut self, bytes: u64) {
        self.window = bytes.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
    }
}

impl Round {
    fn new(now: Instant) -> Round {
        Round { began: now, shortest: Duration::MAX, acks: 0, idle: false }
    }
}

impl Controller for LowDelay {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _rtt: &RttEstimator) {
        self.acknowledged(now, sent, bytes, app_limited);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, _lost_bytes: u64) {
        self.lost(now, sent, persistent);
    }

    fn on_mtu_update(&mut self, _mtu_bytes: u16) {}

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW_BYTES_MIN
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Where a path begins, and what a connection keeps next to neighbours that fill every buffer.
const WINDOW_BYTES_MIN: u64 = 64 * 1024;

/// What a connection may have under way at all: without a bound the window of a link that never fills, such as
/// loopback, grows until the first change of path becomes a huge burst.
const WINDOW_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Acknowledgements that must agree on a queue before the doubling ends.
const SLOW_START_ACKS: u32 = 8;

/// Largest change of the window in one round trip.
const GROWTH_PER_ROUND: f64 = 1.25;
const SHRINK_PER_ROUND: f64 = 0.7;

/// What is left of the window after a loss.
const LOSS_REDUCTION: f64 = 0.7;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACKET_BYTES: u64 = 1452;

    /// A link with a queue in front of it, fed by one controller that always has something to send.
    struct Link {
        bytes_per_s: f64,
        base: Duration,
        buffer: Duration,
    }

    /// What a run looked like after its first second.
    struct Outcome {
        utilisation: f64,
        longest_queue: Duration,
        lost: u32,
    }

    fn run(link: &Link, target: Duration, duration: Duration) -> Outcome {
        let start = Instant::now();
        let packet = Duration::from_secs_f64(PACKET_BYTES as f64 / link.bytes_per_s);
        let mut control = LowDelay::new(target, start);
        // (acknowledged at, sent at), in this order, and the time at which the link is free again.
        let mut under_way: VecDeque<(Instant, Instant)> = VecDeque::new();
        let (mut now, mut free) = (start, start);
        let mut outcome = Outcome { utilisation: 0.0, longest_queue: Duration::ZERO, lost: 0 };
        let mut delivered = 0;
        while now < start + duration {
            while under_way.len() as u64 * PACKET_BYTES < control.window() {
                let queue = free.saturating_duration_since(now);
                if queue > link.buffer {
                    outcome.lost += 1;
                    control.lost(now, now, false);
                    break;
                }
                if now > start + 1000 * MS {
                    outcome.longest_queue = outcome.longest_queue.max(queue);
                }
                free = free.max(now) + packet;
                under_way.push_back((free + link.base, now));
            }
            let (at, sent) = under_way.pop_front().unwrap();
            now = at;
            control.acknowledged(now, sent, PACKET_BYTES, false);
            delivered += u64::from(now > start + 1000 * MS);
        }
        let seconds = (duration - 1000 * MS).as_secs_f64();
        outcome.utilisation = delivered as f64 * PACKET_BYTES as f64 / seconds / link.bytes_per_s;
        outcome
    }

    fn check(link: &Link, target: Duration) {
        let Outcome { utilisation, longest_queue, lost } = run(link, target, 5000 * MS);
        assert!(utilisation > 0.95, "{utilisation} of the link");
        assert!(longest_queue < 2 * target + MS, "queued for {longest_queue:?}");
        assert_eq!(lost, 0, "lost packets");
    }

    #[test]
    fn links_are_filled_with_a_short_queue_and_without_loss() {
        for (megabytes_per_s, base_us) in
            [(125.0, 100), (125.0, 1_000), (12.5, 500), (1250.0, 50), (125.0, 20_000)]
        {
            let base = Duration::from_micros(base_us);
            check(&Link { bytes_per_s: megabytes_per_s * 1e6, base, buffer: 50 * MS }, 3 * MS);
        }
    }

    #[test]
    fn a_short_buffer_costs_some_packets_and_not_the_link() {
        let link = Link { bytes_per_s: 125e6, base: MS, buffer: 2 * MS };
        let outcome = run(&link, 3 * MS, 5000 * MS);
        assert!(outcome.utilisation > 0.8, "{} of the link", outcome.utilisation);
        assert!(outcome.lost > 0);
    }

    #[test]
    fn an_idle_connection_learns_nothing_about_larger_windows() {
        let start = Instant::now();
        let mut control = LowDelay::new(MS, start);
        for n in 0..1000 {
            let sent = start + n * MS;
            control.acknowledged(sent + MS / 10, sent, PACKET_BYTES, true);
        }
        assert_eq!(control.window(), WINDOW_BYTES_MIN);
    }

    #[test]
    fn the_window_is_bounded_both_ways() {
        let start = Instant::now();
        let mut control = LowDelay::new(MS, start);
        for n in 0..100_000 {
            let sent = start + n * MS;
            control.acknowledged(sent + MS / 10, sent, 1_000_000, false);
        }
        assert_eq!(control.window(), WINDOW_BYTES_MAX);
        for n in 100_000..100_100 {
            control.lost(start + n * MS, start + n * MS, false);
        }
        assert_eq!(control.window(), WINDOW_BYTES_MIN);
    }

    #[test]
    fn one_loss_is_answered_once() {
        let start = Instant::now();
        let mut control = LowDelay::new(MS, start);
        control.set_window(1_000_000);
        control.lost(start + 5 * MS, start + MS, false);
        control.lost(start + 6 * MS, start + 2 * MS, false);
        assert_eq!(control.window(), 700_000);
        control.lost(start + 9 * MS, start + 2 * MS, true);
        assert_eq!(control.window(), WINDOW_BYTES_MIN);
    }
}
