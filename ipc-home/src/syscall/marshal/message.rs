//! `struct msghdr`: an address, a vector and control messages behind one pointer.
//!
//! Descriptors in control messages need no care: their numbers are home's on both sides.

use super::PAYLOAD_BYTES;
use super::gather::{Gather, GatherError};
use super::layout::Spot;
use super::memory::{Memory, read_bytes};
use super::request::{Filled, Place, When};
use super::vector::{self, Segment};

/// A message to send.
pub(super) fn send<M: Memory>(gather: &mut Gather<'_, M>, i: usize, addr: u64) -> Result<(), GatherError> {
    let mut message = Message::read(gather.memory, addr)?;
    if gather.from > 0 {
        // Control messages went with the first piece; descriptors would arrive twice.
        message.control = Segment { addr: 0, len: 0 };
    }
    let window = gather.window(vector::total(&message.payload)).ok_or(GatherError::NotForwarded)?;
    message.payload = vector::cut(&message.payload, window.skip, window.len);
    let header = gather.layout.put(&[0; HEADER_BYTES])?;
    gather.point(i, Spot::Image(header));
    lay_to_send(gather, header, &message)
}

/// A message to receive.
pub(super) fn receive<M: Memory>(gather: &mut Gather<'_, M>, i: usize, addr: u64) -> Result<(), GatherError> {
    let message = Message::read(gather.memory, addr)?;
    let header = gather.layout.put(&[0; HEADER_BYTES])?;
    gather.point(i, Spot::Image(header));
    lay_to_receive(gather, header, addr, &message, Filled::Result { unit: 1, plus: 0 }, When::Success)
}

/// Several messages to send: as many as fit the slot, the kernel may send fewer as well.
pub(super) fn send_many<M: Memory>(
    gather: &mut Gather<'_, M>,
    i: usize,
    addr: u64,
    count: usize,
) -> Result<(), GatherError> {
    let messages = fitting(gather, addr, count)?;
    if messages.first().is_some_and(|first| vector::total(&first.payload) > u64::from(PAYLOAD_BYTES)) {
        return Err(GatherError::MessageTooLong);
    }
    let array = gather.layout.put(&vec![0; messages.len() * ARRAY_STRIDE as usize])?;
    for ((index, message), header) in (0..).zip(&messages).zip((array..).step_by(ARRAY_STRIDE as usize)) {
        lay_to_send(gather, header, message)?;
        output_length(gather, header, message, When::Beyond(index));
    }
    gather.args[count] = messages.len() as u64;
    gather.point(i, Spot::Image(array));
    Ok(())
}

/// Several messages to receive: as many as fit the slot, the kernel may receive fewer as well.
pub(super) fn receive_many<M: Memory>(
    gather: &mut Gather<'_, M>,
    i: usize,
    addr: u64,
    count: usize,
) -> Result<(), GatherError> {
    let messages = fitting(gather, addr, count)?;
    let array = gather.layout.put(&vec![0; messages.len() * ARRAY_STRIDE as usize])?;
    for ((index, message), header) in (0..).zip(&messages).zip((array..).step_by(ARRAY_STRIDE as usize)) {
        let (filled, when) = (Filled::Cell { offset: header + LENGTH_OFFSET }, When::Beyond(index));
        lay_to_receive(gather, header, message.addr, message, filled, when)?;
        output_length(gather, header, message, when);
    }
    gather.args[count] = messages.len() as u64;
    gather.point(i, Spot::Image(array));
    Ok(())
}

/// A message as the program describes it, with the kernel's limits applied.
struct Message {
    /// Where the program keeps the header.
    addr: u64,
    name: Segment,
    control: Segment,
    payload: Vec<Segment>,
    flags: u32,
}

