//! Lays out a slot while a call is gathered.

use super::SLOT_BYTES;
use super::gather::{GatherError, Plan};
use super::request::{Anchor, Filled, Fixup, Output, Place, Request, When};
use super::scatter::{Scatter, Sink};
use super::split::Split;
use super::vector::Segment;

/// A place in the slot; outputs lie behind the image, whose length is known only at the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot {
    Image(u32),
    Behind(u32),
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    image: Vec<u8>,
    behind_bytes: u32,
    fixups: Vec<(Place, Spot)>,
    outputs: Vec<(Spot, Output)>,
    anchor: Option<(Spot, Anchor)>,
    sinks: Vec<Sink>,
}

impl Layout {
    /// Appends input bytes and returns their offset.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<u32, GatherError> {
        self.claim(bytes.len())?;
        let offset = narrow(self.image.len())?;
        self.image.extend_from_slice(bytes);
        self.image.resize(self.image.len().next_multiple_of(ALIGN as usize), 0);
        Ok(offset)
    }

    /// Overwrites bytes that were put before.
    pub(super) fn patch(&mut self, offset: u32, bytes: &[u8]) {
        let start = offset as usize;
        self.image[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Sets room aside that only the kernel fills.
    pub(super) fn reserve(&mut self, len: u32) -> Result<Spot, GatherError> {
        self.claim(len as usize)?;
        let spot = Spot::Behind(self.behind_bytes);
        self.behind_bytes += len.next_multiple_of(ALIGN);
        Ok(spot)
    }

    /// Lets a pointer point into the slot.
    pub(super) fn point(&mut self, place: Place, spot: Spot) {
        self.fixups.push((place, spot));
    }

    /// Sends `spot` back to the program's memory, at most as many bytes as the segments have.
    pub(super) fn output(&mut self, spot: Spot, to: Vec<Segment>, filled: Filled, when: When) -> &mut Sink {
        let capacity = to.iter().map(|segment| segment.len).sum::<u64>();
        let capacity = u32::try_from(capacity).expect("an output lies in a slot, whose offsets have 32 bits");
        self.outputs.push((spot, Output { offset: 0, capacity, filled, when }));
        self.sinks.push(Sink::new(to, when));
        self.sinks.last_mut().expect("a sink was pushed")
    }

    /// Lets a part of the slot lie at the program's own address, too.
    pub(super) fn anchor(&mut self, spot: Spot, anchor: Anchor) {
        self.anchor = Some((spot, anchor));
    }

    pub(super) fn finish(self, nr: u32, args: [u64; 6], split: Option<Split>) -> Result<Plan, GatherError> {
        let behind = narrow(self.image.len())?;
        let resolve = |spot| match spot {
            Spot::Image(offset) => offset,
            Spot::Behind(offset) => behind + offset,
        };
        let fixups =
            self.fixups.iter().map(|&(place, spot)| Fixup { place, target: resolve(spot) }).collect();
        let outputs =
            self.outputs.iter().map(|&(spot, output)| Output { offset: resolve(spot), ..output }).collect();
        let slot_bytes = behind + self.behind_bytes;
        let anchor = self.anchor.map(|(spot, anchor)| Anchor { offset: resolve(spot), ..anchor });
        let request = Request { nr, args, fixups, slot_bytes, outputs, anchor };
        Ok(Plan { request, image: self.image, scatter: Scatter::new(self.sinks), split })
    }

    fn claim(&self, len: usize) -> Result<(), GatherError> {
        let used = self.image.len() + self.behind_bytes as usize;
        let rounded = len.checked_next_multiple_of(ALIGN as usize).ok_or(GatherError::TooLarge)?;
        let fits = used.checked_add(rounded).is_some_and(|total| total <= SLOT_BYTES as usize);
        if fits { Ok(()) } else { Err(GatherError::TooLarge) }
    }
}

fn narrow(len: usize) -> Result<u32, GatherError> {
    u32::try_from(len).map_err(|_| GatherError::TooLarge)
}

/// Every input and output starts at a multiple of this, as the kernel's structures want.
const ALIGN: u32 = 8;
