//! Room in a deputy for the anonymous memory of its body while that still runs elsewhere.
//!
//! The body's own addresses cannot be used before it stands still: files may yet be mapped there, and their pages are
//! fetched from the deputy. So the memory is mapped far away and moved to its place by `mremap` at the end, which moves
//! page tables and no pages.
//!
//! The distance is the same for all neighbours. Memory that was once written keeps the page offset of where that
//! happened, and neighbours whose offsets do not fit stay two mappings for ever, over which the program's own `mremap`
//! fails with EFAULT (measured). For the same reason no mapping is put together of moved and of new parts.

use std::ops::Range;

use rangemap::RangeSet;

use crate::image::{Backing, Layout, Vma};
use crate::remote::{Remote, moving};
use crate::tracee::TraceError;
use crate::vessel::{advise, map};

/// What is staged in one deputy, by the addresses that it has in the end.
#[derive(Debug, Default)]
pub struct Staging {
    staged: RangeSet<u64>,
}

/// Memory that belongs to `[start, end)` and lies at `at` so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte, in the end.
    pub start: u64,
    /// One past the last byte, in the end.
    pub end: u64,
    /// First byte, now.
    pub at: u64,
}

impl Staging {
    /// What is staged where.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        let pieces = self.staged.iter();
        pieces.filter_map(|part| Some(Piece { start: part.start, end: part.end, at: place(part)? })).collect()
    }

    /// Maps room for the anonymous memory of the layout that has none yet.
    ///
    /// # Errors
    /// When the deputy dies, or the program itself uses the staging range.
    pub fn extend(&mut self, remote: &mut Remote<'_>, layout: &Layout) -> Result<(), TraceError> {
        layout
            .vmas
            .iter()
            .filter(|vma| vma.backing == Backing::Zero)
            .try_for_each(|vma| self.stage(remote, vma))
    }

    fn stage(&mut self, remote: &mut Remote<'_>, vma: &Vma) -> Result<(), TraceError> {
        let missing: Vec<_> = self.staged.gaps(&(vma.start..vma.end)).collect();
        for part in missing {
            let Some(start) = place(&part) else { continue };
            let end = start + (part.end - part.start);
            let protection = (libc::PROT_READ | libc::PROT_WRITE).unsigned_abs();
            map(remote, &Vma { start, end, protection, advice: Default::default(), ..vma.clone() })?;
            self.staged.insert(part);
        }
        Ok(())
    }

    /// Gives a mapping its memory: if some of it is staged, all of it is moved there.
    ///
    /// # Errors
    /// When the deputy dies.
    pub(crate) fn place(&mut self, remote: &mut Remote<'_>, vma: &Vma) -> Result<(), TraceError> {
        let range = vma.start..vma.end;
        let at = place(&range).filter(|_| vma.backing == Backing::Zero && self.staged.overlaps(&range));
        let Some(at) = at else { return map(remote, vma) };
        self.stage(remote, vma)?;
        // Room that was made at different times is one mapping, unless the kernel had a reason against it.
        let (size, to) = (vma.len(), vma.start);
        let moved = remote.call(libc::SYS_mremap, moving(at, size, to))?;
        if moved.is_err() {
            self.move_by_parts(remote, at, vma)?;
        }
        self.staged.remove(range);
        let args = [to, size, u64::from(vma.protection), 0, 0, 0];
        remote.must("protecting", libc::SYS_mprotect, args)?;
        advise(remote, vma)
    }

    /// Page by page in the worst case: nothing of it may be lost.
    fn move_by_parts(&self, remote: &mut Remote<'_>, at: u64, vma: &Vma) -> Result<(), TraceError> {
        let mut parts = vec![(0, vma.len())];
        while let Some((offset, size)) = parts.pop() {
            let args = moving(at + offset, size, vma.start + offset);
            if remote.call(libc::SYS_mremap, args)?.is_ok() {
                continue;
            }
            let half = size / 2 / PAGE * PAGE;
            if half == 0 {
                remote.must("moving staged memory", libc::SYS_mremap, args)?;
            }
            parts.push((offset, half));
            parts.push((offset + half, size - half));
        }
        Ok(())
    }

    /// Unmaps what is still staged.
    ///
    /// # Errors
    /// When the deputy dies.
    pub fn clear(&mut self, remote: &mut Remote<'_>) -> Result<(), TraceError> {
        for Piece { start, end, at } in self.pieces() {
            remote.must("clearing the stage", libc::SYS_munmap, [at, end - start, 0, 0, 0, 0])?;
        }
        self.staged.clear();
        Ok(())
    }

    /// Whether something is staged at this address.
    #[must_use]
    pub fn holds(&self, address: u64) -> bool {
        self.pieces().iter().any(|piece| (piece.at..piece.at + (piece.end - piece.start)).contains(&address))
    }
}

/// Where memory of these addresses is staged; `None` for addresses that no ordinary program uses.
fn place(range: &Range<u64>) -> Option<u64> {
    if range.end <= LOW_END {
        Some(range.start + UP)
    } else if range.start >= HIGH_START {
        Some(range.start - DOWN)
    } else {
        None
    }
}

/// Static programs, heaps of runtimes and reservations of sanitizers lie below.
const LOW_END: u64 = 0x1000_0000_0000;
/// Position-independent programs and everything that the kernel finds a place for lie above.
const HIGH_START: u64 = 0x5500_0000_0000;
/// Between both, beside the candidates for the foothold; a multiple of what a page middle directory spans.
const UP: u64 = 0x1400_0000_0000;
/// The lowest address at which anything is staged.
pub(crate) const FIRST: u64 = UP;
const DOWN: u64 = 0x3000_0000_0000;
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::free_range;

    #[test]
    fn neighbours_stay_neighbours_and_nothing_is_staged_where_it_belongs() {
        for start in [0x40_0000, 0xc0_0000_0000, 0x5555_5555_4000, 0x7fff_ffff_0000] {
            let (first, second) = (start..start + PAGE, start + PAGE..start + 2 * PAGE);
            let at = place(&first).expect("a place");
            assert_eq!(place(&second), Some(at + PAGE));
            assert!((LOW_END..HIGH_START).contains(&at), "{at:x}");
            assert_eq!((at ^ start) % (1 << 30), 0);
        }
        assert_eq!(place(&(0x2000_0000_0000..0x2000_0000_1000)), None);
    }

    #[test]
    fn low_and_high_memory_and_the_foothold_keep_apart() {
        let low = UP..LOW_END + UP;
        let high = HIGH_START - DOWN..(1 << 47) - DOWN;
        assert!(low.end <= high.start && high.end <= HIGH_START);
        let foothold = free_range(&Layout::default(), PAGE).expect("an empty address space");
        assert!((LOW_END..low.start).contains(&foothold));
    }

    #[test]
    fn what_is_staged_is_known_by_both_addresses() {
        let mut staging = Staging::default();
        staging.staged.insert(0x40_0000..0x40_3000);
        let at = 0x40_0000 + UP;
        assert_eq!(staging.pieces(), [Piece { start: 0x40_0000, end: 0x40_3000, at }]);
        assert!(staging.holds(at + 0x2fff) && !staging.holds(at + 0x3000));
    }
}
