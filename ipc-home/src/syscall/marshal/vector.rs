//! Buffers that lie in several places: `struct iovec`.
//!
//! At home they are one buffer: the bytes of a vector are gathered one after the other, and the kernel is handed a
//! vector of one entry. The result counts bytes either way.

use super::gather::GatherError;
use super::layout::{Layout, Spot};
use super::memory::{Memory, read_bytes, read_into};
use super::request::{Filled, Place, When};

/// A stretch of the body's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it starts.
    pub(super) addr: u64,
    /// Its length in bytes.
    pub(super) len: u64,
}

/// Reads an array of `count` iovecs.
pub(super) fn read(memory: &impl Memory, addr: u64, count: u64) -> Result<Vec<Segment>, GatherError> {
    if count > IOVECS_MAX {
        return Err(GatherError::Invalid);
    }
    let count = usize::try_from(count).map_err(|_| GatherError::Invalid)?;
    let bytes = read_bytes(memory, addr, count * IOVEC_BYTES)?;
    let word = |bytes: &[u8], at| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let segments: Vec<_> = bytes
        .chunks_exact(IOVEC_BYTES)
        .map(|iovec| Segment { addr: word(iovec, 0), len: word(iovec, 8) })
        .collect();
    let sane = segments.iter().all(|segment| i64::try_from(segment.len).is_ok());
    if sane { Ok(segments) } else { Err(GatherError::Invalid) }
}

/// Bytes in all segments.
pub(super) fn total(segments: &[Segment]) -> u64 {
    segments.iter().fold(0, |sum, segment| sum.saturating_add(segment.len))
}

/// The part of the segments that follows the first `skip` bytes and has at most `take` bytes.
pub(super) fn cut(segments: &[Segment], mut skip: u64, mut take: u64) -> Vec<Segment> {
    let mut part = Vec::new();
    for segment in segments {
        let skipped = skip.min(segment.len);
        let len = take.min(segment.len - skipped);
        if len > 0 {
            part.push(Segment { addr: segment.addr.wrapping_add(skipped), len });
        }
        skip -= skipped;
        take -= len;
    }
    part
}

/// Puts the bytes of all segments into the image.
pub(super) fn put(
    layout: &mut Layout,
    memory: &impl Memory,
    segments: &[Segment],
) -> Result<Spot, GatherError> {
    let len = usize::try_from(total(segments)).map_err(|_| GatherError::TooLarge)?;
    if len > super::SLOT_BYTES as usize {
        return Err(GatherError::TooLarge);
    }
    let mut bytes = vec![0; len];
    let mut rest = bytes.as_mut_slice();
    for segment in segments {
        let count = usize::try_from(segment.len).map_err(|_| GatherError::TooLarge)?;
        let (part, after) = rest.split_at_mut(count);
        read_into(memory, segment.addr, part)?;
        rest = after;
    }
    Ok(Spot::Image(layout.put(&bytes)?))
}

/// Sets room aside that is sent back into the segments.
pub(super) fn reserve(
    layout: &mut Layout,
    segments: Vec<Segment>,
    filled: Filled,
    when: When,
) -> Result<Spot, GatherError> {
    let len = u32::try_from(total(&segments)).map_err(|_| GatherError::TooLarge)?;
    let spot = layout.reserve(len)?;
    layout.output(spot, segments, filled, when);
    Ok(spot)
}

/// Puts the one iovec that home's kernel sees.
pub(super) fn put_single(layout: &mut Layout, payload: Spot, len: u64) -> Result<Spot, GatherError> {
    let mut iovec = [0; IOVEC_BYTES];
    iovec[8..].copy_from_slice(&len.to_le_bytes());
    let offset = layout.put(&iovec)?;
    layout.point(Place::Cell(offset), payload);
    Ok(Spot::Image(offset))
}

/// Entries of one vector, the kernel's `UIO_MAXIOV`.
pub(super) const IOVECS_MAX: u64 = 1024;

const IOVEC_BYTES: usize = 16;
