//! The warden: the process that keeps one family at one node.
//!
//! A warden is one thread for calls, control and ptrace, so that a forwarded call costs no wake-up between threads,
//! and a second one for pages. It outlives the agent that started it.

pub mod control;

mod bulk;
mod common;
mod guest;
mod handoff;
mod home;
mod streams;

use crate::cli::warden_args::{WardenArgs, WardenSide};

/// Runs a warden until its family is gone or plain at home.
///
/// # Errors
/// What failed, in words for the warden's log.
pub fn main(args: &WardenArgs) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting the event loop: {error}"))?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match &args.side {
            WardenSide::Home { pid, common } => home::run(*pid, common).await,
            WardenSide::Guest { common } => guest::run(common).await,
        }
    })
}
