//! Nodes on one machine: namespaces joined by a bridge, made without any tool.
//!
//! `spec` is what a node is to be, `init` its first process, `root` its files, `switch` and `uplink` the wires,
//! `node` the handle of the one who started it. Nothing outlives that one: nodes end when their input does, the
//! network is a namespace of one of its threads, and there is no file, no name and no daemon to find again.
//!
//! `homing dev` adds agents and makes a `cluster` of such nodes and of this machine. It does outlive the command in
//! the terminal, for the sake of the processes that are away: the `keeper` holds it, the command has a `hold` on that,
//! `places` are where either finds what the other left, `remains` is what a killed keeper leaves, and `demo` is a
//! program that goes round.

mod agents;
pub mod cluster;
pub mod demo;
pub mod hold;
pub mod init;
pub mod interface;
pub mod keeper;
pub mod node;
pub mod places;
mod remains;
pub mod root;
pub mod spec;
pub mod switch;
pub mod uplink;
