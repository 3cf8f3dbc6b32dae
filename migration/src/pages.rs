//! Which pages of a process must travel, reading them, and putting them in place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::image::{self, Backing, Layout, NoMemory};
use crate::sys::pagemap::{self, Query};
use crate::sys::{Errno, procvm, uffd};

/// Size of a page, as an address difference.
pub const PAGE: u64 = 4096;

/// Size of a page, as a length of memory.
pub const PAGE_BYTES: usize = 4096;

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Told")]
pub struct Run {
    /// First byte.
    pub start: u64,
    /// How many.
    pub pages: u32,
}

/// A run as a peer tells it.
#[derive(Deserialize)]
struct Told {
    start: u64,
    pages: u32,
}

impl TryFrom<Told> for Run {
    type Error = NoMemory;

    fn try_from(Told { start, pages }: Told) -> Result<Run, NoMemory> {
        let end = start.checked_add(u64::from(pages) * PAGE).ok_or(NoMemory)?;
        image::check_range(start, end).map(|()| Run { start, pages })
    }
}

impl Run {
    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }

    /// One past the last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.pages) * PAGE
    }
}

/// What tells a changed page of a home mapping from a page that home has anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// At home: it is a private copy.
    Copied,
    /// At a guest: it was written since it was fetched.
    Written,
}

/// The pages that a rebuilt process needs from this one: all private content, nothing that home can give again.
///
/// # Errors
/// When the pagemap cannot be read.
pub fn content(pagemap: &File, layout: &Layout, changed: Changed) -> Result<Vec<Run>, Errno> {
    let in_memory = pagemap::PRESENT | pagemap::SWAPPED;
    let private =
        Query { inverted: pagemap::ZERO, mask: pagemap::ZERO, any_of: in_memory, ..Query::default() };
    let of_file = match changed {
        Changed::Copied => {
            Query { inverted: pagemap::FILE, mask: pagemap::FILE, any_of: in_memory, ..Query::default() }
        }
        Changed::Written => Query { mask: pagemap::WRITTEN, any_of: in_memory, ..Query::default() },
    };
    let mut runs = Vec::new();
    for vma in &layout.vmas {
        let query = if vma.backing == Backing::Home { of_file } else { private };
        // No run crosses from one mapping to the next: they are written in different ways.
        let mut inside = Vec::new();
        for region in pagemap::scan(pagemap, vma.start, vma.end, query)? {
            push(&mut inside, region.start, region.end);
        }
        runs.append(&mut inside);
    }
    Ok(runs)
}

/// The runs without one page: the one that holds homing's own code.
#[must_use]
pub fn without(runs: Vec<Run>, page: u64) -> Vec<Run> {
    let mut rest = Vec::with_capacity(runs.len() + 1);
    for run in runs {
        let parts = [
            (run.start, run.end().min(page.max(run.start))),
            (run.start.max((page + PAGE).min(run.end())), run.end()),
        ];
        for (start, end) in parts.into_iter().filter(|(start, end)| start < end) {
            // Runs of different mappings stay apart, so they are not joined here.
            let pages = u32::try_from((end - start) / PAGE).unwrap_or(u32::MAX);
            rest.push(Run { start, pages });
        }
    }
    rest
}

/// Splits runs into groups of at most `pages_max` pages, each a batch on the wire. They are made one by one: a run may
/// have millions.
pub fn batches(runs: &[Run], pages_max: u32) -> impl Iterator<Item = Vec<Run>> {
    let mut rest = runs.iter().copied().filter(|run| run.pages > 0);
    let mut next = rest.next();
    std::iter::from_fn(move || {
        let mut group = Vec::new();
        let mut room = pages_max;
        while let Some(run) = next.filter(|_| room > 0) {
            let pages = run.pages.min(room);
            group.push(Run { start: run.start, pages });
            room -= pages;
            let left = run.pages - pages;
            let behind = Run { start: run.start + u64::from(pages) * PAGE, pages: left };
            next = if left > 0 { Some(behind) } else { rest.next() };
        }
        (!group.is_empty()).then_some(group)
    })
}

