//! The guest side before the call: one pass over the arguments, each handled as its kind says.

use super::PAYLOAD_BYTES;
use super::layout::{Layout, Spot};
use super::memory::{Fault, Memory, read_bytes, read_string, read_u32, read_u64};
use super::message;
use super::request::{FIXUPS_MAX, Filled, Place, Request, When};
use super::scatter::Scatter;
use super::split::{self, Split};
use super::vector::{self, Segment};
use crate::syscall::classify::{arguments, classify, travels};
use crate::syscall::vocabulary::{Arg, Len};

/// A gathered call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What home needs.
    pub request: Request,
    /// The raw tail of the request.
    pub image: Vec<u8>,
    /// Where the outputs go.
    pub scatter: Scatter,
    /// Set if this is one piece of a larger call.
    pub split: Option<Split>,
}

/// A call that is not sent, because it cannot succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// The table does not send this call to home; its handler, or the filter, should have taken it.
    #[error("the call is not one that is sent to home")]
    NotForwarded,
    /// The program's memory is not there.
    #[error("a buffer of the call cannot be read")]
    Fault(#[from] Fault),
    /// A path has no NUL within the kernel's limit.
    #[error("a path is longer than 4095 bytes")]
    PathTooLong,
    /// A message does not fit the slot, and must not be cut.
    #[error("a message is longer than a slot")]
    MessageTooLong,
    /// Control messages beyond the limit.
    #[error("the control messages are longer than a slot takes")]
    ControlTooLong,
    /// The call's inputs do not fit the slot.
    #[error("the inputs of the call are longer than a slot")]
    TooLarge,
    /// A count or length that the kernel refuses, too.
    #[error("a count or length of the call is out of range")]
    Invalid,
}

impl GatherError {
    /// The (positive) errno for the program.
    #[must_use]
    pub fn errno(self) -> i32 {
        match self {
            GatherError::NotForwarded => libc::ENOSYS,
            GatherError::Fault(_) => libc::EFAULT,
            GatherError::PathTooLong => libc::ENAMETOOLONG,
            GatherError::MessageTooLong => libc::EMSGSIZE,
            GatherError::ControlTooLong => libc::ENOBUFS,
            GatherError::TooLarge => libc::E2BIG,
            GatherError::Invalid => libc::EINVAL,
        }
    }
}

/// Gathers a call.
///
/// # Errors
/// [`GatherError`] if the call cannot succeed; the program gets its errno.
pub fn gather(nr: u32, args: &[u64; 6], memory: &impl Memory) -> Result<Plan, GatherError> {
    gather_piece(nr, args, 0, memory)
}

/// Gathers the piece of a split call that follows its first `from` bytes; the arguments are the whole call's.
///
/// # Errors
/// As [`gather`].
pub fn gather_piece(nr: u32, args: &[u64; 6], from: u64, memory: &impl Memory) -> Result<Plan, GatherError> {
    if !travels(classify(nr, args)) {
        return Err(GatherError::NotForwarded);
    }
    let kinds = arguments(nr, args).ok_or(GatherError::NotForwarded)?;
    let mut gather = Gather::new(nr, args, from, memory);
    for (i, kind) in kinds.into_iter().enumerate() {
        gather.argument(i, kind)?;
    }
    gather.layout.finish(nr, gather.args, gather.split)
}

pub(super) struct Gather<'m, M> {
    pub(super) nr: u32,
    pub(super) from: u64,
    pub(super) memory: &'m M,
    pub(super) layout: Layout,
    /// What the program passed.
    given: &'m [u64; 6],
    /// What home passes on.
    args: [u64; 6],
    /// Length cells that were handled with the buffer they belong to.
    handled: [bool; 6],
    split: Option<Split>,
}

impl<'m, M: Memory> Gather<'m, M> {
    fn new(nr: u32, given: &'m [u64; 6], from: u64, memory: &'m M) -> Self {
        let args = *given;
        Gather { nr, from, memory, layout: Layout::default(), given, args, handled: [false; 6], split: None }
    }

    fn argument(&mut self, i: usize, kind: Arg) -> Result<(), GatherError> {
        if matches!(kind, Arg::Val | Arg::Fd | Arg::ByCommand) || self.handled[i] {
            return Ok(());
        }
        if let Arg::Out(Len::Deref(cell)) | Arg::InOut(Len::Deref(cell)) = kind {
            return self.value_result(i, cell, matches!(kind, Arg::InOut(_)));
        }
        let addr = self.given[i];
        if addr == 0 {
            return Ok(());
        }
        match kind {
            Arg::Val | Arg::Fd | Arg::ByCommand => {}
            Arg::Path => {
                let text = read_string(self.memory, addr, PATH_BYTES)?.ok_or(GatherError::PathTooLong)?;
                self.put_string(i, text)?;
            }
            Arg::Text => {
                let text = read_string(self.memory, addr, PATH_BYTES)?.ok_or(GatherError::Invalid)?;
                self.put_string(i, text)?;
            }
            Arg::Cut(len) => {
                let text = match read_string(self.memory, addr, len as usize)? {
                    Some(text) => text,
                    None => read_bytes(self.memory, addr, len as usize)?,
                };
                self.put_string(i, text)?;
            }
            Arg::Strings => self.strings(i, addr)?,
            Arg::In(len) => {
                let (skip, len) = self.input(i, len)?;
                let bytes = read_bytes(self.memory, addr.wrapping_add(skip), len)?;
                self.put(i, &bytes)?;
            }
            Arg::Out(len) => self.output(i, addr, len)?,
            Arg::InOut(len) => {
                let when = if len == Len::Handle { When::Always } else { When::Success };
                let (_, len) = self.input(i, len)?;
                self.in_out(i, addr, len, when, false)?;
            }
            Arg::Timeout => self.in_out(i, addr, TIMESPEC_BYTES, When::Always, true)?,
            Arg::Remaining => {
                let to = vec![Segment { addr, len: TIMESPEC_BYTES as u64 }];
                let spot = vector::reserve(&mut self.layout, to, Filled::Whole, When::Interrupted)?;
                self.point(i, spot);
            }
            Arg::SigsetPair => self.sigset_pair(i, addr)?,
            Arg::IovIn(count) | Arg::IovOut(count) => {
                self.vector(i, addr, count, matches!(kind, Arg::IovIn(_)))?;
            }
            Arg::MsgIn => message::send(self, i, addr)?,
            Arg::MsgOut => message::receive(self, i, addr)?,
            Arg::MsgsIn(count) => message::send_many(self, i, addr, count)?,
            Arg::MsgsOut(count) => message::receive_many(self, i, addr, count)?,
        }
        Ok(())
    }

