//! Named instants of a move at which a warden can be made to die, and damage to what it sends, so that tests meet the
//! narrow windows and the rare accidents too.
//!
//! `HOMING_FAIL=guest.context:kill` in the environment of an agent has its guest wardens die by SIGKILL when they are
//! told to complete a body. The instants are `guest.STEP` before a step that home has asked for, `home.STEP` after a
//! word of a guest was heard, both with the names of [`handoff`](super::handoff), and `home.recorded` and
//! `home.committed` when an epoch may be used, and when it counts. `HOMING_FAIL=pages:damage 50` flips a bit in every fiftieth batch of pages that its wardens send.
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
        let fault =
            fault.ok_or_else(|| format!("{VARIABLE}={text} is not `SIDE.STEP:kill` or `pages:damage N`"))?;
        FAULT.get_or_init(|| fault);
    }
    Ok(())
}

/// Dies if this is the instant.
pub(super) fn pass(side: &str, step: &str) {
    if let Some(Fault::Kill(instant)) = FAULT.get()
        && instant.split_once('.') == Some((side, step))
    {
        // It cannot fail for oneself, and nothing after it runs.
        let _ = kill_process(getpid(), Signal::KILL);
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
    /// The warden dies at this instant.
    Kill(String),
    /// Every batch of pages of which the number is a multiple of this.
    Damage(usize),
}

fn parse(text: &str) -> Option<Fault> {
    if let Some(every) = text.strip_prefix("pages:damage ") {
        return every.parse().ok().filter(|every| *every > 0).map(Fault::Damage);
    }
    let instant = text.strip_suffix(":kill")?;
    let (side, step) = instant.split_once('.')?;
    (["home", "guest"].contains(&side) && !step.is_empty()).then(|| Fault::Kill(instant.to_owned()))
}

/// What [`arm`] has taken in.
static FAULT: OnceLock<Fault> = OnceLock::new();

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
        assert_eq!(parse("home.ready:kill"), Some(Fault::Kill("home.ready".to_owned())));
        assert_eq!(parse("guest.send rest:kill"), Some(Fault::Kill("guest.send rest".to_owned())));
        assert_eq!(parse("pages:damage 50"), Some(Fault::Damage(50)));
        let bad =
            ["", "home.ready", "home.ready:sing", "ready:kill", "agent.ready:kill", ":kill", "home.:kill"];
        for bad in bad.into_iter().chain(["pages:damage", "pages:damage 0", "pages:damage all"]) {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