/// Reads the pages of a batch, one behind the other.
///
/// # Errors
/// When the process is gone, or a page is not there any more.
pub fn read(pid: u32, memory: &File, runs: &[Run]) -> io::Result<Vec<u8>> {
    let mut data = vec![0; runs.iter().map(Run::bytes).sum()];
    let mut at = 0;
    for run in runs {
        let part = &mut data[at..at + run.bytes()];
        at += run.bytes();
        // The fast way obeys the protection; memory that the program itself may not read goes the other way.
        if procvm::read(pid, run.start, part).is_err() {
            memory.read_exact_at(part, run.start)?;
        }
    }
    Ok(data)
}

/// Puts the pages of a batch in place, in a process that does not run.
///
/// # Errors
/// When the process is gone or has no such memory; `InvalidData` when the batch is shorter than its runs say.
pub fn write(memory: &File, missing: Option<&OwnedFd>, runs: &[Run], data: &[u8]) -> io::Result<()> {
    let mut rest = data;
    for run in runs {
        let (part, behind) = rest.split_at_checked(run.bytes()).ok_or(io::ErrorKind::InvalidData)?;
        rest = behind;
        if memory.write_all_at(part, run.start).is_err() {
            // A page that is still missing behind the userfaultfd cannot be written, only supplied.
            let Some(uffd) = missing else { return Err(io::Error::from_raw_os_error(libc::EFAULT)) };
            supply(memory, uffd, run.start, part)?;
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn supply(memory: &File, uffd: &OwnedFd, start: u64, data: &[u8]) -> io::Result<()> {
    let mut at = start;
    for page in data.chunks(PAGE_BYTES) {
        match uffd::copy(uffd.as_fd(), at, page, false) {
            Ok(()) => {}
            Err(Errno(libc::EEXIST)) => memory.write_all_at(page, at)?,
            Err(errno) => return Err(errno.into()),
        }
        at += PAGE;
    }
    Ok(())
}

/// Appends a range, joined with the last run if it follows that.
pub(crate) fn push(runs: &mut Vec<Run>, start: u64, end: u64) {
    let mut start = start;
    while start < end {
        let pages = u32::try_from((end - start) / PAGE).unwrap_or(u32::MAX);
        match runs.last_mut() {
            Some(last) if last.end() == start && last.pages.checked_add(pages).is_some() => {
                last.pages += pages;
            }
            _ => runs.push(Run { start, pages }),
        }
        start += u64::from(pages) * PAGE;
    }
}

#[cfg(test)]
mod tests {
    use transport::wire;

    use super::*;

    #[test]
    fn a_peer_cannot_tell_of_pages_that_cannot_be() {
        let told = |start, pages| {
            let mut bytes = Vec::new();
            wire::encode(&Run { start, pages }, &mut bytes).expect("a message");
            wire::decode::<Run>(&bytes).is_ok()
        };
        assert!(told(0x1000, 1) && told((1 << 56) - PAGE, 1));
        assert!(
            !told(0x1000, 0) && !told(0x1001, 1) && !told(1 << 56, 1) && !told(u64::MAX - 0xfff, u32::MAX)
        );
    }

    #[test]
    fn one_page_is_left_out_wherever_it_lies() {
        let runs = vec![Run { start: 0x1000, pages: 4 }];
        let rest =
            |page| without(runs.clone(), page).iter().map(|run| (run.start, run.pages)).collect::<Vec<_>>();
        assert_eq!(rest(0x1000), [(0x2000, 3)]);
        assert_eq!(rest(0x2000), [(0x1000, 1), (0x3000, 2)]);
        assert_eq!(rest(0x4000), [(0x1000, 3)]);
        assert_eq!(rest(0x5000), [(0x1000, 4)]);
        assert_eq!(rest(0x0), [(0x1000, 4)]);
    }

    #[test]
    fn batches_hold_every_page_once_and_no_more_than_allowed() {
        let runs =
            [Run { start: 0, pages: 5 }, Run { start: 0x10000, pages: 1 }, Run { start: 0x20000, pages: 9 }];
        let groups: Vec<_> = batches(&runs, 4).collect();
        assert!(groups.iter().all(|group| group.iter().map(|run| run.pages).sum::<u32>() <= 4));
        let mut rejoined = Vec::new();
        for run in groups.iter().flatten() {
            push(&mut rejoined, run.start, run.end());
        }
        assert_eq!(rejoined, runs);
    }
}
