//! Waiting for the next event: awake for a moment where it is likely to come at once, asleep otherwise.
//!
//! A call of a body passes four sleeping threads on two machines. To wake one takes the kernel longer than all that
//! homing does with the call, most of all on a processor that sleeps too: a `getppid` takes 145 us where every thread
//! goes to sleep at once and 52 us where both wardens stay awake (measured on two idle virtual processors).

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

/// How long a warden has waited lately, and so whether it stays awake.
#[derive(Debug)]
pub(super) struct Alert {
    /// Mean of the last waits, each one counted with [`WAIT_MAX`] at most.
    mean: Duration,
    /// Until then others need the processor more.
    asleep_until: Option<Instant>,
    /// How long it leaves the processor to others the next time.
    rest: Duration,
    /// Waits since then, spent awake, in which nobody else wanted it.
    alone: u32,
}

impl Alert {
    /// Asleep at first.
    pub(super) fn new() -> Alert {
        Alert { mean: WAIT_MAX, asleep_until: None, rest: REST_MIN, alone: 0 }
    }

    /// The next event; `None` when nobody is left to send one.
    pub(super) async fn next<T>(&mut self, inbox: &mut UnboundedReceiver<T>) -> Option<T> {
        let began = Instant::now();
        let event = match self.awake(inbox, began).await {
            Some(event) => Some(event),
            None => inbox.recv().await,
        };
        self.note(began.elapsed());
        event
    }

    fn was_alone(&mut self) {
        self.alone += 1;
        if self.alone >= ALONE {
            self.rest = REST_MIN;
        }
    }

    fn give_way(&mut self) -> Duration {
        self.alone = 0;
        let rest = self.rest;
        self.rest = (rest * 2).min(REST_MAX);
        rest
    }

    fn note(&mut self, wait: Duration) {
        self.mean = (self.mean * 7 + wait.min(WAIT_MAX)) / 8;
    }

    /// Looks again and again, and gives the processor away between two looks: whoever shares it, most often the body
    /// or the shadow thread itself, goes first.
    async fn awake<T>(&mut self, inbox: &mut UnboundedReceiver<T>, began: Instant) -> Option<T> {
        if self.mean > MEAN_MAX || self.asleep_until.is_some_and(|until| began < until) {
            return None;
        }
        let mut now = began;
        while now - began < AWAKE_MAX {
            if let Ok(event) = inbox.try_recv() {
                self.was_alone();
                return Some(event);
            }
            let given_away = Instant::now();
            std::thread::yield_now();
            now = Instant::now();
            if now - given_away > AWAY_MAX {
                self.asleep_until = Some(now + self.give_way());
                break;
            }
            // The event loop looks at its descriptors and comes back.
            tokio::task::yield_now().await;
        }
        None
    }
}

/// With longer waits than this one after the other, being woken late matters less than the processor time.
const MEAN_MAX: Duration = Duration::from_micros(150);

/// How long a warden stays awake for one event: a call and its reply between two machines of a local network.
const AWAKE_MAX: Duration = Duration::from_micros(250);

/// A pause in the calls counts as so long.
const WAIT_MAX: Duration = Duration::from_millis(1);

/// The processor comes back at once, or when body, shadow thread or the other warden have done their part of the call.
/// If it takes longer than this, somebody else has work for it.
const AWAY_MAX: Duration = Duration::from_micros(200);

/// How long the processor is left to them at first; twice as long each time they are met again.
const REST_MIN: Duration = Duration::from_millis(2);

/// And at most.
const REST_MAX: Duration = Duration::from_millis(500);

/// After so many waits without them they are forgotten.
const ALONE: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_without_pause_keep_it_awake_and_a_pause_lets_it_sleep() {
        let mut alert = Alert::new();
        (0..30).for_each(|_| alert.note(Duration::from_micros(90)));
        assert!(alert.mean < MEAN_MAX);
        (0..2).for_each(|_| alert.note(Duration::from_secs(5)));
        assert!(alert.mean > MEAN_MAX);
    }

    #[test]
    fn whoever_needs_the_processor_gets_it_for_longer_and_longer() {
        let mut alert = Alert::new();
        let rests: Vec<Duration> = (0..12).map(|_| alert.give_way()).collect();
        assert_eq!((rests[0], rests[1], rests[11]), (REST_MIN, REST_MIN * 2, REST_MAX));
        (1..ALONE).for_each(|_| alert.was_alone());
        assert_eq!(alert.rest, REST_MAX);
        alert.was_alone();
        assert_eq!(alert.give_way(), REST_MIN);
    }

    #[test]
    fn calls_now_and_then_never_wake_it() {
        let mut alert = Alert::new();
        for _ in 0..50 {
            alert.note(Duration::from_micros(90));
            alert.note(Duration::from_millis(1));
            assert!(alert.mean > MEAN_MAX);
        }
    }
}
