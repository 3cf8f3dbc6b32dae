//! Buffers that lie at the program's own addresses while a call runs.
//!
//! An interrupted `poll` or sleep goes on with its restart block, which the kernel keeps in the thread with the
//! pointers that the call was given. At the family's return the deputy's thread becomes the program's again, and with
//! it the block: its pointers must then be the program's.

use migration::foothold::Foothold;
use migration::pages::PAGE;
use migration::remote::Remote;
use migration::sys::{Errno, procvm};
use migration::tracee::{Stopped, TraceError};

use super::Deputy;
use super::state::Thread;
use crate::syscall::marshal::{Anchor, Placed};

impl Deputy {
    /// Puts the part in question at the program's address. If that cannot be, the slot's address stays good enough: the
    /// call then starts its timeout again when it is interrupted.
    pub(super) fn anchor(
        &mut self,
        thread: &Thread,
        task: Stopped,
        placed: &mut Placed,
    ) -> Result<(Stopped, Option<Anchor>), TraceError> {
        let Some(anchor) = placed.anchor else { return Ok((task, None)) };
        let Some(range) = pages_of(anchor, self.foothold) else { return Ok((task, None)) };
        let Some(home) = self.processes.get(&thread.pid) else { return Ok((task, None)) };
        let new: Vec<u64> = range.filter(|page| !home.anchored.contains(page)).collect();
        if new.iter().any(|page| home.burial.concerns(&(*page..*page + PAGE))) {
            return Ok((task, None));
        }
        if home.anchored.len() + new.len() > PAGES_MAX {
            return Ok((task, None));
        }
        let task = if new.is_empty() { task } else { self.map_pages(task, &new)? };
        if let Some(home) = self.processes.get_mut(&thread.pid) {
            home.anchored.extend(new);
        }
        let (start, end) = (anchor.offset as usize, (anchor.offset + anchor.len) as usize);
        // An output lies behind the image: there is nothing to put there.
        let content = placed.bytes.get(start..end).map_or_else(|| vec![0; end - start], <[u8]>::to_vec);
        if procvm::write(task.tid(), anchor.addr, &content).is_err() {
            return Ok((task, None));
        }
        placed.args[usize::from(anchor.arg)] = anchor.addr;
        Ok((task, Some(anchor)))
    }

    /// Maps memory where the deputy has none; what it has there is as good.
    fn map_pages(&self, task: Stopped, pages: &[u64]) -> Result<Stopped, TraceError> {
        let mask = task.mask()?;
        let mut remote = Remote::trapping(&self.waiter, task, self.foothold.code())?;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        for page in pages {
            match remote.call(libc::SYS_mmap, [*page, PAGE, protection, flags, u64::MAX, 0])? {
                Ok(_) | Err(Errno(libc::EEXIST)) => {}
                // Writing there will fail, too.
                Err(errno) => tracing::debug!(page, %errno, "no memory at the program's address"),
            }
        }
        let task = remote.release()?;
        task.set_mask(mask)?;
        Ok(task)
    }
}

/// The pages that hold the part, if they may be touched at all.
fn pages_of(anchor: Anchor, foothold: Foothold) -> Option<impl Iterator<Item = u64>> {
    let own = foothold.range();
    let end = anchor.addr.checked_add(u64::from(anchor.len))?;
    let pages = (anchor.addr & !(PAGE - 1))..end.checked_next_multiple_of(PAGE)?;
    let is_free =
        pages.start > 0 && pages.end <= USER_END && (pages.end <= own.start || own.end <= pages.start);
    is_free.then(|| pages.step_by(PAGE_STEP))
}

/// Of one process: its deputy stays small.
const PAGES_MAX: usize = 64;
const PAGE_STEP: usize = 4096;
/// The end of what a program can map.
const USER_END: u64 = 0x7fff_ffff_f000;
