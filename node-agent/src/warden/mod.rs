//! The warden: the process that keeps one family at one node.
//!
//! A warden is one thread for calls, control and ptrace, so that a forwarded call costs no wake-up between threads,
//! and a second one for pages. It outlives the agent that started it.
//!
//! # What a forwarded call costs
//!
//! A `getppid` takes about 80 us at best where a message there and back over TCP on the loopback takes 17.5 us, on a
//! machine with other work where body, shadow thread and both wardens share one processor, so that this is the sum of
//! all that is done. The parts are from one trace of every system call and switch, scaled to the time without it:
//!
//! | who | what | us |
//! |---|---|---|
//! | body | into its call and out of it, with two switches | 4 |
//! | guest warden | notification 4, message and packet 5, `sendmsg` 5, sleep 3 | 17 |
//! | home warden | wake and `recvmmsg` 5, packet and message 7, registers and resume 5, sleep 2 | 19 |
//! | shadow thread | the call, its trap, two switches | 7 |
//! | home warden | wake, `wait4` and registers 6, message and packet 4, `sendmsg` 6 | 16 |
//! | guest warden | `recvmmsg` 3, packet and message 7, answer 2, sleep 3 | 15 |
//!
//! The two `sendmsg` deliver to the peer's socket on the loopback. What is in user mode, 40 % of all, has no hot spot.
//! On idle processors a call takes 145 us, most of it to wake one sleeping processor after the other, and 57 us since
//! wardens stay awake between calls (`alert`); a message there and back over TCP takes 20 us if the scheduler
//! happens to put both ends on one processor, and 50 to 60 us if not.

pub mod control;

mod alert;
mod bulk;
mod common;
mod fail;
#[cfg(test)]
mod fuzz;
mod guest;
mod handoff;
mod home;
mod memory;
mod streams;

use crate::cli::warden_args::{WardenArgs, WardenSide};

/// Runs a warden until its family is gone or plain at home.
///
/// # Errors
/// What failed, in words for the warden's log.
pub fn main(args: &WardenArgs) -> Result<(), String> {
    fail::arm()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting the event loop: {error}"))?;
    let side = args.side.clone();
    // A task beside those of its connections: what wakes it is no business of the kernel then.
    let warden = async {
        let run = tokio::task::spawn_local(async move {
            match side {
                WardenSide::Home { pid, common } => home::run(pid, &common).await,
                WardenSide::Guest { common } => guest::run(&common).await,
            }
        });
        run.await.unwrap_or_else(|error| Err(error.to_string()))
    };
    tokio::task::LocalSet::new().block_on(&runtime, warden)
}
