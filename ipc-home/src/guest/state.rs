//! The plain data of bodies: where each thread stands, what each process has.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use migration::image::Rest;
use migration::sys::ptrace::{Registers, SigInfo};
use migration::tracee::{Running, Stopped};
use migration::tracking::SharedWritten;
use migration::vdso::Vdso;

use super::answers::is_restart;
use super::calls::arguments;
use super::stepping::Stepping;
use crate::protocol::{FileClass, FromBody};
use crate::syscall::marshal::{Scatter, Split};

/// A process of the family, as the guest keeps it.
#[derive(Debug)]
pub struct BodyProcess {
    /// Its pid as the warden sees it.
    pub outer: u32,
    /// Names it without the risk of reuse.
    pub pidfd: Rc<OwnedFd>,
    /// `/proc/OUTER/mem`.
    pub memory: Rc<File>,
    /// Serves missing pages.
    pub uffd: Rc<OwnedFd>,
    /// Where its threads must not be stopped.
    pub vdso: Vdso,
    /// Where its calls are read and answered.
    pub listener: Rc<OwnedFd>,
    /// Ranges whose missing pages home has; some may be unmapped by now.
    pub from_home: Vec<Range<u64>>,
    /// Its memory is that of the process which made it.
    pub borrows_memory: bool,
    /// What looks at its pages must remember of home's mappings.
    pub written: SharedWritten,
    /// Pages that home was asked for, by the first one's address.
    pub(super) fetching: BTreeMap<u64, Fetching>,
    /// The child's descriptor, between a fork's two reports.
    pub(super) forked_uffd: Option<OwnedFd>,
    /// Its end is expected, so home is not told of it.
    pub(super) ending: bool,
}

/// Pages on their way from home.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetching {
    /// One past the last byte.
    pub(super) end: u64,
    /// The addresses were mapped anew meanwhile: what comes belongs to the former mapping.
    pub(super) outdated: bool,
}

/// Where a body thread stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// In its own code or in a local call.
    Running(Running),
    /// In a call that home executes.
    Waiting(Running, Waiting),
    /// Stopped by the filter; home was asked.
    Trapped(Stopped, Trapped),
    /// Taking addresses for a file mapping, up to the exit of its call.
    Mapping(Running, [u64; 6]),
    /// Entering a signal handler whose frame must get this mask.
    Entering(Running, u64),
    /// On its way out of the vdso.
    Stepping(Running, Box<Stepping>),
    /// New: its first stop is still to come.
    Arriving(Running),
    /// Frozen, or not started yet.
    Still(Stopped),
    /// Gone, or about to be: its end will be reported.
    Lost,
}

/// A call under way at home.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) notification: u64,
    pub(super) nr: u32,
    pub(super) args: [u64; 6],
    pub(super) kind: Kind,
    /// What its descriptor is, once a piece of it has come back.
    pub(super) file: Option<FileClass>,
    /// A move has interrupted it.
    pub(super) is_again: bool,
    /// What was left of its timeout there.
    pub(super) rest: Rest,
    /// Bytes that pieces before the one under way have moved.
    pub(super) moved: u64,
}

/// A call that was interrupted by a move, and what of it is behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) nr: u32,
    pub(super) args: [u64; 6],
    pub(super) rest: Rest,
    pub(super) moved: u64,
}

impl Again {
    /// From the registers of a thread that will issue its call again; `None` if it will not.
    pub(super) fn of(registers: &Registers, rest: Rest, moved: u64) -> Option<Again> {
        let nr = u32::try_from(registers.orig_rax).ok()?;
        let again = is_restart(registers.rax.cast_signed());
        again.then(|| Again { nr, args: arguments(registers), rest, moved })
    }
}

/// A call whose thread was frozen: where its outputs go.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) scatter: Scatter,
    pub(super) split: Option<Split>,
}

/// What is done when home has answered.
#[derive(Debug)]
pub(super) enum Kind {
    /// Its pages must be fetched before the arguments can be gathered.
    Gathering(u64),
    /// Outputs are put in place and the result is returned.
    Forwarded { scatter: Scatter, split: Option<Split> },
    /// If home agrees, the guest's kernel does the same.
    Mirrored,
    /// Home was only asked whether signals wait; then the guest's kernel does the call.
    Synced,
}

