//! Decides: the agent, the wardens, the command line.
#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod dev;
pub mod doctor;
pub mod exit;
#[cfg(test)]
mod fuzz;
mod hardening;
pub mod job;
pub mod members;
pub mod mover;
pub mod proc;
pub mod view;
pub mod warden;
