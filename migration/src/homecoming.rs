//! The return: a deputy becomes the plain program again, in the mappings that it never gave up.

use std::fs::{File, OpenOptions};
use std::io;

use crate::body::{Work, settle};
use crate::deputize::ShadowThread;
use crate::foothold::Foothold;
use crate::image::{Backing, Layout, ProcessImage};
use crate::mend;
use crate::pages::Run;
use crate::procfs::{self, MapLine};
use crate::relayout::{Held, plan};
use crate::remote::Remote;
use crate::staging::Staging;
use crate::sys::ptrace::OPTIONS;
use crate::tracee::{Stopped, TraceError, Waiter};
use crate::vdso::Vdso;
use crate::vessel::{BuildError, drop_pages};

/// Makes the deputy's mappings those of the body; its pages can be written afterwards. What was staged goes to its
/// place.
///
/// # Errors
/// When the deputy dies, or the body claims file memory that home does not have.
pub fn lay_out(
    pid: u32,
    leader: Stopped,
    (layout, gone): (&Layout, &[Run]),
    foothold: Foothold,
    staging: &mut Staging,
    waiter: &Waiter,
) -> Result<Stopped, BuildError> {
    let mut remote = Remote::trapping(waiter, leader, foothold.code())?;
    let held = files_only(pid, &mut remote, foothold, staging)?;
    for step in plan(&held, &layout.vmas) {
        let Some(vma) = step.change(&mut remote)? else { continue };
        if vma.backing == Backing::Home {
            let range = format!("{:x}-{:x}", vma.start, vma.end);
            return Err(io::Error::other(format!("home has no file mapped at {range}")).into());
        }
        staging.place(&mut remote, &vma)?;
    }
    staging.clear(&mut remote)?;
    drop_pages(&mut remote, gone)?;
    mend::whole(&mut remote, pid, layout)?;
    Ok(remote.release()?)
}

/// Leaves nothing mapped but files, which are as their files again, and what is staged; returns the files' mappings.
fn files_only(
    pid: u32,
    remote: &mut Remote<'_>,
    foothold: Foothold,
    staging: &Staging,
) -> Result<Vec<Held>, BuildError> {
    let mut held = Vec::new();
    for map in procfs::maps(pid)? {
        let MapLine { start, end, protection, inode, .. } = map;
        if map.is_special() || foothold.range().contains(&start) || staging.holds(start) {
            continue;
        }
        if inode == 0 {
            remote.must("unmapping", libc::SYS_munmap, [start, end - start, 0, 0, 0, 0])?;
            continue;
        }
        // Copies made while calls wrote to program memory at home; a locked mapping keeps them.
        let args = [start, end - start, libc::MADV_DONTNEED as u64, 0, 0, 0];
        let _ = remote.call(libc::SYS_madvise, args)?;
        held.push(Held { start, end, protection, from_home: true });
    }
    Ok(held)
}

/// Gives every thread its state and lets all of them go. `shadows` and the image name the same threads.
///
/// # Errors
/// When a thread dies meanwhile.
pub fn let_go(
    image: &ProcessImage,
    shadows: Vec<ShadowThread>,
    foothold: Foothold,
    waiter: &Waiter,
) -> Result<(), BuildError> {
    let pid = image.pid;
    let open =
        || -> io::Result<File> { OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")) };
    let mut settled = Vec::new();
    for ShadowThread { tid, task } in shadows {
        let remote = Remote::trapping(waiter, task, foothold.code())?;
        let mut work = Work { remote, memory: open()?, foothold };
        if tid == pid {
            work.identity(&image.mm, &image.command)?;
            work.actions(&image.actions)?;
            work.membarrier(image.membarrier)?;
        }
        let thread = image.threads.iter().find(|thread| thread.tid == tid).ok_or(TraceError::Died(tid))?;
        work.thread(pid, thread)?;
        let task = settle(work.remote, thread)?;
        settled.push(task);
    }
    leave_no_trace(pid, &mut settled, foothold, waiter)?;
    for task in settled {
        match task.set_options(OPTIONS).and_then(|()| task.detach(0)) {
            // A thread that was let go before this one has ended the program meanwhile.
            Ok(()) | Err(TraceError::Died(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Unmaps the foothold by means of the `syscall` instruction in the vdso: the code page cannot unmap itself.
fn leave_no_trace(
    pid: u32,
    settled: &mut [Stopped],
    foothold: Foothold,
    waiter: &Waiter,
) -> Result<(), BuildError> {
    let Some(leader) = settled.first_mut() else { return Ok(()) };
    let missing = || io::Error::other("no syscall instruction in the vdso");
    let at = Vdso::of(pid)?.syscall().ok_or_else(missing)?;
    let range = foothold.range();
    with(leader, |task| {
        // The registers may ask for a restart: leaving puts back exactly these.
        let mut remote = Remote::stepping(waiter, task, at)?;
        let args = [range.start, range.end - range.start, 0, 0, 0, 0];
        remote.must("unmapping the foothold", libc::SYS_munmap, args)?;
        Ok(remote.leave()?)
    })
}

/// Lends a stopped thread to `work`, which gives it back.
fn with(
    task: &mut Stopped,
    work: impl FnOnce(Stopped) -> Result<Stopped, BuildError>,
) -> Result<(), BuildError> {
    let tid = task.tid();
    let lent = std::mem::replace(task, crate::tracee::Running::attached(tid).stopped());
    *task = work(lent)?;
    Ok(())
}
