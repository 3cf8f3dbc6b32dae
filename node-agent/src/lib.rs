//! Decides: the agent, the wardens, the command line.
#![forbid(unsafe_code)]

pub mod dev;
pub mod warden;
