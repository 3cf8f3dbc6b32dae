//! Moves the body: freeze, capture, transfer and rebuild of an unmodified process.
//!
//! `migration` never learns what a system call means: it is handed the seccomp filter as a value.

pub mod body;
pub mod capture;
mod confinement;
pub mod cpu;
pub mod deputize;
pub mod digest;
pub mod foothold;
pub mod freeze;
#[cfg(test)]
mod fuzz;
pub mod graves;
pub mod handoff;
pub mod holds;
pub mod homecoming;
pub mod image;
pub mod init;
pub mod landing;
pub mod layout;
mod mend;
pub mod packing;
pub mod pages;
pub mod precopy;
pub mod procfs;
mod relayout;
pub mod remote;
mod scratch;
pub mod staging;
pub mod sys;
pub mod tracee;
pub mod tracking;
pub mod vdso;
pub mod vessel;
pub mod waits;
pub mod watch;
