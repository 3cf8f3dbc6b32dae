//! Which healing areas threads of a frozen process may still go through.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{HealingArea, RESUME_AT, STACK_AT};
use crate::freeze::Frozen;
use crate::procfs::MapLine;
use crate::sys::ptrace::Registers;

/// Where a thread stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    rip: u64,
    rsp: u64,
}

/// Those areas that no thread of a frozen process may still need. A thread that two wardens were killed over, one
/// behind the other, before it ran at all, goes through the second one's area into that of the first.
pub(super) fn unused(
    armed: Vec<HealingArea>,
    frozen: &Frozen,
    memory: &File,
    maps: &[MapLine],
) -> io::Result<Vec<HealingArea>> {
    let mut places = Vec::new();
    for thread in &frozen.threads {
        let Ok(Registers { rip, rsp, .. }) = thread.task.registers() else { return Ok(Vec::new()) };
        places.push(Place { rip, rsp });
    }
    let mut left = armed;
    while let Some(place) = places.pop() {
        let (used, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|area| area.is_used_at(place, memory, maps));
        for area in used {
            places.push(area.leads_to()?);
        }
        left = others;
    }
    Ok(left)
}

impl HealingArea {
    /// Whether a thread that stands there is in the area, or came from it into a signal handler and will return to it.
    fn is_used_at(&self, place: Place, memory: &File, maps: &[MapLine]) -> bool {
        // What cannot be read cannot be ruled out.
        self.code().contains(&place.rip) || self.is_awaited_on_stack(place.rsp, memory, maps).unwrap_or(true)
    }

    /// Where it sends a thread on to.
    fn leads_to(&self) -> io::Result<Place> {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            self.memory.read_exact_at(&mut bytes, self.addr + at as u64).map(|()| u64::from_le_bytes(bytes))
        };
        Ok(Place { rip: word(RESUME_AT)?, rsp: word(STACK_AT)? })
    }

    /// Looks on a thread's stack for a signal frame that returns to the area.
    fn is_awaited_on_stack(&self, rsp: u64, memory: &File, maps: &[MapLine]) -> io::Result<bool> {
        let Some(stack) = maps.iter().find(|map| (map.start..map.end).contains(&rsp)) else {
            return Ok(false);
        };
        let mut at = rsp & !7;
        let end = stack.end.min(at + STACK_BYTES_MAX);
        let mut part = vec![0; STACK_PART_BYTES];
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let length = left.min(STACK_PART_BYTES);
            memory.read_exact_at(&mut part[..length], at)?;
            let word = |index: usize| part[..length].get(index * 8..).and_then(|rest| rest.first_chunk());
            let returns_here = |index: usize| {
                let rip = word(index).map(|bytes| u64::from_le_bytes(*bytes));
                let segments = word(index + 2).map(|bytes| u64::from_le_bytes(*bytes));
                rip.is_some_and(|rip| self.code().contains(&rip))
                    && segments.is_none_or(|words| words & 0xffff == USER_CODE_SEGMENT)
            };
            if (0..length / 8).any(returns_here) {
                return Ok(true);
            }
            at += length as u64;
        }
        Ok(false)
    }
}

/// How deep a stack is looked through: the usual limit of a stack.
const STACK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Of a stack that is looked through at a time.
const STACK_PART_BYTES: usize = 64 * 1024;

/// `cs` of 64-bit user code: in a signal frame it stands two words behind `rip`.
const USER_CODE_SEGMENT: u64 = 0x33;
