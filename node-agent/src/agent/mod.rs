//! The agent.
pub mod access;
pub mod care;
pub mod log;
pub mod protocol;
pub mod sample;
pub mod wardens;
