//! Proves: a lab of nodes that can fail, self-checking guest programs, scenarios and benches.
//!
//! `cargo nextest run --workspace` as root runs everything, on both grounds. What needs root or a container engine
//! and does not find it is listed as ignored, so that nextest counts it as skipped and never as passed.
//! `HOMING_LAB=namespaces` or `HOMING_LAB=containers` keeps to one ground.
#![forbid(unsafe_code)]

pub mod check;
pub mod harness;
pub mod lab;
pub mod programs;
pub mod simulate;
pub mod simulator;
pub mod support;
