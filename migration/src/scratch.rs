//! One page of scratch memory in a program at home, for the results of injected calls.
//!
//! It lies at an address of its own and is marked, so that a page which a killed warden left behind is found, used
//! again and given back by the next one, and is never taken for the program's own.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::pages::PAGE_BYTES;
use crate::procfs::MapLine;
use crate::remote::Remote;
use crate::sys::Errno;
use crate::tracee::TraceError;

/// Maps the page, or finds the one that is there.
///
/// # Errors
/// When the thread dies or the kernel has no memory.
pub(crate) fn map(remote: &mut Remote<'_>, memory: &File) -> Result<u64, TraceError> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let fixed = (anonymous | libc::MAP_FIXED_NOREPLACE) as u64;
    match remote.call(libc::SYS_mmap, [ADDRESS, PAGE, protection, fixed, u64::MAX, 0])? {
        Ok(addr) => mark(memory, addr, remote),
        // Marked again: its warden may have been killed before it could, and what is about to be written hides that.
        Err(Errno(libc::EEXIST)) if is_ours(memory) => mark(memory, ADDRESS, remote),
        Err(_) => {
            let args = [0, PAGE, protection, anonymous as u64, u64::MAX, 0];
            remote.must("mapping scratch memory", libc::SYS_mmap, args)
        }
    }
}

fn mark(memory: &File, addr: u64, remote: &Remote<'_>) -> Result<u64, TraceError> {
    memory.write_all_at(&MARK, addr + MARK_AT).map_err(|_| TraceError::Died(remote.tid()))?;
    Ok(addr)
}

/// Gives the page back.
///
/// # Errors
/// When the thread dies.
pub(crate) fn unmap(remote: &mut Remote<'_>, addr: u64) -> Result<(), TraceError> {
    remote.must("unmapping scratch memory", libc::SYS_munmap, [addr, PAGE, 0, 0, 0, 0]).map(drop)
}

/// Whether this mapping is a page that a killed warden left behind.
pub(crate) fn is_left_behind(map: &MapLine, memory: &File) -> bool {
    map.start == ADDRESS && map.end == ADDRESS + PAGE && map.inode == 0 && is_ours(memory)
}

/// Marked, or never written: its warden was killed before it could mark it.
fn is_ours(memory: &File) -> bool {
    let mut found = [0; PAGE_BYTES];
    memory.read_exact_at(&mut found, ADDRESS).is_ok() && (found.ends_with(&MARK) || found == [0; PAGE_BYTES])
}

/// Below the candidates of [`crate::layout::free_range`], where programs map nothing.
const ADDRESS: u64 = 0x1233_0000_0000;
const PAGE: u64 = PAGE_BYTES as u64;
/// Behind everything that injected calls write.
const MARK_AT: u64 = PAGE - MARK.len() as u64;
const MARK: [u8; 16] = *b"homing's scratch";
