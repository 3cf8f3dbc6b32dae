//! What home warden and guest warden say to each other about moves, on the control stream.
//!
//! ```text
//! home                                    guest
//!  Prepare(a new epoch)      ───────────▶
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
//! What home asks for when is what `ipc_home::residence` says, what a guest does about it what `migration::handoff::Keeper`
//! says. Each deed and each answer names its epoch.

use std::net::SocketAddr;
use std::time::Duration;

use migration::foothold::Foothold;
use migration::handoff::{Answer, Ask, Digest};
use migration::image::{FamilyImage, ProcessImage};
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
        /// As prepared.
        epoch: Epoch,
        /// What it must come to with the memory.
        digest: Digest,
        /// The family.
        family: FamilyImage,
        /// The transfer that brings its memory.
        transfer: u64,
    },
    /// The family counts there from now on: run.
    Start {
        /// As prepared.
        epoch: Epoch,
    },
    /// Send memory there while the family runs.
    Copy {
        /// The present one.
        epoch: Epoch,
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
        /// The present one.
        epoch: Epoch,
        /// The family comes home, where calls in pieces cannot go on.
        to_home: bool,
    },
    /// Send what has changed since to the same place.
    SendRest {
        /// The present one.
        epoch: Epoch,
        /// Stands in every frame.
        transfer: u64,
    },
    /// Go on: the move did not happen.
    Thaw {
        /// In which it was asked to leave.
        former: Epoch,
        /// In an epoch of its own, so that nothing that was said before is taken for what is said from now on.
        epoch: Epoch,
    },
    /// The family is elsewhere: end.
    Discard {
        /// What is here of this epoch or an earlier one.
        epoch: Epoch,
    },
    /// A process of the family has a new program: this replaces its body.
    NewProgram {
        /// The process.
        image: Box<ProcessImage>,
        /// The transfer that brings its memory.
        transfer: u64,
        /// What it must come to with the memory.
        digest: Digest,
    },
    /// A process of the family runs at home from now on, or is gone: end its body.
    End {
        /// The process.
        pid: u32,
        /// The transfer of a program that was to run there, and does not.
        transfer: Option<u64>,
    },
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
    /// The deed that is asked for, if one is.
    #[must_use]
    pub(super) fn ask(&self) -> Option<Ask> {
        match *self {
            ToGuest::Prepare { epoch, .. } => Some(Ask::Prepare(epoch)),
            ToGuest::Context { epoch, digest, .. } => Some(Ask::Accept(epoch, digest)),
            ToGuest::Start { epoch } => Some(Ask::Start(epoch)),
            ToGuest::Copy { epoch, .. } => Some(Ask::Copy(epoch)),
            ToGuest::Freeze { epoch, .. } => Some(Ask::Stop(epoch)),
            ToGuest::SendRest { epoch, .. } => Some(Ask::Take(epoch)),
            ToGuest::Thaw { former, epoch } => Some(Ask::GoOn { former, epoch }),
            ToGuest::Discard { epoch } => Some(Ask::Discard(epoch)),
            ToGuest::NewProgram { .. } | ToGuest::End { .. } | ToGuest::Here | ToGuest::Clocks { .. } => None,
        }
    }

    /// The step's name, for logs.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            ToGuest::Prepare { .. } => "prepare",
            ToGuest::Context { .. } => "context",
            ToGuest::Start { .. } => "start",
            ToGuest::Copy { .. } => "copy",
            ToGuest::Freeze { .. } => "freeze",
            ToGuest::SendRest { .. } => "send rest",
            ToGuest::Thaw { .. } => "thaw",
            ToGuest::Discard { .. } => "discard",
            ToGuest::NewProgram { .. } => "new program",
            ToGuest::End { .. } => "end",
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
        /// As asked.
        epoch: Epoch,
        /// Where the pages go.
        pages: SocketAddr,
    },
    /// The body is complete and stands still.
    Ready {
        /// As prepared.
        epoch: Epoch,
        /// What it has come to.
        digest: Digest,
    },
    /// It runs.
    Running {
        /// In which epoch.
        epoch: Epoch,
    },
    /// Further rounds would not make the rest smaller.
    Copied {
        /// The present one.
        epoch: Epoch,
        /// Of which transfer.
        transfer: u64,
        /// What was sent.
        sent: Sent,
    },
    /// Every thread stands still.
    Still {
        /// The present one.
        epoch: Epoch,
    },
    /// Everything that is not memory; the memory is on its way.
    Captured {
        /// The present one.
        epoch: Epoch,
        /// What the family must come to.
        digest: Digest,
        /// The family.
        family: FamilyImage,
        /// What was sent since every thread stands still.
        sent: Sent,
    },
    /// A new program runs.
    ProgramRuns {
        /// By which it has come.
        transfer: u64,
    },
    /// It could not be built here.
    ProgramFailed {
        /// By which it has come.
        transfer: u64,
        /// Why.
        reason: String,
    },
    /// Calls refused here so far, by name.
    Refused(Vec<(String, u64)>),
    /// Something could not be done; what was asked before still holds.
    Failed {
        /// What.
        ask: Ask,
        /// Why.
        reason: String,
    },
    /// What time is it at home? With the question's number.
    AskClocks(u64),
    /// Nothing was heard of home for a while: an answer would show that it is there, and have both sides repeat at once
    /// what was lost, long before QUIC's own timers would.
    AreYouThere,
    /// The kernel there has killed so many processes of the family for want of memory.
    OutOfMemory(u64),
}

impl ToHome {
    /// The word's name, for logs and tests.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            ToHome::Prepared { .. } => "prepared",
            ToHome::Ready { .. } => "ready",
            ToHome::Running { .. } => "running",
            ToHome::Copied { .. } => "copied",
            ToHome::Still { .. } => "still",
            ToHome::Captured { .. } => "captured",
            ToHome::ProgramRuns { .. } => "program runs",
            ToHome::ProgramFailed { .. } => "program failed",
            ToHome::Refused(_) => "refused",
            ToHome::Failed { .. } => "failed",
            ToHome::AskClocks(_) => "ask clocks",
            ToHome::AreYouThere => "are you there",
            ToHome::OutOfMemory(_) => "out of memory",
        }
    }

    /// What is answered, if something is.
    #[must_use]
    pub(super) fn answer(&self) -> Option<Answer> {
        match *self {
            ToHome::Prepared { epoch, .. } => Some(Answer::Prepared(epoch)),
            ToHome::Ready { epoch, digest } => Some(Answer::Accepted(epoch, digest)),
            ToHome::Running { epoch } => Some(Answer::Runs(epoch)),
            ToHome::Copied { epoch, .. } => Some(Answer::Copied(epoch)),
            ToHome::Still { epoch } => Some(Answer::Stopped(epoch)),
            ToHome::Captured { epoch, digest, .. } => Some(Answer::Taken(epoch, digest)),
            ToHome::Failed { ask, .. } => Some(Answer::Failed(ask)),
            ToHome::ProgramRuns { .. }
            | ToHome::ProgramFailed { .. }
            | ToHome::Refused(_)
            | ToHome::AskClocks(_)
            | ToHome::AreYouThere
            | ToHome::OutOfMemory(_) => None,
        }
    }
}

/// Why a family must not run whose digest is not what it was where it came from.
pub(super) const OTHER: &str = "what has come is not what was sent";

/// Two clocks at one instant, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// CLOCK_BOOTTIME.
    pub boottime_ns: i64,
}