impl Message {
    fn read(memory: &impl Memory, addr: u64) -> Result<Message, GatherError> {
        let bytes = read_bytes(memory, addr, HEADER_BYTES)?;
        let word = |at: u32| bytes[at as usize..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let half = |at: u32| bytes[at as usize..].first_chunk().map_or(0, |half| u32::from_le_bytes(*half));
        let name_len = u64::from(half(NAME_LEN_OFFSET));
        if name_len > i32::MAX.unsigned_abs().into() {
            return Err(GatherError::Invalid);
        }
        let count = word(VECTOR_LEN_OFFSET);
        if count > vector::IOVECS_MAX {
            return Err(GatherError::MessageTooLong);
        }
        let payload = if count == 0 { Vec::new() } else { vector::read(memory, word(VECTOR_OFFSET), count)? };
        let some = |addr, len| Segment { addr, len: if addr == 0 { 0 } else { len } };
        Ok(Message {
            addr,
            name: some(word(0), name_len.min(NAME_BYTES)),
            control: some(word(CONTROL_OFFSET), word(CONTROL_LEN_OFFSET)),
            payload,
            flags: half(FLAGS_OFFSET),
        })
    }

    /// Bytes of payload and control messages, what a slot is short of.
    fn bytes(&self) -> u64 {
        vector::total(&self.payload)
            .saturating_add(self.control.len.min(CONTROL_BYTES))
            .saturating_add(OVERHEAD_BYTES)
    }
}

/// The first messages of an array that fit a slot together, at least one.
fn fitting<M: Memory>(gather: &Gather<'_, M>, addr: u64, count: usize) -> Result<Vec<Message>, GatherError> {
    let mut messages = Vec::new();
    let mut bytes = 0u64;
    for index in 0..gather.count(count)?.min(vector::IOVECS_MAX) {
        let message = Message::read(gather.memory, addr.wrapping_add(index * u64::from(ARRAY_STRIDE)))?;
        bytes = bytes.saturating_add(message.bytes());
        if index > 0 && bytes > u64::from(PAYLOAD_BYTES) {
            break;
        }
        messages.push(message);
    }
    Ok(messages)
}

fn lay_to_send<M: Memory>(
    gather: &mut Gather<'_, M>,
    header: u32,
    message: &Message,
) -> Result<(), GatherError> {
    if message.control.len > CONTROL_BYTES {
        return Err(GatherError::ControlTooLong);
    }
    for (part, offset) in [(message.name, 0), (message.control, CONTROL_OFFSET)] {
        if part.addr != 0 {
            let spot = vector::put(&mut gather.layout, gather.memory, &[part])?;
            gather.layout.point(Place::Cell(header + offset), spot);
        }
    }
    let payload = vector::put(&mut gather.layout, gather.memory, &message.payload)?;
    finish_header(gather, header, message, payload, vector::total(&message.payload))
}

fn lay_to_receive<M: Memory>(
    gather: &mut Gather<'_, M>,
    header: u32,
    addr: u64,
    message: &Message,
    filled: Filled,
    when: When,
) -> Result<(), GatherError> {
    let name = (message.name, 0, NAME_LEN_OFFSET);
    let control = Segment { len: message.control.len.min(CONTROL_BYTES), ..message.control };
    for (part, offset, len_offset) in [name, (control, CONTROL_OFFSET, CONTROL_LEN_OFFSET)] {
        if part.addr != 0 {
            let filled = Filled::Cell { offset: header + len_offset };
            let spot = vector::reserve(&mut gather.layout, vec![part], filled, when)?;
            gather.layout.point(Place::Cell(header + offset), spot);
        }
    }
    let len = vector::total(&message.payload).min(u64::from(PAYLOAD_BYTES));
    let payload = vector::cut(&message.payload, 0, len);
    let payload = vector::reserve(&mut gather.layout, payload, filled, when)?;
    // The kernel writes the lengths and the flags back, and leaves the pointers alone.
    for (offset, bytes) in [(NAME_LEN_OFFSET, 4), (CONTROL_LEN_OFFSET, 12)] {
        let to = vec![Segment { addr: addr.wrapping_add(offset.into()), len: bytes }];
        gather.layout.output(Spot::Image(header + offset), to, Filled::Whole, when);
    }
    let received = Message { control, payload: Vec::new(), ..*message };
    finish_header(gather, header, &received, payload, len)
}

fn finish_header<M: Memory>(
    gather: &mut Gather<'_, M>,
    header: u32,
    message: &Message,
    payload: Spot,
    len: u64,
) -> Result<(), GatherError> {
    let single = vector::put_single(&mut gather.layout, payload, len)?;
    gather.layout.point(Place::Cell(header + VECTOR_OFFSET), single);
    for (offset, value) in [
        (NAME_LEN_OFFSET, message.name.len),
        (VECTOR_LEN_OFFSET, 1),
        (CONTROL_LEN_OFFSET, message.control.len),
        (FLAGS_OFFSET, message.flags.into()),
    ] {
        gather.layout.patch(header + offset, &value.to_le_bytes());
    }
    Ok(())
}

fn output_length<M: Memory>(gather: &mut Gather<'_, M>, header: u32, message: &Message, when: When) {
    let to = vec![Segment { addr: message.addr.wrapping_add(LENGTH_OFFSET.into()), len: 4 }];
    gather.layout.output(Spot::Image(header + LENGTH_OFFSET), to, Filled::Whole, when);
}

// Offsets in struct msghdr; the array's struct mmsghdr adds a length.
const NAME_LEN_OFFSET: u32 = 8;
const VECTOR_OFFSET: u32 = 16;
const VECTOR_LEN_OFFSET: u32 = 24;
const CONTROL_OFFSET: u32 = 32;
const CONTROL_LEN_OFFSET: u32 = 40;
const FLAGS_OFFSET: u32 = 48;
const LENGTH_OFFSET: u32 = 56;
const HEADER_BYTES: usize = 56;
const ARRAY_STRIDE: u32 = 64;

/// An address, the kernel's `struct sockaddr_storage`.
const NAME_BYTES: u64 = 128;

/// Control messages of one message; the kernel's usual `optmem_max` is 20 to 128 KiB.
const CONTROL_BYTES: u64 = 64 * 1024;

/// What a message takes beside payload and control messages: header, vector, address, padding.
const OVERHEAD_BYTES: u64 = 256;
