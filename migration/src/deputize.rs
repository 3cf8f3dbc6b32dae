//! Turning a frozen original into a deputy, once its body runs elsewhere.
//!
//! The deputy keeps its pid, files and file mappings; its private memory is given back. After this it has no code of
//! its own any more: it dies with its warden.

use std::fs::{File, OpenOptions};
use std::io;

use crate::body::Work;
use crate::foothold::{Foothold, SLOT_BYTES};
use crate::freeze::Frozen;
use crate::graves::Graves;
use crate::image::{Backing, Layout, ProcessImage, SignalAction};
use crate::landing::HealingArea;
use crate::remote::Remote;
use crate::sys::ptrace::{EXIT_KILL, OPTIONS};
use crate::sys::signal;
use crate::tracee::{Stopped, TraceError, Waiter};
use crate::vessel::{BuildError, occupy};

/// A shadow thread before its first call: stopped, with nothing left to run.
#[derive(Debug)]
pub struct ShadowThread {
    /// Its thread id.
    pub tid: u32,
    /// The thread.
    pub task: Stopped,
}

/// Takes the frozen process as a deputy. Slot n is mapped for the n-th thread. Its memory is out of the way, and is to be
/// given back.
///
/// # Errors
/// When a thread dies meanwhile; the body is then without a home and must end.
pub fn deputize(
    frozen: Frozen,
    image: &ProcessImage,
    area: &HealingArea,
    foothold: Foothold,
    waiter: &Waiter,
) -> Result<(Vec<ShadowThread>, Graves), BuildError> {
    let pid = frozen.pid;
    let open =
        || -> io::Result<File> { OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")) };
    let mut shadows = Vec::new();
    let mut uncaught = Vec::new();
    for (index, thread) in frozen.threads.into_iter().enumerate() {
        let task = thread.task;
        let signal = thread.signal.map(|info| info.signo()).filter(|signal| !image.catches(*signal));
        uncaught.extend(signal.map(|signal| (task.tid(), signal)));
        task.set_options(OPTIONS | EXIT_KILL)?;
        let task = if index == 0 {
            let mut remote = Remote::healing(waiter, task, area)?;
            occupy(&mut remote, &open()?, foothold)?;
            remote.release()?
        } else {
            task
        };
        let tid = task.tid();
        let remote = Remote::trapping(waiter, task, foothold.code())?;
        let mut work = Work { remote, memory: open()?, foothold };
        let seen = image.threads.iter().find(|seen| seen.tid == tid).ok_or(TraceError::Died(tid))?;
        work.unregister(seen.rseq, seen.robust.0 != 0)?;
        map_slot(&mut work.remote, foothold, u32::try_from(index).unwrap_or(u32::MAX))?;
        if index == 0 {
            work.forget_handlers(image)?;
        }
        let task = work.remote.release()?;
        task.set_mask(seen.mask)?;
        shadows.push(ShadowThread { tid, task });
    }
    let graves = give_back(&mut shadows, image, area, foothold, waiter)?;
    for (tid, signal) in uncaught {
        // It was about to be delivered. A thread that is gone needs none.
        let _ = signal::tgkill(pid, tid, signal);
    }
    Ok((shadows, graves))
}

/// Maps the buffer area of one shadow thread.
///
/// # Errors
/// When the thread dies.
pub fn map_slot(remote: &mut Remote<'_>, foothold: Foothold, index: u32) -> Result<(), TraceError> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_NORESERVE;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let args = [foothold.slot(index), SLOT_BYTES, protection, flags as u64, u64::MAX, 0];
    match remote.call(libc::SYS_mmap, args)? {
        // A slot that a former thread of this number has left is as good as a new one.
        Ok(_) | Err(crate::sys::Errno(libc::EEXIST)) => Ok(()),
        Err(errno) => Err(TraceError::Kernel { what: "mapping a call buffer", tid: 0, errno }),
    }
}

/// Private memory goes; file mappings stay but their private copies go; the pages with the arguments stay for `ps`.
fn give_back(
    shadows: &mut [ShadowThread],
    image: &ProcessImage,
    area: &HealingArea,
    foothold: Foothold,
    waiter: &Waiter,
) -> Result<Graves, BuildError> {
    let mut graves = Graves::beside(&image.layout, foothold);
    let Some(leader) = shadows.first_mut() else { return Ok(graves) };
    // The typestate moves by value; the leader's place is filled again below.
    let task = std::mem::replace(&mut leader.task, crate::tracee::Running::attached(leader.tid).stopped());
    let mask = task.mask()?;
    let mut remote = Remote::trapping(waiter, task, foothold.code())?;
    for (start, end, keep) in drops(&image.layout, image.mm.arg_start) {
        if keep {
            let args = [start, end - start, libc::MADV_DONTNEED as u64, 0, 0, 0];
            // A locked mapping refuses the advice: its copies stay, which costs memory and nothing else.
            let _ = remote.call(libc::SYS_madvise, args)?;
        } else {
            graves.take(&mut remote, start..end)?;
        }
    }
    for page in area.pages() {
        // In a file mapping it has gone with the other copies; a former one may be in memory that is unmapped.
        let _ = remote.call(libc::SYS_madvise, [page, PAGE, libc::MADV_DONTNEED as u64, 0, 0, 0])?;
    }
    let task = remote.release()?;
    task.set_mask(mask)?;
    leader.task = task;
    Ok(graves)
}

/// What is given back: start, end, and whether the mapping itself stays.
fn drops(layout: &Layout, arg_start: u64) -> Vec<(u64, u64, bool)> {
    let arguments = arg_start & !(PAGE - 1);
    let mut drops = Vec::new();
    for vma in &layout.vmas {
        if vma.backing == Backing::Home {
            drops.push((vma.start, vma.end, true));
        } else if arg_start != 0 && (vma.start..vma.end).contains(&arguments) {
            if vma.start < arguments {
                drops.push((vma.start, arguments, false));
            }
        } else {
            drops.push((vma.start, vma.end, false));
        }
    }
    drops
}

impl Work<'_> {
    /// Takes back what the kernel would write to memory that is about to go: without it the thread is killed with
    /// SIGSEGV at its next return to user mode (measured for rseq).
    fn unregister(&mut self, rseq: crate::image::RseqArea, robust: bool) -> Result<(), BuildError> {
        if rseq.pointer != 0 {
            let args = [rseq.pointer, u64::from(rseq.size), RSEQ_UNREGISTER, u64::from(rseq.signature), 0, 0];
            self.remote.must("unregistering rseq", libc::SYS_rseq, args)?;
        }
        if robust {
            self.remote.must("clearing the robust list", libc::SYS_set_robust_list, [0, 24, 0, 0, 0, 0])?;
        }
        self.remote.must("clearing the thread id address", libc::SYS_set_tid_address, [0; 6])?;
        self.disable_alternate_stack()
    }

    fn disable_alternate_stack(&mut self) -> Result<(), BuildError> {
        self.remote.without_stack();
        let scratch = self.foothold.scratch();
        let words = [0u64, libc::SS_DISABLE as u64, 0];
        self.put(0, &words.map(u64::to_le_bytes).concat())?;
        self.remote.must(
            "disabling the alternate signal stack",
            libc::SYS_sigaltstack,
            [scratch, 0, 0, 0, 0, 0],
        )?;
        Ok(())
    }

    /// Handlers are gone with the memory: their signals get the default action here, but stop at the tracer first.
    /// What is ignored stays ignored, and so do the flags that say what becomes of children.
    fn forget_handlers(&mut self, image: &ProcessImage) -> Result<(), BuildError> {
        for (signal, action) in &image.actions {
            if action.handler > IGNORE {
                self.set_action(*signal, SignalAction { handler: 0, restorer: 0, ..*action })?;
            }
        }
        Ok(())
    }

    /// Sets one signal action.
    ///
    /// # Errors
    /// When the process dies.
    pub fn set_action(&mut self, signal: i32, action: SignalAction) -> Result<(), BuildError> {
        self.put(0, &action.to_bytes())?;
        let args = [u64::from(signal.unsigned_abs()), self.foothold.scratch(), 0, 8, 0, 0];
        self.remote.must("setting a signal action", libc::SYS_rt_sigaction, args)?;
        Ok(())
    }
}

const PAGE: u64 = 4096;
const RSEQ_UNREGISTER: u64 = 1;
const IGNORE: u64 = 1;
