//! The plain data of deputies: where each shadow thread stands, what it has to do, what there is to tell.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::time::Instant;

use bytes::Bytes;
use migration::image::SignalAction;
use migration::tracee::{Running, Stopped};

use crate::protocol::ToBody;
use crate::syscall::marshal::{Placed, Request};

/// A process of the family, as home keeps it.
#[derive(Debug)]
pub struct Home {
    /// `/proc/PID/mem`.
    pub memory: File,
    /// The program's own signal actions, by number; those that are missing are the default.
    pub actions: BTreeMap<i32, SignalAction>,
    /// Call buffers given out so far.
    pub slots: usize,
}

/// Where a shadow thread stands.
#[derive(Debug)]
pub enum Shadow {
    /// Stopped at homing's code, ready for work.
    Parked(Stopped),
    /// In pause(2): it hears signals.
    Dozing(Running),
    /// Executing a call.
    Calling(Running, Call),
    /// Gone, or about to be: its end will be reported.
    Lost,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    /// The body thread's number for it.
    pub seq: u64,
    /// The number of the call.
    pub nr: u32,
    /// Its first argument: mostly the descriptor.
    pub first: u64,
    /// What the kernel may write, if anything.
    pub placed: Option<Placed>,
}

/// Something that a shadow thread has to do.
#[derive(Debug)]
pub(super) enum Work {
    Call { seq: u64, request: Request, image: Bytes },
    MapFile { seq: u64, args: [u64; 6] },
    Birth { seq: u64, flags: u64, exit_signal: u32 },
    Exec { seq: u64, request: Request, image: Bytes },
    Mask(u64),
    Action(i32, SignalAction),
    ThreadExit(i32),
    ProcessExit(i32),
    ProcessKilled(i32),
}

impl Work {
    /// Whether it has an answer: such work is sent back when the family is on its way home. The rest has happened to
    /// the body already.
    pub(super) fn is_call(&self) -> bool {
        matches!(self, Work::Call { .. } | Work::MapFile { .. } | Work::Birth { .. } | Work::Exec { .. })
    }
}

/// A shadow thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) pid: u32,
    /// The number of its call buffer; mapped on its first use.
    pub(super) slot: u32,
    pub(super) slot_mapped: bool,
    /// The body thread's signal mask.
    pub(super) mask: u64,
    pub(super) state: Shadow,
    pub(super) queue: VecDeque<Work>,
    /// The last reply, for a body thread that asks again.
    pub(super) last: Option<(u64, ToBody, Bytes)>,
    /// Interrupted because it has work.
    pub(super) roused: bool,
    /// Stopped by job control, and the body told so.
    pub(super) job_stopped: bool,
    pub(super) parked_at: Instant,
}

/// What there is to tell the body, or to do for the warden.
#[derive(Debug)]
pub enum Effect {
    /// To the body thread of the same id.
    Send {
        /// Which one.
        tid: u32,
        /// The message.
        message: ToBody,
        /// The frame's tail.
        tail: Bytes,
    },
    /// A thread has a new program image; nothing of it has run yet.
    Exec {
        /// The process, and from now on the thread's id.
        pid: u32,
        /// The thread's id before.
        former: u32,
        /// The thread.
        task: Stopped,
    },
    /// A process of the family has ended at home.
    Gone {
        /// Which one.
        pid: u32,
    },
}

impl Thread {
    pub(super) fn new(pid: u32, slot: u32, mask: u64, state: Shadow) -> Thread {
        Thread {
            pid,
            slot,
            slot_mapped: true,
            mask,
            state,
            queue: VecDeque::new(),
            last: None,
            roused: false,
            job_stopped: false,
            parked_at: Instant::now(),
        }
    }

    pub(super) fn park(&mut self, task: Stopped) -> Shadow {
        self.parked_at = Instant::now();
        Shadow::Parked(task)
    }

    /// The number of the call under way or waiting.
    pub(super) fn outstanding(&self) -> Option<u64> {
        if let Shadow::Calling(_, call) = &self.state {
            return Some(call.seq);
        }
        self.queue.iter().find_map(|work| match work {
            Work::Call { seq, .. } | Work::MapFile { seq, .. } | Work::Exec { seq, .. } => Some(*seq),
            _ => None,
        })
    }

    /// Job control lets the process go on.
    pub(super) fn continued(&mut self, effects: &mut VecDeque<Effect>, tid: u32) {
        if std::mem::take(&mut self.job_stopped) {
            effects.push_back(Effect::Send { tid, message: ToBody::Continue, tail: Bytes::new() });
        }
    }
}
