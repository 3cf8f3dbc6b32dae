//! Attacks: hostile bytes for every decoder, within bounds of time and memory. For tests only.
//!
//! A [`Target`] is a decoder under attack. [`Target::run`] is called from an ordinary test of the crate that owns the
//! decoder: it runs every file of the target's corpus as it is, and then mutations of them until its time is over. An
//! input that panics, takes too long or allocates too much fails the test, is written to a file, and is replayed by
//! every later run once that file lies in the corpus.
//!
//! ```text
//! corpus/NAME/*  ──▶ pool ──▶ mutate ──▶ decoder ──▶ panic, slow, too much memory: a finding
//!                     ▲                     │
//!                     └──── a new outcome ──┘
//! ```
//! The bounds: one second and 16 MiB for each input, whatever it says of itself, and an end after ten seconds for one
//! that never comes to an end. Time is taken from a clock, and memory is counted by the allocator: what was held at a
//! time beyond what was held before. The process as a whole has 4 GiB of addresses, so that what would take the
//! machine's memory at once ends the test.
//!
//! There is no instrumentation: what is new is told by what the decoder says ([`Outcome`]) and by how often and how
//! much it allocated on the way there. The same seed gives the same inputs in the same order.
//!
//! | variable | meaning |
//! |---|---|
//! | `HOMING_FULL=1` | ten minutes per target instead of a second, from a seed of the moment |
//! | `HOMING_FUZZ_S=60` | so many seconds per target |
//! | `HOMING_FUZZ_SEED=7` | this seed |
//! | `HOMING_FUZZ_TRACE=1` | every input is written to a file before it runs: for one that takes the process with it |
//! | `HOMING_FUZZ_CORPUS=write` | first the corpus's valid inputs are written anew |
#![forbid(unsafe_code)]

mod codec;
mod mutate;
mod outcome;
mod pool;
mod random;
mod search;
mod target;
mod watch;

pub use codec::{Decoder, choice, chosen, codec, text};
pub use outcome::Outcome;
pub use search::{Budget, Finding, Flaw, Ran};
pub use target::{ALLOCATED_MAX, Target};

/// The most bytes that `run` has allocated at a time on this thread.
pub fn allocated(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).bytes_max
}

/// The target of this name, whose corpus lies in `corpus/NAME` of the crate that names it.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::Target::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"), $name)
    };
}
