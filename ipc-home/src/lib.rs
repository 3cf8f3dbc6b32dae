//! Keeps the shadow and the endpoints: the system call table, the guest's traps and the deputy's hands.
#![forbid(unsafe_code)]

pub mod deputy;
pub mod guest;
pub mod protocol;
pub mod replies;
pub mod residence;
pub mod syscall;
