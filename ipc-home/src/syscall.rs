//! What homing knows about system calls: where each one runs and what its arguments point to.
//!
//! Everything here is pure: numbers and bytes in, decisions and bytes out.
//!
//! ```text
//! guest:  filter ─trap─> classify ─> gather ─Request + image─┐            ┌─> Scatter::apply ─> result
//!                                                            v            │
//! home:                                                    place ─call─> collect
//! ```
//!
//! Home never learns what a call means: a [`marshal::Request`] says which bytes to lay where, which pointers to
//! adjust and which bytes to send back.

pub mod classify;
pub mod commands;
pub mod coverage;
pub mod filter;
pub mod marshal;
pub mod table;
pub mod vocabulary;

pub use classify::classify;
pub use table::row;

/// The kernel's name of a number, `"unknown"` where the table has no row.
#[must_use]
pub fn name(nr: u32) -> &'static str {
    row(nr).map_or("unknown", |row| row.name)
}
