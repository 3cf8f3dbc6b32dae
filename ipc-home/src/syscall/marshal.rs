//! Carries a call's buffers: out of the body's memory, into the deputy's slot, and back.
//!
//! [`gather`] reads everything a call needs at once, so that no buffer ever costs a second round trip. It lays the
//! bytes out as they shall stand in the *slot*, a piece of the shadow thread's arena at home, and says which pointers
//! to adjust. [`place`] checks the request and fills the slot, the call runs there, [`Placed::collect`] sends back
//! what the kernel wrote, and [`Scatter::apply`] puts it where the program wanted it.
//!
//! ```text
//! slot:  | image: inputs, length cells, headers with pointers into the slot | outputs |
//!        0                                                        image.len()         slot_bytes
//! ```
//!
//! Three bounds hold for each output: what the program has room for, what the kernel says it wrote, and what the
//! request declared. The kernel itself is never told more room than the slot has. Padding that the kernel skips inside
//! what it wrote (between directory entries, between control messages) comes back with what an earlier call of the
//! same thread left in the slot.

mod buffer;
mod gather;
mod home;
mod layout;
mod memory;
mod message;
mod request;
mod scatter;
mod split;
mod text;
mod vector;

pub use gather::{GatherError, Plan, gather, gather_piece};
pub use home::{Placed, Refusal, place};
pub use memory::{Fault, Memory};
pub use request::{Anchor, Filled, Fixup, Output, Place, Request, When};
pub use scatter::{BadReply, Scatter};
pub use split::{FileKind, Next, Split, SplitKind};

/// Bytes of the payload of one call (or one piece of it): the buffer of a `read`, all buffers of a `recvmmsg`.
pub const PAYLOAD_BYTES: u32 = 256 * 1024;

/// Bytes of a slot beside the payload: paths, addresses, control messages, length cells.
pub const HEADER_BYTES: u32 = 128 * 1024;

/// Bytes of the slot that each shadow thread has in the deputy's arena.
pub const SLOT_BYTES: u32 = PAYLOAD_BYTES + HEADER_BYTES;

#[cfg(test)]
mod tests;
