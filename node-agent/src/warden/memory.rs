//! Memory as it travels: on the pages connection in the order of sending, and on the fetch stream when it is asked for.
//!
//! Mappings and pages share one stream, so that each page comes behind the mapping that it belongs to.

use migration::image::Layout;
use migration::pages::Run;
use serde::{Deserialize, Serialize};

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
        /// They have arrived damaged before: what the transfer must come to does not count them twice.
        again: bool,
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
