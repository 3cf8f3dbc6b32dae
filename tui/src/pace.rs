//! When to draw: at once for keys, at the chosen rate for views, and once a storm of resizes is over.

use std::time::Duration;

/// A size is drawn when it stood still for this long.
pub(crate) const RESIZE_QUIET: Duration = Duration::from_millis(50);

/// Frames that follow keys are at least this far apart: a held key must not flood the terminal.
const KEY_FRAME_MIN: Duration = Duration::from_millis(33);

/// Decides, on the times it is told; all are counted from the dashboard's beginning.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    drawn: Option<Duration>,
    /// When the next frame is due, if one is.
    due: Option<Duration>,
    resized: Option<Duration>,
}

impl Pace {
    /// Something changed by itself; at most `rate_hz` frames per second follow.
    pub(crate) fn changed(&mut self, now: Duration, rate_hz: f32) {
        self.want(now, Duration::from_secs_f32(1.0 / rate_hz));
    }

    /// The user did something.
    pub(crate) fn urgent(&mut self, now: Duration) {
        self.want(now, KEY_FRAME_MIN);
    }

    /// The terminal has a new size.
    pub(crate) fn resized(&mut self, now: Duration) {
        self.resized = Some(now);
        self.urgent(now);
    }

    /// How long nothing needs to be drawn; `None` if nothing waits to be.
    pub(crate) fn wait(&self, now: Duration) -> Option<Duration> {
        let due = self.due?;
        let quiet = self.resized.map_or(due, |resized| resized + RESIZE_QUIET);
        Some(due.max(quiet).saturating_sub(now))
    }

    /// A frame was drawn.
    pub(crate) fn drawn(&mut self, now: Duration) {
        *self = Pace { drawn: Some(now), due: None, resized: None };
    }

    fn want(&mut self, now: Duration, apart: Duration) {
        let earliest = self.drawn.map_or(now, |drawn| (drawn + apart).max(now));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn views_are_drawn_at_the_rate_and_keys_at_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait(ms(0)), None);
        pace.changed(ms(0), 2.0);
        assert_eq!(pace.wait(ms(0)), Some(ms(0)), "the first one is not delayed");
        pace.drawn(ms(0));
        assert_eq!(pace.wait(ms(0)), None);
        pace.changed(ms(100), 2.0);
        assert_eq!(pace.wait(ms(100)), Some(ms(400)));
        pace.urgent(ms(110));
        assert_eq!(pace.wait(ms(110)), Some(ms(0)));
        pace.drawn(ms(110));
        pace.urgent(ms(120));
        assert_eq!(pace.wait(ms(120)), Some(ms(23)), "a held key");
    }

    #[test]
    fn a_storm_of_resizes_is_drawn_once() {
        let mut pace = Pace::default();
        let mut frames = 0;
        for millisecond in 0..1_000 {
            pace.resized(ms(millisecond));
            if pace.wait(ms(millisecond)) == Some(ms(0)) {
                frames += 1;
                pace.drawn(ms(millisecond));
            }
        }
        assert_eq!(frames, 0);
        assert_eq!(pace.wait(ms(999)), Some(RESIZE_QUIET));
    }
}
