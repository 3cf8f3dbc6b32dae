//! What travels to home: a call without its meaning.

use serde::{Deserialize, Serialize};

/// Everything home needs to execute one call, but the image, which follows as the frame's raw tail.
///
/// Offsets and targets count bytes from the start of the slot, where the image is laid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The system call number.
    pub nr: u32,
    /// The arguments; those that a fixup names are zero.
    pub args: [u64; 6],
    /// The pointers into the slot.
    pub fixups: Vec<Fixup>,
    /// Bytes of the slot that the call uses, image and outputs.
    pub slot_bytes: u32,
    /// What to send back, in this order.
    pub outputs: Vec<Output>,
    /// A buffer that the kernel may come back to when the call was interrupted.
    pub anchor: Option<Anchor>,
}

/// While the call runs, a part of the slot lies at the program's own address, and argument `arg` is that address: the
/// kernel notes it in the thread's restart block, where it must mean the same after the family's return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// The program's address.
    pub addr: u64,
    /// Where it stands in the slot.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

impl Anchor {
    /// The program's address of so many bytes of the slot, if they are part of this.
    #[must_use]
    pub fn address_of(&self, offset: u32, len: usize) -> Option<u64> {
        let end = u64::from(offset) + len as u64;
        let inside = self.offset <= offset && end <= u64::from(self.offset) + u64::from(self.len);
        inside.then(|| self.addr + u64::from(offset - self.offset))
    }
}

/// `place` becomes the slot's address plus `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixup {
    /// What to set.
    pub place: Place,
    /// Where it points, at most `slot_bytes`.
    pub target: u32,
}

/// Where a pointer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// An argument, 0 to 5.
    Arg(u8),
    /// Eight bytes of the image from this offset on.
    Cell(u32),
}

/// A part of the slot that goes back to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Where it starts.
    pub offset: u32,
    /// Bytes that the program has room for.
    pub capacity: u32,
    /// How many of them the kernel wrote.
    pub filled: Filled,
    /// When it is sent at all.
    pub when: When,
}

/// How much of an output the kernel wrote; never more than its capacity counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filled {
    /// All of it.
    Whole,
    /// `unit` bytes for each of the result, and `plus`.
    Result {
        /// Bytes per item.
        unit: u32,
        /// Bytes that the result does not count.
        plus: u32,
    },
    /// As many bytes as the `u32` at this offset of the slot says after the call.
    Cell {
        /// Where the length stands.
        offset: u32,
    },
}

/// When an output is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// If the call succeeded.
    Success,
    /// If a signal ended a sleep. One that is to be issued as it was has told nothing.
    Interrupted,
    /// Whatever the result.
    Always,
    /// If the result is greater: one of several messages was handled.
    Beyond(u32),
}

impl When {
    /// Whether an output is sent for a raw result, which may be one of the kernel's restart codes.
    #[must_use]
    pub fn holds(self, result: i64) -> bool {
        match self {
            When::Success => result >= 0,
            When::Interrupted => INTERRUPTED.contains(&result),
            When::Always => true,
            When::Beyond(count) => result > i64::from(count),
        }
    }
}

/// EINTR, ERESTART_RESTARTBLOCK.
const INTERRUPTED: [i64; 2] = [-4, -516];

/// Pointers of one call, such as the arguments of an `execve`.
pub(super) const FIXUPS_MAX: usize = 32 * 1024;

/// Outputs of one call, such as five for each message of a `recvmmsg`.
pub(super) const OUTPUTS_MAX: usize = 8 * 1024;
