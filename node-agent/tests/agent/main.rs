//! The real binary, started as a user would.

mod cluster;
mod support;
mod verbs;
