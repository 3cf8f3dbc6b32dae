//! Moves the body: freeze, capture, transfer and rebuild of an unmodified process.
//!
//! `migration` never learns what a system call means: it is handed the seccomp filter as a value.

pub mod capture;
pub mod cpu;
pub mod freeze;
pub mod image;
pub mod landing;
pub mod layout;
pub mod procfs;
pub mod remote;
pub mod sys;
pub mod tracee;
