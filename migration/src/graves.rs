//! Memory of a deputy that its body has taken along: moved out of the way at once, given back bit by bit.
//!
//! The kernel takes 0.09 ms to free a mebibyte, and as long as the deputy does that it executes no call: the first call of
//! a body with 256 MiB waited 23 ms for it (measured). To move the memory elsewhere takes 0.1 ms, since only page tables
//! move. What lies there is nobody's: no child inherits it, and a return home unmaps it like everything that is not the
//! program's.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::foothold::Foothold;
use crate::image::Layout;
use crate::layout::free_range_beside;
use crate::remote::{Remote, moving};
use crate::staging;
use crate::sys::Errno;
use crate::tracee::TraceError;

/// What is still to be given back, in one deputy.
#[derive(Debug)]
pub struct Graves {
    rest: Vec<Range<u64>>,
    /// Where the next one goes, and the end of the room.
    room: Range<u64>,
    /// How much the kernel frees in a moment: little where pages are, much in a mere reservation.
    part: u64,
}

impl Default for Graves {
    fn default() -> Graves {
        Graves { rest: Vec::new(), room: 0..0, part: PART_MIN }
    }
}

impl Graves {
    /// With room for all private memory of the layout; without any if the address space is full.
    pub(crate) fn beside(layout: &Layout, foothold: Foothold) -> Graves {
        let bytes = layout.vmas.iter().map(|vma| vma.end - vma.start).sum();
        let start = free_range_beside(layout, &foothold.range(), bytes);
        let room =
            start.map(|start| start..start.saturating_add(bytes)).filter(|room| room.end <= staging::FIRST);
        Graves { room: room.unwrap_or(0..0), ..Graves::default() }
    }

    /// Takes a range out of the deputy's way: small ones, and those that cannot be moved, are unmapped at once.
    pub(crate) fn take(&mut self, remote: &mut Remote<'_>, from: Range<u64>) -> Result<(), TraceError> {
        let size = from.end - from.start;
        if size < MOVED_BYTES_MIN || self.room.end - self.room.start < size {
            return unmap(remote, &from);
        }
        let grave = self.room.start..self.room.start + size;
        let moved = remote.call(libc::SYS_mremap, moving(from.start, size, grave.start))?;
        if moved.is_err() {
            return unmap(remote, &from);
        }
        let args = [grave.start, size, libc::MADV_DONTFORK as u64, 0, 0, 0];
        if remote.call(libc::SYS_madvise, args)?.is_err() {
            return unmap(remote, &grave);
        }
        self.room.start = grave.end;
        self.rest.push(grave);
        Ok(())
    }

    /// Whether everything was given back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whether something of this range is still in use.
    #[must_use]
    pub fn overlap(&self, range: &Range<u64>) -> bool {
        self.rest.iter().any(|grave| grave.start < range.end && range.start < grave.end)
    }

    /// Gives memory back for so long, or until there is none; a little in any case.
    ///
    /// # Errors
    /// When the deputy dies.
    pub fn bury(&mut self, remote: &mut Remote<'_>, budget: Duration) -> Result<(), TraceError> {
        let began = Instant::now();
        loop {
            let Some(grave) = self.rest.last_mut() else { return Ok(()) };
            let (part, started) = (cut(grave, self.part), Instant::now());
            if grave.is_empty() {
                self.rest.pop();
            }
            unmap(remote, &part)?;
            let is_quick = started.elapsed() < PART_TIME;
            self.part = if is_quick { self.part * 2 } else { self.part / 2 }.clamp(PART_MIN, PART_MAX);
            if began.elapsed() >= budget {
                return Ok(());
            }
        }
    }
}

/// Takes at most so many bytes off the end.
fn cut(grave: &mut Range<u64>, bytes: u64) -> Range<u64> {
    let start = grave.start.max(grave.end.saturating_sub(bytes));
    let part = start..grave.end;
    grave.end = start;
    part
}

/// A refusal leaves memory in use that is nobody's, which the return home or the end gives back.
fn unmap(remote: &mut Remote<'_>, range: &Range<u64>) -> Result<(), TraceError> {
    let unmapped = remote.call(libc::SYS_munmap, [range.start, range.end - range.start, 0, 0, 0, 0])?;
    if let Err(Errno(errno)) = unmapped {
        tracing::warn!(errno, ?range, "a deputy's memory was not given back");
    }
    Ok(())
}

/// Less than this is given back in half a millisecond.
const MOVED_BYTES_MIN: u64 = 6 << 20;

/// Given back at a time: 0.1 ms where pages are.
const PART_MIN: u64 = 1 << 20;

/// And in a reservation: 6 ms, if there are pages in it after all.
const PART_MAX: u64 = 64 << 20;

/// A part that took less may be twice as large the next time.
const PART_TIME: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Backing, Vma};

    fn layout(vmas: &[Range<u64>]) -> Layout {
        let vma = |range: &Range<u64>| Vma {
            start: range.start,
            end: range.end,
            protection: 3,
            backing: Backing::Zero,
            advice: Default::default(),
        };
        Layout { vmas: vmas.iter().map(vma).collect(), ..Layout::default() }
    }

    #[test]
    fn there_is_room_for_everything_beside_the_foothold() {
        let layout = layout(&[0x40_0000..0x4040_0000, 0x7f00_0000_0000..0x7f20_0000_0000]);
        let foothold = Foothold::find(&layout).expect("room");
        let graves = Graves::beside(&layout, foothold);
        assert_eq!(graves.room.end - graves.room.start, 0x4000_0000 + 0x20_0000_0000);
        assert!(graves.room.start >= foothold.range().end || graves.room.end <= foothold.range().start);
    }

    #[test]
    fn what_would_reach_into_the_stage_has_no_room() {
        let layout = layout(&[0x40_0000..0x50_0000, 0x10_0000_0000..0x300_0000_0000]);
        let foothold = Foothold::find(&layout).expect("room");
        assert!(Graves::beside(&layout, foothold).room.is_empty());
    }

    #[test]
    fn a_grave_is_cut_from_its_end() {
        let mut grave = 0x1000..0x5000;
        assert_eq!(cut(&mut grave, 0x3000), 0x2000..0x5000);
        assert_eq!(cut(&mut grave, 0x3000), 0x1000..0x2000);
        assert!(grave.is_empty());
    }

    #[test]
    fn what_is_buried_is_in_nobodys_way() {
        let graves = Graves { rest: vec![0x1000..0x2000, 0x8000..0x9000], ..Graves::default() };
        assert!(graves.overlap(&(0x1fff..0x3000)) && graves.overlap(&(0..0xffff)));
        assert!(!graves.overlap(&(0x2000..0x8000)));
    }
}
