//! Named instants of a move at which a warden can be made to die, or to stand still, and damage to what it sends, so that
//! tests meet the narrow windows and the rare accidents too.
//!
//! `HOMING_FAIL=guest.context:kill` in the environment of an agent has its guest wardens die by SIGKILL when they are
//! told to complete a body; with `:stop` in place of `:kill` they stop there, once, until they are sent SIGCONT, and with
//! `:stop 2` when it is the second time. The instants are `guest.STEP` before a step that home has asked for, `home.STEP`
//! after a word of a guest was heard, both with the names of [`handoff`](super::handoff); `home.to DEED` before home asks
//! a seat for a deed of [`migration::handoff::Ask`]; `home.recorded` and `home.committed` when an epoch may be used, and
//! when it counts. `HOMING_FAIL=pages:damage 50` flips a bit in every fiftieth batch of pages that its wardens send.
//! Without the variable nothing happens.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Takes in what the environment asks for.
///
/// # Errors
/// When it asks for what cannot be had: a test would pass without having tested.
pub(super) fn arm() -> Result<(), String> {
    if let Ok(text) = env::var(VARIABLE) {
        let fault = parse(&text);
        let fault = fault.ok_or_else(|| {
            format!("{VARIABLE}={text} is not `SIDE.STEP:kill [N]`, `SIDE.STEP:stop [N]` or `pages:damage N`")
        })?;
        FAULT.get_or_init(|| fault);
    }
    Ok(())
}

/// Dies or stands still if this is the instant.
pub(super) fn pass(side: &str, step: &str) {
    if let Some(Fault::Signal { instant, time, signal }) = FAULT.get()
        && instant.split_once('.') == Some((side, step))
        && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *time
    {
        // It cannot fail for oneself.
        let _ = kill_process(getpid(), *signal);
    }
}

/// Flips a bit of a batch of pages, if it is one of those that are to be damaged.
pub(super) fn damage(batch: &mut [u8]) {
    if let Some(Fault::Damage(every)) = FAULT.get() {
        let number = BATCHES.fetch_add(1, Ordering::Relaxed) + 1;
        let at = number.wrapping_mul(SPREAD) % batch.len().max(1);
        if let Some(byte) = batch.get_mut(at).filter(|_| number.is_multiple_of(*every)) {
            *byte ^= 1 << (number % 8);
        }
    }
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    /// The warden gets this signal.
    Signal {
        /// When.
        instant: String,
        /// The how-manieth time of it that is; the first one is 1.
        time: usize,
        signal: Signal,
    },
    /// Every batch of pages of which the number is a multiple of this.
    Damage(usize),
}

fn parse(text: &str) -> Option<Fault> {
    if let Some(every) = text.strip_prefix("pages:damage ") {
        return every.parse().ok().filter(|every| *every > 0).map(Fault::Damage);
    }
    let (instant, fault) = text.split_once(':')?;
    let (name, time) = fault.split_once(' ').unwrap_or((fault, "1"));
    let signal = match name {
        "kill" => Signal::KILL,
        "stop" => Signal::STOP,
        _ => return None,
    };
    let time = time.parse().ok().filter(|time| *time > 0)?;
    let (side, step) = instant.split_once('.')?;
    let is_instant = ["home", "guest"].contains(&side) && !step.is_empty();
    is_instant.then(|| Fault::Signal { instant: instant.to_owned(), time, signal })
}

/// What [`arm`] has taken in.
static FAULT: OnceLock<Fault> = OnceLock::new();

/// How often the instant has come.
static PASSES: AtomicUsize = AtomicUsize::new(0);

/// Batches sent so far, while some are to be damaged.
static BATCHES: AtomicUsize = AtomicUsize::new(0);

/// A prime, so that the flipped bit is always elsewhere.
const SPREAD: usize = 7919;

const VARIABLE: &str = "HOMING_FAIL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_had_can_be_asked_for() {
        let at = |instant: &str, time, signal| Fault::Signal { instant: instant.to_owned(), time, signal };
        assert_eq!(parse("home.ready:kill"), Some(at("home.ready", 1, Signal::KILL)));
        assert_eq!(parse("guest.send rest:kill"), Some(at("guest.send rest", 1, Signal::KILL)));
        assert_eq!(parse("home.to copy:stop 2"), Some(at("home.to copy", 2, Signal::STOP)));
        assert_eq!(parse("pages:damage 50"), Some(Fault::Damage(50)));
        let bad = [
            "",
            "home.ready",
            "home.ready:sing",
            "ready:kill",
            "agent.ready:kill",
            ":kill",
            "home.:kill",
            "home.ready:stop 0",
        ];
        for bad in bad.into_iter().chain(["pages:damage", "pages:damage 0", "pages:damage all"]) {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
