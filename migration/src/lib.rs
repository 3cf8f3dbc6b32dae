//! Moves the body: freeze, capture, transfer and rebuild of an unmodified process.
//!
//! `migration` never learns what a system call means: it is handed the seccomp filter as a value.

pub mod cpu;
pub mod sys;