    /// How many bytes the kernel reads at argument `i`, and how many of the buffer's were moved before.
    fn input(&mut self, i: usize, len: Len) -> Result<(u64, usize), GatherError> {
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

    fn output(&mut self, i: usize, addr: u64, len: Len) -> Result<(), GatherError> {
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
                let (_, len) = self.input(i, len)?;
                (Segment { addr, len: len as u64 }, Filled::Whole)
            }
        };
        let spot = vector::reserve(&mut self.layout, vec![to], filled, When::Success)?;
        self.point(i, spot);
        Ok(())
    }

    fn in_out(
        &mut self,
        i: usize,
        addr: u64,
        len: usize,
        when: When,
        lenient: bool,
    ) -> Result<(), GatherError> {
        let bytes = read_bytes(self.memory, addr, len)?;
        let spot = self.put(i, &bytes)?;
        let to = vec![Segment { addr, len: len as u64 }];
        let sink = self.layout.output(spot, to, Filled::Whole, when);
        if lenient {
            sink.ignore_faults();
        }
        Ok(())
    }

    /// A buffer whose length stands in a cell, before the call the room and after it the length.
    ///
    /// The cell is read once and cut to what the slot has, so the kernel at home cannot be told of more.
    fn value_result(&mut self, i: usize, cell: usize, reads: bool) -> Result<(), GatherError> {
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

    fn vector(&mut self, i: usize, addr: u64, count: usize, sends: bool) -> Result<(), GatherError> {
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

    fn strings(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
        let mut strings = Vec::new();
        let mut bytes = 0;
        loop {
            let pointer = read_u64(self.memory, addr.wrapping_add(8 * strings.len() as u64))?;
            if pointer == 0 {
                break;
            }
            let mut text = read_string(self.memory, pointer, STRING_BYTES)?.ok_or(GatherError::TooLarge)?;
            text.push(0);
            bytes += text.len();
            strings.push(text);
            if bytes > super::SLOT_BYTES as usize || strings.len() > FIXUPS_MAX / 2 - 8 {
                return Err(GatherError::TooLarge);
            }
        }
        let array = self.layout.put(&vec![0; 8 * (strings.len() + 1)])?;
        for (cell, text) in (array..).step_by(8).zip(&strings) {
            let offset = self.layout.put(text)?;
            self.layout.point(Place::Cell(cell), Spot::Image(offset));
        }
        self.point(i, Spot::Image(array));
        Ok(())
    }

    fn sigset_pair(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
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

    fn put_string(&mut self, i: usize, mut text: Vec<u8>) -> Result<(), GatherError> {
        text.push(0);
        self.put(i, &text)?;
        Ok(())
    }

    fn put(&mut self, i: usize, bytes: &[u8]) -> Result<Spot, GatherError> {
        let spot = Spot::Image(self.layout.put(bytes)?);
        self.point(i, spot);
        Ok(spot)
    }

    /// Lets argument `i` point into the slot.
    pub(super) fn point(&mut self, i: usize, spot: Spot) {
        self.args[i] = 0;
        self.layout.point(Place::Arg(u8::try_from(i).expect("a call has six arguments")), spot);
    }

    /// Argument `i` as the `int` count it is.
    pub(super) fn count(&self, i: usize) -> Result<u64, GatherError> {
        let low = self.given[i] & u64::from(u32::MAX);
        if low > i32::MAX.unsigned_abs().into() { Err(GatherError::Invalid) } else { Ok(low) }
    }

    pub(super) fn set(&mut self, i: usize, value: u64) {
        self.args[i] = value;
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

/// A path with its NUL, the kernel's `PATH_MAX`.
const PATH_BYTES: usize = 4096;

/// One string of `argv` or `envp`, the kernel's `MAX_ARG_STRLEN`.
const STRING_BYTES: usize = 128 * 1024;

/// A value with a value-result length: socket addresses have 128, the largest options some kilobytes.
const VALUE_BYTES: u32 = 64 * 1024;

/// The opaque part of a file handle, the kernel's `MAX_HANDLE_SZ`.
const HANDLE_BYTES: u32 = 128;

/// Descriptors that three sets of one `select` can name within a slot.
const FDS_MAX: u64 = 512 * 1024;

const LONG_BYTES: u32 = 8;
const TIMESPEC_BYTES: usize = 16;
const SIGSET_BYTES: usize = 8;
