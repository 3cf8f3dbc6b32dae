//! The warden: the process that keeps one family at one node.

pub mod control;