/// What a thread at a filter stop waits for.
#[derive(Debug)]
pub(super) enum Trapped {
    /// Home has mapped the file: with the address here, and whether it was taken here before.
    Map { addr: u64, length: u64, at_exit: bool },
    /// Home has made the thread or process.
    Birth(Box<Birth>),
    /// Home refuses the new program; if it does not, this body ends.
    Exec,
    /// Pages of an `execve`'s strings are being fetched.
    ExecStrings(u64),
    /// The end of the call that this signal interrupts, which was under way at a move.
    Settling(i32),
    /// Pages that the outputs of that call go to are being fetched.
    Unsettled(i32, u64),
}

/// A clone in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    pub(super) flags: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) parent_tid: u64,
    pub(super) child_tid: u64,
    pub(super) tls: u64,
    pub(super) registers: Registers,
    /// Home's answer.
    pub(super) tid: u32,
}

/// A thread of a body.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) pid: u32,
    pub(super) outer: u32,
    /// Calls made so far: the number of the last one.
    pub(super) seq: u64,
    pub(super) standing: Standing,
    pub(super) birth: Option<Birth>,
    /// The child that runs on this thread's memory until it has a program of its own: no signal or stop reaches the
    /// thread before.
    pub(super) lends_memory_to: Option<u32>,
    /// The mask that a call has put in force for its own duration.
    pub(super) mask_in_call: Option<u64>,
    /// A signal came while that mask was in force.
    pub(super) deliver_under: Option<u64>,
    /// A signal has interrupted its call where that was executed, and it does not know yet.
    pub(super) interrupted_at_home: bool,
    /// Frozen during a call.
    pub(super) in_flight: Option<InFlight>,
    /// The answer to that call, come before the thread stood still.
    pub(super) early_answer: Option<(i64, FileClass, Bytes)>,
    /// The call that it will issue again.
    pub(super) again: Option<Again>,
    /// Signals that home has told of: the number of the last one.
    pub(super) signals: u64,
    /// Frozen at the delivery of this signal.
    pub(super) held_signal: Option<SigInfo>,
    /// Registers to give back at the first stop of a new task.
    pub(super) first_registers: Option<(u64, u64)>,
}

impl Thread {
    pub(super) fn new(pid: u32, outer: u32, seq: u64, standing: Standing) -> Thread {
        Thread {
            pid,
            outer,
            seq,
            standing,
            birth: None,
            lends_memory_to: None,
            mask_in_call: None,
            deliver_under: None,
            interrupted_at_home: false,
            in_flight: None,
            early_answer: None,
            again: None,
            signals: 0,
            held_signal: None,
            first_registers: None,
        }
    }
}

/// What there is to tell home, or to do for the warden.
#[derive(Debug)]
pub enum Effect {
    /// Open a stream for this thread.
    Attach {
        /// Its process.
        pid: u32,
        /// The thread.
        tid: u32,
    },
    /// To the shadow thread of the same id.
    Send {
        /// Which one.
        tid: u32,
        /// The message.
        message: FromBody,
        /// The frame's tail.
        tail: Bytes,
    },
    /// Read notifications from here.
    Listen {
        /// The process that it came with; its descendants use it too.
        pid: u32,
        /// The listener.
        listener: Rc<OwnedFd>,
    },
    /// Read page faults from here.
    Serve {
        /// The process.
        pid: u32,
        /// Its userfaultfd.
        uffd: Rc<OwnedFd>,
    },
    /// Ask home for pages of a mapping.
    Fetch {
        /// The process.
        pid: u32,
        /// First byte.
        start: u64,
        /// How many.
        pages: u32,
    },
    /// A thread has ended here: its stream ends behind its last words.
    Silent {
        /// Which one.
        tid: u32,
    },
    /// A process has ended here.
    Gone {
        /// Which one.
        pid: u32,
    },
}
