//! Arguments that are buffers: how long each one is, and what comes back of it.

use super::PAYLOAD_BYTES;
use super::gather::{Gather, GatherError};
use super::layout::Spot;
use super::memory::{Memory, read_bytes, read_u32, read_u64};
use super::request::{Anchor, Filled, Place, When};
use super::scatter::Sink;
use super::split::{self, Split};
use super::vector::{self, Segment};
use crate::syscall::vocabulary::Len;

impl<M: Memory> Gather<'_, M> {
    /// Bytes that the kernel reads.
    pub(super) fn input(&mut self, i: usize, addr: u64, len: Len) -> Result<(), GatherError> {
        let (skip, len) = self.length(i, len)?;
        let bytes = read_bytes(self.memory, addr.wrapping_add(skip), len)?;
        self.put(i, &bytes)?;
        Ok(())
    }

    /// How many bytes the kernel reads at argument `i`, and how many of the buffer's were moved before.
    fn length(&mut self, i: usize, len: Len) -> Result<(u64, usize), GatherError> {
        let bytes = match len {
            Len::Bytes(bytes) => u64::from(bytes),
            Len::Arg(count) => {
                let asked = self.given[count];
                let window = self.window(asked).unwrap_or(Window { skip: 0, len: asked });
                if window.len > u64::from(PAYLOAD_BYTES) {
                    return Err(GatherError::TooLarge);
                }
                self.args[count] = window.len;
                return Ok((window.skip, to_usize(window.len)?));
            }
            Len::Items(count, size) => self.count(count)? * u64::from(size),
            Len::Bits(count) => {
                let bits = self.count(count)?.min(FDS_MAX);
                self.args[count] = bits;
                bits.div_ceil(64) * 8
            }
            Len::Mail(count) => {
                let body = i64::try_from(self.given[count]).map_err(|_| GatherError::Invalid)?;
                u64::from(LONG_BYTES) + body.unsigned_abs()
            }
            Len::Handle => {
                u64::from(LONG_BYTES) + u64::from(read_u32(self.memory, self.given[i])?.min(HANDLE_BYTES))
            }
            Len::BytesUnless(bytes, arg, value) => {
                if self.given[arg] & u64::from(u32::MAX) == u64::from(value) { 0 } else { u64::from(bytes) }
            }
            Len::Deref(_) => return Err(GatherError::NotForwarded),
        };
        // The kernel's own limits on counts are lower than this, and EINVAL is what it says beyond them.
        if bytes > u64::from(PAYLOAD_BYTES) { Err(GatherError::Invalid) } else { Ok((0, to_usize(bytes)?)) }
    }

    /// Bytes that the kernel writes.
    pub(super) fn output(&mut self, i: usize, addr: u64, len: Len) -> Result<(), GatherError> {
        let (to, filled) = match len {
            Len::Arg(count) => {
                let asked = self.given[count];
                let cut = Window { skip: 0, len: asked.min(u64::from(PAYLOAD_BYTES)) };
                let window = self.window(asked).unwrap_or(cut);
                self.args[count] = window.len;
                let to = Segment { addr: addr.wrapping_add(window.skip), len: window.len };
                (to, Filled::Result { unit: 1, plus: 0 })
            }
            Len::Items(count, size) => {
                let fitting = self.count(count)?.min(u64::from(PAYLOAD_BYTES / size));
                self.args[count] = fitting;
                (Segment { addr, len: fitting * u64::from(size) }, Filled::Result { unit: size, plus: 0 })
            }
            Len::Mail(count) => {
                let body = i64::try_from(self.given[count]).map_err(|_| GatherError::Invalid)?;
                let fitting = body.unsigned_abs().min(u64::from(PAYLOAD_BYTES - LONG_BYTES));
                self.args[count] = fitting;
                (
                    Segment { addr, len: u64::from(LONG_BYTES) + fitting },
                    Filled::Result { unit: 1, plus: LONG_BYTES },
                )
            }
            Len::Bytes(_) | Len::Bits(_) | Len::Handle | Len::BytesUnless(..) | Len::Deref(_) => {
                let (_, len) = self.length(i, len)?;
                (Segment { addr, len: len as u64 }, Filled::Whole)
            }
        };
        let spot = vector::reserve(&mut self.layout, vec![to], filled, When::Success)?;
        self.point(i, spot);
        Ok(())
    }

    /// Bytes that the kernel reads and may write.
    pub(super) fn in_out(&mut self, i: usize, addr: u64, len: Len, when: When) -> Result<(), GatherError> {
        let (_, len) = self.length(i, len)?;
        let spot = self.exchange(i, addr, len, when)?.0;
        let waits_with_end =
            i64::from(self.nr) == libc::SYS_poll && self.given[2] & u64::from(u32::MAX) <= INT_MAX;
        if waits_with_end && len > 0 && len <= ANCHOR_BYTES_MAX {
            self.anchor(i, addr, spot, len);
        }
        Ok(())
    }

    fn anchor(&mut self, i: usize, addr: u64, spot: Spot, len: usize) {
        if let (Ok(arg), Ok(len)) = (u8::try_from(i), u32::try_from(len)) {
            self.layout.anchor(spot, Anchor { arg, addr, offset: 0, len });
        }
    }

    /// A timeout that sinks; the kernel ignores it when it cannot write the rest.
    pub(super) fn timeout(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
        self.exchange(i, addr, TIMESPEC_BYTES, When::Always)?.1.ignore_faults();
        Ok(())
    }

    /// The rest of an interrupted sleep.
    pub(super) fn remaining(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
        let to = vec![Segment { addr, len: TIMESPEC_BYTES as u64 }];
        let spot = vector::reserve(&mut self.layout, to, Filled::Whole, When::Interrupted)?;
        self.point(i, spot);
        self.anchor(i, addr, spot, TIMESPEC_BYTES);
        Ok(())
    }

    fn exchange(
        &mut self,
        i: usize,
        addr: u64,
        len: usize,
        when: When,
    ) -> Result<(Spot, &mut Sink), GatherError> {
        let bytes = read_bytes(self.memory, addr, len)?;
        let spot = self.put(i, &bytes)?;
        let to = vec![Segment { addr, len: len as u64 }];
        Ok((spot, self.layout.output(spot, to, Filled::Whole, when)))
    }

    /// A buffer whose length stands in a cell, before the call the room and after it the length.
    ///
    /// The cell is read once and cut to what the slot has, so the kernel at home cannot be told of more.
    pub(super) fn value_result(&mut self, i: usize, cell: usize, reads: bool) -> Result<(), GatherError> {
        let (addr, cell_addr) = (self.given[i], self.given[cell]);
        self.handled[cell] = true;
        let room = match read_u32(self.memory, cell_addr) {
            Ok(room) => room,
            // Without a buffer the kernel may never look at the cell.
            Err(_) if addr == 0 => {
                self.args[cell] = 0;
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let negative = room > i32::MAX.unsigned_abs();
        let told = if negative { room } else { room.min(VALUE_BYTES) };
        let capacity = if negative { 0 } else { told };
        let offset = self.layout.put(&told.to_le_bytes())?;
        self.point(cell, Spot::Image(offset));
        let to = vec![Segment { addr: cell_addr, len: 4 }];
        self.layout.output(Spot::Image(offset), to, Filled::Whole, When::Success);
        if addr == 0 {
            return Ok(());
        }
        let spot = if reads {
            Spot::Image(self.layout.put(&read_bytes(self.memory, addr, capacity as usize)?)?)
        } else {
            self.layout.reserve(capacity)?
        };
        self.point(i, spot);
        let to = vec![Segment { addr, len: u64::from(capacity) }];
        self.layout.output(spot, to, Filled::Cell { offset }, When::Success);
        Ok(())
    }

    /// An iovec array, to send from or to receive into.
    pub(super) fn vector(
        &mut self,
        i: usize,
        addr: u64,
        count: usize,
        sends: bool,
    ) -> Result<(), GatherError> {
        let segments = vector::read(self.memory, addr, self.given[count])?;
        let window = self.window(vector::total(&segments)).ok_or(GatherError::NotForwarded)?;
        let part = vector::cut(&segments, window.skip, window.len);
        let payload = if sends {
            vector::put(&mut self.layout, self.memory, &part)?
        } else {
            vector::reserve(&mut self.layout, part, Filled::Result { unit: 1, plus: 0 }, When::Success)?
        };
        let single = vector::put_single(&mut self.layout, payload, window.len)?;
        self.args[count] = self.given[count].min(1);
        self.point(i, single);
        Ok(())
    }

    /// The last argument of `pselect6`.
    pub(super) fn sigset_pair(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
        let (set, size) = (read_u64(self.memory, addr)?, read_u64(self.memory, addr.wrapping_add(8))?);
        let mut pair = [0; 16];
        pair[8..].copy_from_slice(&size.to_le_bytes());
        let pair = self.put(i, &pair)?;
        if let (Spot::Image(cell), true) = (pair, set != 0) {
            let offset = self.layout.put(&read_bytes(self.memory, set, SIGSET_BYTES)?)?;
            self.layout.point(Place::Cell(cell), Spot::Image(offset));
        }
        Ok(())
    }

    /// Which part of `asked` bytes this piece moves; none for a call that is not made in pieces.
    pub(super) fn window(&mut self, asked: u64) -> Option<Window> {
        let (kind, position) = split::rule(self.nr, self.given)?;
        let total = asked.min(split::TRANSFER_MAX);
        let from = self.from.min(total);
        let piece = (total - from).min(u64::from(PAYLOAD_BYTES));
        if piece < total {
            self.split = Some(Split { total, from, piece, kind });
        }
        if let Some(position) = position {
            self.args[position] = split::position(self.given[position], from);
        }
        Some(Window { skip: from, len: piece })
    }
}

/// The part of a buffer that one piece moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) skip: u64,
    pub(super) len: u64,
}

fn to_usize(bytes: u64) -> Result<usize, GatherError> {
    usize::try_from(bytes).map_err(|_| GatherError::TooLarge)
}

/// A value with a value-result length: socket addresses have 128, the largest options some kilobytes.
const VALUE_BYTES: u32 = 64 * 1024;

/// The opaque part of a file handle, the kernel's `MAX_HANDLE_SZ`.
const HANDLE_BYTES: u32 = 128;

/// Descriptors that three sets of one `select` can name within a slot.
const FDS_MAX: u64 = 512 * 1024;

/// The largest array of a `poll` that is kept at the program's address: 512 descriptors.
const ANCHOR_BYTES_MAX: usize = 4096;

const INT_MAX: u64 = i32::MAX as u64;
const LONG_BYTES: u32 = 8;
const TIMESPEC_BYTES: usize = 16;
const SIGSET_BYTES: usize = 8;
