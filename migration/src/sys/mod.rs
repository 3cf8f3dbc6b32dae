//! All unsafe code of the workspace: thin, safe faces of kernel interfaces.
#![allow(unsafe_code)]

pub mod namespaces;
