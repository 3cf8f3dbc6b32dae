//! `PAGEMAP_SCAN` on `/proc/PID/pagemap`: which pages of a process hold what (Linux 6.7, admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::mem;
use std::os::fd::AsRawFd;

use super::{Errno, check};

/// The page is write-tracked by a userfaultfd in asynchronous mode.
pub const WP_ALLOWED: u64 = 1 << 0;
/// The page was written since it was last write-protected; always set for an unpopulated one.
pub const WRITTEN: u64 = 1 << 1;
/// The page belongs to a file (page cache), so it is not a private copy.
pub const FILE: u64 = 1 << 2;
/// The page is in memory.
pub const PRESENT: u64 = 1 << 3;
/// The page is in swap.
pub const SWAPPED: u64 = 1 << 4;
/// The page is the kernel's shared zero page.
pub const ZERO: u64 = 1 << 5;

/// A run of pages with equal categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Of the categories asked for.
    pub categories: u64,
}

/// What to look for. A page matches when `(categories ^ inverted) & mask == mask` and, if `any_of` is not zero, one
/// of those is set too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Categories whose sense is turned round before the test.
    pub inverted: u64,
    /// All of these must be set.
    pub mask: u64,
    /// At least one of these must be set, unless zero.
    pub any_of: u64,
    /// Which ones are returned; runs are split where these differ.
    pub returned: u64,
    /// Write-protect the matching pages in the same pass. Fails with EPERM where the range is not tracked, so that
    /// a page which is dirty and untracked cannot be overlooked.
    pub protect: bool,
}

#[repr(C)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// All matching regions of `[start, end)` in the process whose pagemap this is.
///
/// # Errors
/// The kernel's; EPERM as said at [`Query::protect`].
pub fn scan(pagemap: &File, start: u64, end: u64, query: Query) -> Result<Vec<Region>, Errno> {
    let mut found = Vec::new();
    let mut at = start;
    let mut regions = [Region::default(); REGIONS_PER_CALL];
    while at < end {
        let mut arg = ScanArg {
            size: mem::size_of::<ScanArg>() as u64,
            flags: if query.protect { WP_MATCHING | CHECK_WP_ASYNC } else { 0 },
            start: at,
            end,
            walk_end: 0,
            vec: regions.as_mut_ptr() as u64,
            vec_len: regions.len() as u64,
            max_pages: 0,
            category_inverted: query.inverted,
            category_mask: query.mask,
            category_anyof_mask: query.any_of,
            return_mask: query.returned,
        };
        // SAFETY: `arg` and the region array are live locals of the stated sizes.
        let count =
            check(i64::from(unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) }))?;
        let count = usize::try_from(count).unwrap_or(0).min(regions.len());
        found.extend_from_slice(&regions[..count]);
        if arg.walk_end <= at {
            break;
        }
        at = arg.walk_end;
    }
    Ok(found)
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
const WP_MATCHING: u64 = 1;
const CHECK_WP_ASYNC: u64 = 2;
const REGIONS_PER_CALL: usize = 1024;
