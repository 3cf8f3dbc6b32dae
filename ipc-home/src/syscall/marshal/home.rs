//! The home side: fills the slot before the call and empties it after.
//!
//! A request comes from the guest node and may be hostile. It can make the deputy's kernel read and write the
//! deputy's own memory, as the program itself could; it cannot make the warden touch anything outside the slot, hold
//! more memory than the slot, or execute a call that the table keeps from the deputy.

use super::request::{Anchor, FIXUPS_MAX, Filled, OUTPUTS_MAX, Output, Place, Request};
use crate::syscall::classify::{classify, travels};

/// A request that was checked, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The arguments of the call.
    pub args: [u64; 6],
    /// What to write at the start of the slot.
    pub bytes: Vec<u8>,
    outputs: Vec<Output>,
    /// What else must lie at the program's own address.
    pub anchor: Option<Anchor>,
}

/// A request that home does not execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The table does not let this call run in the deputy.
    #[error("call {nr} ({}) is not executed at home", crate::syscall::name(*nr))]
    NotForwarded {
        /// The number.
        nr: u32,
    },
    /// The call wants more room than the slot has.
    #[error("the call wants {wanted} bytes of a slot of {slot}")]
    SlotTooSmall {
        /// Bytes wanted.
        wanted: u32,
        /// Bytes there.
        slot: u32,
    },
    /// The image is longer than the room the call declared.
    #[error("the image has {len} bytes, the call declared {declared}")]
    ImageTooLong {
        /// Bytes of the image.
        len: usize,
        /// Bytes declared for image and outputs.
        declared: u32,
    },
    /// More pointers or outputs than any call has.
    #[error("{count} pointers and outputs are more than any call has")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A pointer stands or points outside the slot.
    #[error("pointer {index} stands or points outside the slot")]
    FixupOutside {
        /// Which fixup.
        index: usize,
    },
    /// What shall lie at the program's address is not in the slot.
    #[error("the part that belongs at the program's own address reaches outside the slot")]
    AnchorOutside,
    /// An output or its length lies outside the slot, or the outputs together are longer than it.
    #[error("output {index} reaches outside the slot")]
    OutputOutside {
        /// Which output.
        index: usize,
    },
}

/// Checks a request and sets its pointers for a slot of `slot_len` bytes at `slot_base` in the deputy.
///
/// # Errors
/// [`Refusal`] if the request is not one that gathering makes; nothing has happened then.
pub fn place(request: Request, image: &[u8], slot_base: u64, slot_len: u32) -> Result<Placed, Refusal> {
    let Request { nr, mut args, fixups, slot_bytes, outputs, anchor } = request;
    if !travels(classify(nr, &args)) {
        return Err(Refusal::NotForwarded { nr });
    }
    if slot_bytes > slot_len || slot_base.checked_add(u64::from(slot_len)).is_none() {
        return Err(Refusal::SlotTooSmall { wanted: slot_bytes, slot: slot_len });
    }
    if image.len() > slot_bytes as usize {
        return Err(Refusal::ImageTooLong { len: image.len(), declared: slot_bytes });
    }
    if fixups.len() > FIXUPS_MAX || outputs.len() > OUTPUTS_MAX {
        return Err(Refusal::TooMany { count: fixups.len().max(outputs.len()) });
    }
    let mut bytes = image.to_vec();
    for (index, fixup) in fixups.iter().enumerate() {
        let outside = Refusal::FixupOutside { index };
        if fixup.target > slot_bytes {
            return Err(outside);
        }
        let pointer = slot_base + u64::from(fixup.target);
        match fixup.place {
            Place::Arg(arg) => *args.get_mut(usize::from(arg)).ok_or(outside)? = pointer,
            Place::Cell(offset) => {
                let cell = bytes
                    .get_mut(offset as usize..)
                    .and_then(|tail| tail.first_chunk_mut())
                    .ok_or(outside)?;
                *cell = pointer.to_le_bytes();
            }
        }
    }
    check_outputs(&outputs, slot_bytes)?;
    let outside = |anchor: &Anchor| {
        let end = anchor.offset.checked_add(anchor.len);
        usize::from(anchor.arg) >= args.len() || end.is_none_or(|end| end > slot_bytes)
    };
    if anchor.as_ref().is_some_and(outside) {
        return Err(Refusal::AnchorOutside);
    }
    Ok(Placed { args, bytes, outputs, anchor })
}

impl Placed {
    /// Takes the outputs of a finished call out of the slot: for each that is due, a `u32` length and the bytes.
    ///
    /// `result` is what the kernel returned, also a restart code. `read` fills a buffer from an offset of the slot.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn collect<E>(
        &self,
        result: i64,
        mut read: impl FnMut(u32, &mut [u8]) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        let mut reply = Vec::new();
        for output in self.outputs.iter().filter(|output| output.when.holds(result)) {
            let filled = match output.filled {
                Filled::Whole => output.capacity,
                Filled::Result { unit, plus } => by_result(result, unit, plus),
                Filled::Cell { offset } => {
                    let mut cell = [0; 4];
                    read(offset, &mut cell)?;
                    u32::from_le_bytes(cell)
                }
            };
            let len = filled.min(output.capacity);
            reply.extend_from_slice(&len.to_le_bytes());
            let start = reply.len();
            reply.resize(start + len as usize, 0);
            if len > 0 {
                read(output.offset, &mut reply[start..])?;
            }
        }
        Ok(reply)
    }
}

fn check_outputs(outputs: &[Output], slot_bytes: u32) -> Result<(), Refusal> {
    let mut sum = 0u32;
    for (index, output) in outputs.iter().enumerate() {
        let inside = |offset: u32, len| offset.checked_add(len).is_some_and(|end| end <= slot_bytes);
        let cell_inside = match output.filled {
            Filled::Cell { offset } => inside(offset, 4),
            Filled::Whole | Filled::Result { .. } => true,
        };
        sum = sum.saturating_add(output.capacity);
        if !inside(output.offset, output.capacity) || !cell_inside || sum > slot_bytes {
            return Err(Refusal::OutputOutside { index });
        }
    }
    Ok(())
}

fn by_result(result: i64, unit: u32, plus: u32) -> u32 {
    let items = u32::try_from(result.max(0)).unwrap_or(u32::MAX);
    items.saturating_mul(unit).saturating_add(plus)
}
