//! Shows: the terminal dashboard over plain view types.

#![forbid(unsafe_code)]

pub mod model;
