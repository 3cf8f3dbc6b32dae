//! What home warden and guest warden say to each other about moves, on the control stream, and about pages.
//!
//! ```text
//! home                                    guest
//!  Prepare(layouts, clocks)  ───────────▶   builds empty processes
//!                            ◀───────────  Prepared(where pages go)
//!  pages (second connection) ═══════════▶
//!  Context(registers, ...)   ───────────▶   completes them once every page is there
//!                            ◀───────────  Ready
//!  [home records the epoch: the point of no return]
//!  Start                     ───────────▶   runs
//!                            ◀───────────  Running
//!
//!  Freeze                    ───────────▶   stops every thread
//!                            ◀───────────  Still(layouts, calls under way)
//!  SendTo(home or next guest)───────────▶
//!            ◀══════════════ pages ════════
//!                            ◀───────────  Captured(registers, ...)
//!  Discard                   ───────────▶   ends
//! ```

use std::net::SocketAddr;

use migration::foothold::Foothold;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::pages::Run;
use serde::{Deserialize, Serialize};
use transport::{Epoch, KeyHash};

/// From the home warden to a guest warden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToGuest {
    /// Build empty processes.
    Prepare {
        /// The epoch that will begin.
        epoch: Epoch,
        /// The address range that is homing's own in every process.
        foothold: Foothold,
        /// Home's clocks now.
        clocks: Clocks,
        /// Each process and its mappings.
        processes: Vec<(u32, Layout)>,
        /// Whoever sends the pages, if it is not home.
        pages_from: Option<KeyHash>,
    },
    /// Everything that is not a page, and how many batches of pages there were.
    Context {
        /// The family.
        family: FamilyImage,
        /// Batches.
        batches: u64,
    },
    /// Home has recorded the epoch: run.
    Start,
    /// Stop every thread.
    Freeze,
    /// Send the pages there.
    SendTo {
        /// Where to.
        pages: SocketAddr,
        /// Whose key it has.
        key: KeyHash,
        /// Stands in every batch.
        transfer: u64,
    },
    /// Go on: the move did not happen.
    Thaw,
    /// The family is elsewhere: end.
    Discard,
    /// A process of the family has a new program: this replaces its body.
    NewProgram {
        /// The process.
        image: Box<ProcessImage>,
        /// Batches of pages for it.
        batches: u64,
    },
    /// A process of the family runs at home from now on, or is gone: end its body.
    End(u32),
}

impl ToGuest {
    /// The step's name, for logs.
    #[must_use]
    pub(super) fn name(&self) -> &'static str {
        match self {
            ToGuest::Prepare { .. } => "prepare",
            ToGuest::Context { .. } => "context",
            ToGuest::Start => "start",
            ToGuest::Freeze => "freeze",
            ToGuest::SendTo { .. } => "send to",
            ToGuest::Thaw => "thaw",
            ToGuest::Discard => "discard",
            ToGuest::NewProgram { .. } => "new program",
            ToGuest::End(_) => "end",
        }
    }
}

/// From a guest warden to the home warden.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ToHome {
    /// The processes are there, without pages.
    Prepared {
        /// Where the pages go.
        pages: SocketAddr,
    },
    /// The body is complete and stands still.
    Ready,
    /// It runs.
    Running,
    /// Every thread stands still.
    Still {
        /// Each process and its mappings.
        layouts: Vec<(u32, Layout)>,
    },
    /// Everything that is not a page.
    Captured {
        /// The family.
        family: FamilyImage,
        /// Batches of pages that were sent.
        batches: u64,
        /// Their bytes on the wire.
        bytes: u64,
    },
    /// The new program of this process runs.
    ProgramRuns(u32),
    /// It could not be built here.
    ProgramFailed(u32, String),
    /// Something could not be done; what stands still may go on.
    Failed(String),
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
    /// First byte.
    pub start: u64,
    /// How many.
    pub pages: u32,
}

/// Home's answer; the pages are the frame's tail.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Fetched {
    /// As asked.
    pub pid: u32,
    /// As asked.
    pub start: u64,
}

/// On the pages connection: the frame's tail holds the pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    /// Of which transfer it is a part: those of one that was given up are not wanted any more.
    pub transfer: u64,
    /// The process at home.
    pub pid: u32,
    /// Which pages, in the order of the tail.
    pub runs: Vec<Run>,
    /// The tail is an lz4 block that holds so many bytes; 0: it is not compressed.
    pub unpacked_bytes: u32,
}
