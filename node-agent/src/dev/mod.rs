//! Nodes on one machine: namespaces joined by a bridge, made without any tool.
//!
//! `spec` is what a node is to be, `init` its first process, `root` its files, `switch` and `uplink` the wires,
//! `node` the handle of the one who started it. Nothing outlives that one: nodes end when their input does, the
//! network is a namespace of one of its threads, and there is no file, no name and no daemon to find again.

pub mod init;
pub mod interface;
pub mod node;
pub mod root;
pub mod spec;
pub mod switch;
pub mod uplink;
