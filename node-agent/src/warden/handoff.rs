//! What home warden and guest warden say to each other about moves, on the control stream, and about pages.
//!
//! ```text
//! home                                    guest
//!  Prepare                   ───────────▶
//!                            ◀───────────  AskClocks  ┐ several times
//!  Clocks                    ───────────▶             ┘ makes the family's namespaces
//!                            ◀───────────  Prepared(where pages go)
//!  mappings, rounds of pages ═══════════▶   builds empty processes, fills them
//!  [home freezes the program]
//!  the rest of the pages     ═══════════▶
//!  Context(registers, ...)   ───────────▶   completes them once every page is there
//!                            ◀───────────  Ready
//!  [home commits: this epoch counts]
//!  Start                     ───────────▶   runs
//!                            ◀───────────  Running
//!  [now what is left where it was is let go; until here the family can be taken back]
//!
//!  Copy(to home or next guest)──────────▶
//!            ◀══════════════ mappings, rounds of pages
//!                            ◀───────────  Copied
//!  Freeze                    ───────────▶   stops every thread
//!                            ◀───────────  Still
//!  SendRest                  ───────────▶
//!            ◀══════════════ the rest of the pages
//!                            ◀───────────  Captured(registers, ...)
//!  Discard                   ───────────▶   ends
//!  or, if the move did not happen:
//!  Thaw(a new epoch)         ───────────▶   goes on
//!                            ◀───────────  Running
//! ```
//! What is asked when is what `ipc_home::residence` says.
//!
//! Mappings and pages share one stream, so that each page comes behind the mapping that it belongs to.

use std::net::SocketAddr;
use std::time::Duration;

use migration::foothold::Foothold;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::pages::Run;
use serde::{Deserialize, Serialize};
use transport::{Epoch, KeyHash};

use super::bulk::Sent;

/// From the home warden to a guest warden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToGuest {
    /// Make room for the family.
    Prepare {
        /// The epoch that will begin.
        epoch: Epoch,
        /// The address range that is homing's own in every process.
        foothold: Foothold,
        /// Stands in every frame of its memory.
        transfer: u64,
        /// Whoever sends the pages, if it is not home.
        pages_from: Option<KeyHash>,
        /// For how long the family lives on without a word from home.
        lease: Duration,
    },
    /// Everything that is not memory.
    Context {
        /// The family.
        family: FamilyImage,
        /// The transfer that brings its memory.
        transfer: u64,
    },
    /// Home has recorded the epoch: run.
    Start,
    /// Send memory there while the family runs.
    Copy {
        /// Where to.
        pages: SocketAddr,
        /// Whose key it has.
        key: KeyHash,
        /// Stands in every frame.
        transfer: u64,
        /// False: only get ready to; nothing can be taken in yet.
        rounds: bool,
    },
    /// Stop every thread.
    Freeze {
        /// Numbers the freezes of this family: what is said about an earlier one is not heard any more.
        attempt: u64,
        /// The family comes home, where calls in pieces cannot go on.
        to_home: bool,
    },
    /// Send what has changed since to the same place.
    SendRest {
        /// Stands in every frame.
        transfer: u64,
    },
    /// Go on: the move did not happen.
    Thaw {
        /// In an epoch of its own, so that nothing that was said before is taken for what is said from now on.
        epoch: Epoch,
    },
    /// The family is elsewhere: end.
    Discard,
    /// A process of the family has a new program: this replaces its body.
    NewProgram {
        /// The process.
        image: Box<ProcessImage>,
        /// The transfer that brings its memory.
        transfer: u64,
    },
    /// A process of the family runs at home from now on, or is gone: end its body.
    End(u32),
    /// The answer to `AreYouThere`.
    Here,
    /// The answer to `AskClocks`.
    Clocks {
        /// Its number.
        question: u64,
        /// Home's clocks between question and answer.
        clocks: Clocks,
    },
}

impl ToGuest {
    /// The step's name, for logs.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            ToGuest::Prepare { .. } => "prepare",
            ToGuest::Context { .. } => "context",
            ToGuest::Start => "start",
            ToGuest::Copy { .. } => "copy",
            ToGuest::Freeze { .. } => "freeze",
            ToGuest::SendRest { .. } => "send rest",
            ToGuest::Thaw { .. } => "thaw",
            ToGuest::Discard => "discard",
            ToGuest::NewProgram { .. } => "new program",
            ToGuest::End(_) => "end",
            ToGuest::Here => "here",
            ToGuest::Clocks { .. } => "clocks",
        }
    }
}

