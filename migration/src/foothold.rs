//! The address range that homing keeps for itself in every process of a family, the same at every node.
//!
//! ```text
//! base            +0x1000           +0x10000         + n * SLOT_BYTES
//! code (r-x)      scratch (rw-)     slot 0 (rw-)     slot n ...
//! ```
//! A body has code and scratch; a deputy has code and, per shadow thread, one slot for the buffers of its calls.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::image::{Layout, NoMemory, check_range};
use crate::layout;

/// Where the range lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Told")]
pub struct Foothold {
    base: u64,
}

/// A foothold as a peer tells it.
#[derive(Deserialize)]
struct Told {
    base: u64,
}

impl TryFrom<Told> for Foothold {
    type Error = NoMemory;

    fn try_from(Told { base }: Told) -> Result<Foothold, NoMemory> {
        check_range(base, base.saturating_add(RANGE_BYTES)).map(|()| Foothold { base })
    }
}

impl Foothold {
    /// Finds room beside the mappings of a process; `None` when its address space is full.
    #[must_use]
    pub fn find(layout: &Layout) -> Option<Foothold> {
        layout::free_range(layout, RANGE_BYTES).map(|base| Foothold { base })
    }

    /// The page with [`crate::landing::TRAP_CODE`].
    #[must_use]
    pub fn code(self) -> u64 {
        self.base
    }

    /// Memory for the arguments of injected calls.
    #[must_use]
    pub fn scratch(self) -> u64 {
        self.base + PAGE
    }

    /// The buffer area of one shadow thread.
    #[must_use]
    pub fn slot(self, index: u32) -> u64 {
        self.base + SLOTS_AT + u64::from(index) * SLOT_BYTES
    }

    /// All of it.
    #[must_use]
    pub fn range(self) -> Range<u64> {
        self.base..self.base + RANGE_BYTES
    }
}

/// Size of the scratch area.
pub const SCRATCH_BYTES: u64 = SLOTS_AT - PAGE;

/// Size of one slot: 256 KiB of payload, 128 KiB for everything else.
pub const SLOT_BYTES: u64 = 384 * 1024;

/// Threads of one process that can be in forwarded calls at the same time.
pub const SLOTS_MAX: u32 = 4096;

const PAGE: u64 = 4096;
const SLOTS_AT: u64 = 0x10000;
const RANGE_BYTES: u64 = SLOTS_AT + SLOTS_MAX as u64 * SLOT_BYTES;
