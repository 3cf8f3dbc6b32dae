//! The real binary, started as a user would.
#![expect(clippy::unwrap_used, reason = "a test ends with what it did not expect")]

mod agreement;
mod cluster;
mod support;
mod verbs;