/// From a guest warden to the home warden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToHome {
    /// There is room for the family.
    Prepared {
        /// Where the pages go.
        pages: SocketAddr,
    },
    /// The body is complete and stands still.
    Ready,
    /// It runs.
    Running {
        /// In which epoch.
        epoch: Epoch,
    },
    /// Further rounds would not make the rest smaller, or are not possible.
    Copied {
        /// Of which transfer.
        transfer: u64,
        /// What was sent, or why it was not.
        sent: Result<Sent, String>,
    },
    /// Every thread stands still.
    Still {
        /// Of the freeze.
        attempt: u64,
    },
    /// Everything that is not memory; the memory is on its way.
    Captured {
        /// Of the freeze.
        attempt: u64,
        /// The family.
        family: FamilyImage,
        /// What was sent since every thread stands still.
        sent: Sent,
    },
    /// The new program of this process runs.
    ProgramRuns(u32),
    /// It could not be built here.
    ProgramFailed(u32, String),
    /// Calls refused here so far, by name.
    Refused(Vec<(String, u64)>),
    /// Something could not be done; what stands still may go on.
    Failed {
        /// Of the last freeze, 0 before the first.
        attempt: u64,
        /// Why.
        reason: String,
    },
    /// What time is it at home? With the question's number.
    AskClocks(u64),
    /// Nothing was heard of home for a while: an answer would show that it is there, and have both sides repeat at once
    /// what was lost, long before QUIC's own timers would.
    AreYouThere,
}

impl ToHome {
    /// The word's name, for logs and tests.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            ToHome::Prepared { .. } => "prepared",
            ToHome::Ready => "ready",
            ToHome::Running { .. } => "running",
            ToHome::Copied { .. } => "copied",
            ToHome::Still { .. } => "still",
            ToHome::Captured { .. } => "captured",
            ToHome::ProgramRuns(_) => "program runs",
            ToHome::ProgramFailed(..) => "program failed",
            ToHome::Refused(_) => "refused",
            ToHome::Failed { .. } => "failed",
            ToHome::AskClocks(_) => "ask clocks",
            ToHome::AreYouThere => "are you there",
        }
    }

    /// The freeze that it is about, if it is about one.
    #[must_use]
    pub(super) fn attempt(&self) -> Option<u64> {
        match self {
            ToHome::Still { attempt, .. }
            | ToHome::Captured { attempt, .. }
            | ToHome::Failed { attempt, .. } => Some(*attempt),
            ToHome::Prepared { .. }
            | ToHome::AskClocks(_)
            | ToHome::AreYouThere
            | ToHome::Copied { .. }
            | ToHome::Ready
            | ToHome::Running { .. }
            | ToHome::ProgramRuns(_)
            | ToHome::Refused(_)
            | ToHome::ProgramFailed(..) => None,
        }
    }
}

/// Two clocks at one instant, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// CLOCK_BOOTTIME.
    pub boottime_ns: i64,
}

/// On the fetch stream: a guest asks for pages of a mapping that home has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Fetch {
    /// The process.
    pub pid: u32,
    /// Which ones.
    pub pages: Run,
}

/// Home's answer; the pages are the frame's tail.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// As asked.
    pub pid: u32,
    /// As asked.
    pub start: u64,
}

/// On the pages connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Memory {
    /// From here on a process has these mappings.
    Layout {
        /// Of which transfer it is a part: those of one that was given up are not wanted any more.
        transfer: u64,
        /// The process at home.
        pid: u32,
        /// Which ones.
        plan: Plan,
    },
    /// The frame's tail holds pages.
    Batch {
        /// As above.
        transfer: u64,
        /// The process at home.
        pid: u32,
        /// Which pages, in the order of the tail.
        runs: Vec<Run>,
        /// The tail is an lz4 block that holds so many bytes; 0: it is not compressed.
        unpacked_bytes: u32,
        /// What the pages must come to (`migration::digest`).
        digest: u64,
    },
    /// The receiver answers with `Placed` when everything before this is in place.
    Mark {
        /// As above.
        transfer: u64,
        /// Which one.
        number: u64,
    },
    /// That was all: a mark behind which the transfer is whole, unless something must be sent again.
    Complete {
        /// As above.
        transfer: u64,
        /// As above.
        number: u64,
    },
}

impl Memory {
    /// Of which transfer it is a part.
    #[must_use]
    pub(super) fn transfer(&self) -> u64 {
        match self {
            Memory::Layout { transfer, .. }
            | Memory::Batch { transfer, .. }
            | Memory::Mark { transfer, .. }
            | Memory::Complete { transfer, .. } => *transfer,
        }
    }
}

/// The mappings that a process must have before more of its pages can be put in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// All of them.
    pub layout: Layout,
    /// What came for it before, if anything, belongs to a former program.
    pub fresh: bool,
    /// Pages sent before that hold nothing any more.
    pub gone: Vec<Run>,
    /// The process stands still: these are final.
    pub still: bool,
}

/// The receiver's answer to a mark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Placed {
    /// The mark.
    pub number: u64,
    /// Why the transfer is of no use, if it is not.
    pub failure: Option<String>,
    /// Pages that did not come to their digest, by process, since the last mark: to be sent again.
    pub damaged: Vec<(u32, Vec<Run>)>,
}
