//! Making one mapping of memory that must be one.
//!
//! A mapping that a program made while its memory was already being copied may lie across two former ones. The receiver
//! kept pages of both, and the kernel never joins memory whose pages were first written in different mappings. The
//! program would notice: `mremap` over both parts fails with EFAULT. So such a mapping is made anew and its pages are
//! copied, which is rare.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::image::{Backing, Layout, Vma};
use crate::pages;
use crate::procfs;
use crate::remote::{Remote, moving};
use crate::sys::pagemap::{self, PRESENT, Query, SWAPPED, ZERO};
use crate::vessel::{BuildError, advise, map};

/// Looks at every anonymous mapping of a process that stands still, and mends those that are in parts.
///
/// # Errors
/// When the process dies or has no memory.
pub(crate) fn whole(remote: &mut Remote<'_>, pid: u32, layout: &Layout) -> Result<(), BuildError> {
    let starts: Vec<u64> = procfs::maps(pid)?.into_iter().map(|map| map.start).collect();
    let is_broken = |vma: &&Vma| {
        vma.backing == Backing::Zero && starts.iter().any(|start| vma.start < *start && *start < vma.end)
    };
    layout.vmas.iter().filter(is_broken).try_for_each(|vma| make_anew(remote, pid, vma))
}

fn make_anew(remote: &mut Remote<'_>, pid: u32, vma: &Vma) -> Result<(), BuildError> {
    let at = WORKSHOP + vma.start % ALIGN;
    let protection = (libc::PROT_READ | libc::PROT_WRITE).unsigned_abs();
    map(
        remote,
        &Vma { start: at, end: at + vma.len(), protection, advice: Default::default(), ..vma.clone() },
    )?;
    let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
    let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
    let content = Query { inverted: ZERO, mask: ZERO, any_of: PRESENT | SWAPPED, ..Query::default() };
    let mut runs = Vec::new();
    let regions = pagemap::scan(&pagemap, vma.start, vma.end, content);
    for region in regions.map_err(BuildError::Descriptor)? {
        pages::push(&mut runs, region.start, region.end);
    }
    for batch in pages::batches(&runs, PAGES_AT_ONCE) {
        let data = pages::read(pid, &memory, &batch)?;
        let mut rest = &data[..];
        for run in batch {
            let (part, behind) = rest.split_at(run.bytes());
            memory.write_all_at(part, run.start - vma.start + at)?;
            rest = behind;
        }
    }
    remote.must("moving mended memory", libc::SYS_mremap, moving(at, vma.len(), vma.start))?;
    let args = [vma.start, vma.len(), u64::from(vma.protection), 0, 0, 0];
    remote.must("protecting", libc::SYS_mprotect, args)?;
    Ok(advise(remote, vma)?)
}

/// Below the foothold's candidates and what is staged, where programs map nothing.
const WORKSHOP: u64 = 0x1100_0000_0000;
const ALIGN: u64 = 1 << 30;
/// 1 MiB.
const PAGES_AT_ONCE: u32 = 256;
