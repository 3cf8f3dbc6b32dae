//! The plain data of deputies: where each shadow thread stands, what it has to do, what there is to tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::time::Instant;

use bytes::Bytes;
use migration::image::SignalAction;
use migration::sys::ptrace::Registers;
use migration::tracee::{Running, Stopped, TraceError};

use super::burial::Burial;
use super::slots::Slots;
use crate::protocol::{Issue, ToBody};
use crate::replies::Replies;
use crate::syscall::marshal::{Anchor, Placed, Request};

/// A process of the family, as home keeps it.
#[derive(Debug)]
pub struct Home {
    /// `/proc/PID/mem`.
    pub memory: File,
    /// The program's own signal actions, by number; those that are missing are the default.
    pub actions: BTreeMap<i32, SignalAction>,
    /// Call buffers of its shadow threads.
    pub(super) slots: Slots,
    /// Pages of the program that the deputy has, too.
    pub anchored: BTreeSet<u64>,
    /// Memory that its body has taken along.
    pub(super) burial: Burial,
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
    /// On its way into exit(2): a stop that was asked for before must not keep it.
    Ending(Running),
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
    /// What of it lies at the program's own address.
    pub anchor: Option<Anchor>,
    /// How it came to be made.
    pub issue: Issue,
    /// When it began.
    pub began: Instant,
}

impl Call {
    /// A call without buffers that begins now.
    pub(super) fn plain(seq: u64, nr: u32, first: u64) -> Call {
        Call { seq, nr, first, placed: None, anchor: None, issue: Issue::First, began: Instant::now() }
    }

    /// The shadow thread's registers for issuing the call again with what is left of its timeout.
    pub(super) fn with_rest(&self, registers: Registers) -> Registers {
        let nr = i64::from(self.nr);
        let whole_ms = registers.r10 & u64::from(u32::MAX);
        if ![libc::SYS_epoll_wait, libc::SYS_epoll_pwait].contains(&nr) || whole_ms > INT_MAX {
            return registers;
        }
        let elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Registers { r10: whole_ms.saturating_sub(elapsed_ms), ..registers }
    }
}

/// Something that a shadow thread has to do.
#[derive(Debug)]
pub(super) enum Work {
    Call { seq: u64, request: Request, image: Bytes, issue: Issue },
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
    /// The number of a piece of work that has an answer, the call, its first argument and how it comes to be made.
    pub(super) fn call(&self) -> Option<(u64, i64, u64, Issue)> {
        match self {
            Work::Call { seq, request, issue, .. } => {
                Some((*seq, i64::from(request.nr), request.args[0], *issue))
            }
            Work::Exec { seq, request, .. } => {
                Some((*seq, i64::from(request.nr), request.args[0], Issue::First))
            }
            Work::MapFile { seq, args } => Some((*seq, libc::SYS_mmap, args[0], Issue::First)),
            Work::Birth { seq, flags, .. } => Some((*seq, libc::SYS_clone, *flags, Issue::First)),
            _ => None,
        }
    }

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
    /// Registers that no call changes, such as the segments; read before the first one.
    base: Option<Registers>,
    pub(super) queue: VecDeque<Work>,
    /// For a body thread that asks again.
    pub(super) replies: Replies<(ToBody, Bytes)>,
    /// It has made no call since the freeze: the restart block of the call that it was in is still there.
    pub(super) keeps_block: bool,
    /// Signals forwarded so far: the number of the last one.
    pub(super) signals: u64,
    /// Those that the body may not have heard of yet.
    pub(super) unheard: VecDeque<(u64, Vec<u8>)>,
    /// It dozes and was interrupted because it has work.
    pub(super) roused: bool,
    /// Its call was interrupted because a signal at the guest ends it.
    pub(super) settling: bool,
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
        /// The thread.
        task: Stopped,
    },
    /// A thread of the family has ended at home; what was for it goes nowhere.
    Silent {
        /// Which one.
        tid: u32,
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
            base: None,
            queue: VecDeque::new(),
            replies: Replies::default(),
            keeps_block: false,
            signals: 0,
            unheard: VecDeque::new(),
            roused: false,
            settling: false,
            job_stopped: false,
            parked_at: Instant::now(),
        }
    }

    pub(super) fn park(&mut self, task: Stopped) -> Shadow {
        self.parked_at = Instant::now();
        // A stop that was asked for may still come, in whatever the thread does next; there it is passed over. Were it
        // waited for, nobody would ever ask again.
        self.roused = false;
        Shadow::Parked(task)
    }

    /// What a call leaves of the registers; to ask the kernel each time would be one more ptrace call for each.
    pub(super) fn base(&mut self, task: &Stopped) -> Result<Registers, TraceError> {
        if let Some(base) = self.base {
            return Ok(base);
        }
        let base = task.registers()?;
        self.base = Some(base);
        Ok(base)
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

    /// Whether the call of this number is being executed, or will be.
    pub(super) fn is_at(&self, seq: u64) -> bool {
        matches!(&self.state, Shadow::Calling(_, call) if call.seq == seq)
            || self.queue.iter().any(|work| work.call().is_some_and(|(queued, ..)| queued == seq))
    }

    /// Job control lets the process go on.
    pub(super) fn continued(&mut self, effects: &mut VecDeque<Effect>, tid: u32) {
        if std::mem::take(&mut self.job_stopped) {
            effects.push_back(Effect::Send { tid, message: ToBody::Continue, tail: Bytes::new() });
        }
    }
}

const INT_MAX: u64 = i32::MAX as u64;
