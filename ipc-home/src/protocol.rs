//! What a body thread and its shadow thread say to each other, each pair on one ordered stream.
//!
//! ```text
//! guest                                   home
//!   Attach(pid, tid, epoch)  ───────────▶
//!   Mask, Action (no answer) ───────────▶  mirrored before whatever follows
//!   Call(seq) + image        ───────────▶  executed once
//!                            ◀───────────  Signal (if one interrupted it)
//!                            ◀───────────  Return(seq) + outputs
//!   Exit                     ───────────▶  the shadow thread ends
//! ```
//! A thread has at most one call outstanding, numbered by `seq`; a repeated number is answered from the last reply.

use migration::image::SignalAction;
use serde::{Deserialize, Serialize};
use transport::Epoch;

use crate::syscall::marshal::Request;

/// From a body thread to its shadow thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBody {
    /// The stream's first message: whose it is, and since which residence.
    Attach {
        /// The process.
        pid: u32,
        /// The thread.
        tid: u32,
        /// The residence.
        epoch: Epoch,
    },
    /// Execute a call; its image is the frame's tail.
    Call {
        /// The thread's number for it.
        seq: u64,
        /// The call.
        request: Request,
        /// Whether the thread was in it before.
        issue: Issue,
    },
    /// Map a file at the address that the body has already taken.
    MapFile {
        /// The thread's number for it.
        seq: u64,
        /// `mmap`'s arguments, with the address and `MAP_FIXED`.
        args: [u64; 6],
    },
    /// Make a thread or a process on home's side.
    Birth {
        /// The thread's number for it.
        seq: u64,
        /// `CLONE_*`, without the exit signal.
        flags: u64,
        /// The signal that the parent gets at the child's end.
        exit_signal: u32,
    },
    /// Replace the program; `execve`'s strings are the frame's tail.
    Exec {
        /// The thread's number for it.
        seq: u64,
        /// The call.
        request: Request,
    },
    /// Every signal up to this number is in the thread's queue.
    Heard(u64),
    /// The thread's signal mask from now on.
    Mask(u64),
    /// A signal's action from now on.
    Action(i32, SignalAction),
    /// The thread has ended.
    ThreadExit(i32),
    /// The process ends with this status.
    ProcessExit(i32),
    /// The body was killed by this signal at the guest (a fault).
    ProcessKilled(i32),
    /// A signal is about to interrupt the call of this number, which was under way at a move: it ends now, and its
    /// `Return` says how. A handler makes calls of its own, which must not be taken for it.
    Settle {
        /// The thread's number for it.
        seq: u64,
    },
}

impl FromBody {
    /// The number of what is to be executed once, however often it is heard of.
    #[must_use]
    pub fn call(&self) -> Option<u64> {
        match self {
            FromBody::Call { seq, .. }
            | FromBody::MapFile { seq, .. }
            | FromBody::Birth { seq, .. }
            | FromBody::Exec { seq, .. } => Some(*seq),
            FromBody::Attach { .. }
            | FromBody::Heard(_)
            | FromBody::Mask(_)
            | FromBody::Action(..)
            | FromBody::ThreadExit(_)
            | FromBody::ProcessExit(_)
            | FromBody::ProcessKilled(_)
            | FromBody::Settle { .. } => None,
        }
    }
}

/// How a call comes to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Issue {
    /// By the program.
    First,
    /// Once more, because a move has interrupted it: natively it would have gone on all the time.
    Again,
    /// As `Again`; the rest of its timeout is in the shadow thread's restart block.
    Resumed,
}

/// From a shadow thread to its body thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBody {
    /// The end of a call; its outputs are the frame's tail.
    Return {
        /// Of the call.
        seq: u64,
        /// The kernel's raw result: a restart code (-512..-516) only behind a `Signal`.
        result: i64,
        /// What the call's descriptor is, for calls that go on in pieces.
        file: FileClass,
    },
    /// A signal that the program has a handler for. It is told again until it was heard.
    Signal {
        /// Counts the signals of this thread, from 1.
        number: u64,
        /// A `siginfo_t`.
        info: Vec<u8>,
    },
    /// The process was stopped by job control.
    Stop,
    /// It goes on.
    Continue,
}

/// What a descriptor is, as far as a call in pieces cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileClass {
    /// A regular file or a block device.
    Regular,
    /// A stream socket.
    Stream,
    /// Anything else.
    #[default]
    Other,
}
