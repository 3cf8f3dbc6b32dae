//! Named instants of a move at which a warden can be made to die, so that tests meet the narrow windows too.
//!
//! `HOMING_FAIL=guest.context:kill` in the environment of an agent has its guest wardens die by SIGKILL when they are
//! told to complete a body. The instants are `guest.STEP` before a step that home has asked for, `home.STEP` after a
//! word of a guest was heard, both with the names of [`handoff`](super::handoff), and `home.granted` when the new
//! epoch is recorded. Without the variable nothing happens.

use std::env;
use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};

/// Takes in what the environment asks for.
///
/// # Errors
/// When it asks for what cannot be had: a test would pass without having tested.
pub(super) fn arm() -> Result<(), String> {
    if let Ok(text) = env::var(VARIABLE) {
        INSTANT.get_or_init(|| text.clone());
        return parse(&text).map(drop).ok_or_else(|| format!("{VARIABLE}={text} is not `SIDE.STEP:kill`"));
    }
    Ok(())
}

/// Dies if this is the instant.
pub(super) fn pass(side: &str, step: &str) {
    if INSTANT.get().and_then(|text| parse(text)) == Some((side, step)) {
        // It cannot fail for oneself, and nothing after it runs.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// The side and the step.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (side, step) = text.strip_suffix(":kill")?.split_once('.')?;
    ["home", "guest"].contains(&side).then_some((side, step))
}

/// What [`arm`] has taken in.
static INSTANT: OnceLock<String> = OnceLock::new();

const VARIABLE: &str = "HOMING_FAIL";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_instants_can_be_asked_for() {
        assert_eq!(parse("home.ready:kill"), Some(("home", "ready")));
        assert_eq!(parse("guest.send rest:kill"), Some(("guest", "send rest")));
        for bad in ["", "home.ready", "home.ready:sing", "ready:kill", "agent.ready:kill", ":kill"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
