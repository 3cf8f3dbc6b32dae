//! The return: a deputy becomes the plain program again, in the mappings that it never gave up.

use std::fs::{File, OpenOptions};
use std::io;

use crate::body::{Work, settle};
use crate::deputize::ShadowThread;
use crate::foothold::Foothold;
use crate::image::{Backing, Layout, ProcessImage, Vma};
use crate::procfs::{self, MapLine};
use crate::remote::Remote;
use crate::sys::ptrace::{NO_CALL, OPTIONS, Registers};
use crate::tracee::{Stopped, TraceError, Waiter};
use crate::vessel::{BuildError, map};

/// Makes the deputy's mappings those of the body; its pages can be written afterwards.
///
/// # Errors
/// When the deputy dies, or the body claims file memory that home does not have.
pub fn lay_out(
    pid: u32,
    leader: &mut Stopped,
    layout: &Layout,
    foothold: Foothold,
    waiter: &Waiter,
) -> Result<(), BuildError> {
    with(leader, |task| {
        let mut remote = Remote::trapping(waiter, task, foothold.code())?;
        let maps: Vec<_> = procfs::maps(pid)?
            .into_iter()
            .filter(|map| !map.is_special() && !foothold.range().contains(&map.start))
            .collect();
        for step in plan(&maps, &layout.vmas) {
            match step {
                Step::Unmap(start, end) => {
                    remote.must("unmapping", libc::SYS_munmap, [start, end - start, 0, 0, 0, 0])?;
                }
                Step::Protect(start, end, protection) => {
                    let args = [start, end - start, u64::from(protection), 0, 0, 0];
                    remote.must("protecting", libc::SYS_mprotect, args)?;
                }
                Step::Drop(start, end) => {
                    // Copies made while calls wrote to program memory at home; a locked mapping keeps them.
                    let _ = remote
                        .call(libc::SYS_madvise, [start, end - start, libc::MADV_DONTNEED as u64, 0, 0, 0])?;
                }
                Step::Map(vma) => map(&mut remote, &vma)?,
            }
        }
        Ok(remote.release()?)
    })
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
    let at = vdso_syscall(pid)?;
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

fn vdso_syscall(pid: u32) -> io::Result<u64> {
    let missing = || io::Error::other("no syscall instruction in the vdso");
    let map = procfs::maps(pid)?.into_iter().find(|map| map.name == "[vdso]").ok_or_else(missing)?;
    let mut code = vec![0; usize::try_from(map.end - map.start).unwrap_or(0)];
    use std::os::unix::fs::FileExt;
    OpenOptions::new().read(true).open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut code, map.start)?;
    let at = code.windows(2).position(|pair| pair == [0x0f, 0x05]).ok_or_else(missing)?;
    Ok(map.start + at as u64)
}

/// One change on the way from the deputy's mappings to the body's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Unmap(u64, u64),
    Protect(u64, u64, u32),
    Drop(u64, u64),
    Map(Vma),
}

/// A file mapping of the deputy survives where the body still has it; everything else goes, and the body's own
/// memory is mapped.
fn plan(deputy: &[MapLine], body: &[Vma]) -> Vec<Step> {
    let mut steps = Vec::new();
    for map in deputy {
        let mut at = map.start;
        if map.inode != 0 {
            for vma in body.iter().filter(|vma| vma.backing == Backing::Home) {
                let (start, end) = (vma.start.max(at), vma.end.min(map.end));
                if start >= end {
                    continue;
                }
                if at < start {
                    steps.push(Step::Unmap(at, start));
                }
                if vma.protection != map.protection {
                    steps.push(Step::Protect(start, end, vma.protection));
                }
                steps.push(Step::Drop(start, end));
                at = end;
            }
        }
        if at < map.end {
            steps.push(Step::Unmap(at, map.end));
        }
    }
    steps.extend(body.iter().filter(|vma| vma.backing != Backing::Home).cloned().map(Step::Map));
    steps
}

/// The registers of a thread whose call, still under way at home, must be issued again by itself.
#[must_use]
pub fn issued_again(registers: &Registers, nr: u64) -> Registers {
    Registers { rax: (-513i64).cast_unsigned(), orig_rax: nr, ..*registers }
}

/// The registers of a thread whose call has ended with `result`.
#[must_use]
pub fn returned(registers: &Registers, result: i64) -> Registers {
    Registers { rax: result.cast_unsigned(), orig_rax: NO_CALL, ..*registers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(start: u64, end: u64) -> MapLine {
        MapLine {
            start,
            end,
            protection: 1,
            shared: false,
            offset: 0,
            device: String::new(),
            inode: 7,
            name: "/lib".to_owned(),
        }
    }

    fn vma(start: u64, end: u64, protection: u32, backing: Backing) -> Vma {
        Vma { start, end, protection, backing, advice: Default::default() }
    }

    #[test]
    fn file_mappings_survive_where_the_body_still_has_them() {
        let steps = plan(&[file(0x1000, 0x5000)], &[vma(0x2000, 0x4000, 1, Backing::Home)]);
        assert_eq!(
            steps,
            [Step::Unmap(0x1000, 0x2000), Step::Drop(0x2000, 0x4000), Step::Unmap(0x4000, 0x5000)]
        );
    }

    #[test]
    fn changed_protection_follows_and_private_memory_is_mapped() {
        let heap = vma(0x9000, 0xa000, 3, Backing::Zero);
        let steps = plan(
            &[file(0x1000, 0x2000), MapLine { inode: 0, ..file(0x7000, 0x8000) }],
            &[vma(0x1000, 0x2000, 5, Backing::Home), heap.clone()],
        );
        assert_eq!(
            steps,
            [
                Step::Protect(0x1000, 0x2000, 5),
                Step::Drop(0x1000, 0x2000),
                Step::Unmap(0x7000, 0x8000),
                Step::Map(heap)
            ]
        );
    }
}
