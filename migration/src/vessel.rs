//! An empty process under the right pid, with the mappings of the body that is to live in it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use crate::confinement::confine;
use crate::foothold::{Foothold, SCRATCH_BYTES};
use crate::freeze::FrozenThread;
use crate::image::{Advice, Backing, Layout, SpecialVma, Vma};
use crate::init::FamilyInit;
use crate::landing::TRAP_CODE;
use crate::mend;
use crate::pages::Run;
use crate::procfs;
use crate::relayout::{Held, plan};
use crate::remote::{Remote, moving};
use crate::sys::ptrace::{EXIT_KILL, NO_CALL, OPTIONS, Registers};
use crate::sys::wait::Event;
use crate::sys::{Errno, pidfd, spawn, uffd};
use crate::tracee::{Running, Stopped, TraceError, Waiter};

/// Why a body could not be built. Nothing of it is left once its init is told to end.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The pid could not be had.
    #[error("starting a process with pid {pid}")]
    Spawn {
        /// The pid.
        pid: u32,
        /// EEXIST: still taken.
        #[source]
        errno: Errno,
    },
    /// A file under `/proc`, or memory of the new process.
    #[error("preparing the memory of the new process")]
    Memory(#[source] io::Error),
    /// An injected call.
    #[error("building the process")]
    Trace(#[from] TraceError),
    /// A descriptor of the new process.
    #[error("fetching a descriptor of the new process")]
    Descriptor(#[source] Errno),
    /// The kernel's own mappings differ.
    #[error("this kernel's {0} mapping differs in size from home's; the node runs another kernel")]
    Special(String),
}

impl From<io::Error> for BuildError {
    fn from(error: io::Error) -> BuildError {
        BuildError::Memory(error)
    }
}

/// A process that has its pid, its mappings and its userfaultfd, and one thread that stands still.
#[derive(Debug)]
pub struct Vessel {
    /// The pid at home.
    pub pid: u32,
    /// The pid as the warden sees it.
    pub outer: u32,
    /// Names the process without the risk of reuse.
    pub pidfd: OwnedFd,
    /// `/proc/OUTER/mem`.
    pub memory: File,
    /// Serves missing pages and tracks writes.
    pub uffd: OwnedFd,
    /// Its layout.
    pub layout: Layout,
    pub(crate) foothold: Foothold,
    pub(crate) leader: Stopped,
}

impl Vessel {
    /// Starts the process and maps everything that the layout names; the pages are still missing.
    ///
    /// # Errors
    /// Each step's.
    pub fn build(
        init: &FamilyInit,
        waiter: &Waiter,
        pid: u32,
        layout: Layout,
        foothold: Foothold,
    ) -> Result<Vessel, BuildError> {
        let pidfd = init.spawn(pid).map_err(|errno| BuildError::Spawn { pid, errno })?;
        let outer = pid_behind(&pidfd)?;
        let task = Running::seize(outer, OPTIONS | EXIT_KILL)?;
        task.interrupt()?;
        let mut task = settled_stop(waiter, task)?.task;
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{outer}/mem"))?;
        task = take_foothold(waiter, task, &memory, foothold)?;
        let mut remote = Remote::trapping(waiter, task, foothold.code())?;
        clear(&mut remote, outer, foothold)?;
        place_special(&mut remote, outer, &layout.special)?;
        for vma in &layout.vmas {
            map(&mut remote, vma)?;
        }
        let uffd = open_uffd(&mut remote, &pidfd)?;
        confine(&mut remote, (&memory, foothold), init.user())?;
        for vma in layout.vmas.iter().filter(|vma| vma.backing == Backing::Home) {
            watch(&uffd, vma)?;
        }
        init.keep(uffd.as_fd()).map_err(BuildError::Descriptor)?;
        let leader = remote.release()?;
        Ok(Vessel { pid, outer, pidfd, memory, uffd, layout, foothold, leader })
    }

    /// Follows the mappings of a program that still runs; pages of mappings that stay are kept. `gone` are pages that
    /// hold nothing any more; `still` says that these are its final mappings.
    ///
    /// # Errors
    /// Each step's.
    pub fn lay_out(
        mut self,
        waiter: &Waiter,
        layout: Layout,
        gone: &[Run],
        still: bool,
    ) -> Result<Vessel, BuildError> {
        let mut remote = Remote::trapping(waiter, self.leader, self.foothold.code())?;
        let held: Vec<Held> = self.layout.vmas.iter().map(Held::from).collect();
        for step in plan(&held, &layout.vmas) {
            let Some(vma) = step.change(&mut remote)? else { continue };
            map(&mut remote, &vma)?;
            if vma.backing == Backing::Home {
                watch(&self.uffd, &vma)?;
            }
        }
        for vma in layout.vmas.iter().filter(|vma| !self.layout.vmas.contains(vma)) {
            advise(&mut remote, vma)?;
        }
        drop_pages(&mut remote, gone)?;
        if still {
            mend::whole(&mut remote, self.outer, &layout)?;
        }
        self.layout = layout;
        self.leader = remote.release()?;
        Ok(self)
    }

    /// Forgets the memory of a former program: the process will be another one's.
    ///
    /// # Errors
    /// Each step's.
    pub fn renew(mut self, waiter: &Waiter, special: &[SpecialVma]) -> Result<Vessel, BuildError> {
        let mut remote = Remote::trapping(waiter, self.leader, self.foothold.code())?;
        clear(&mut remote, self.outer, self.foothold)?;
        place_special(&mut remote, self.outer, special)?;
        self.layout = Layout { vmas: Vec::new(), special: special.to_vec() };
        self.leader = remote.release()?;
        Ok(self)
    }

    /// Ends the process: nothing is to live in it.
    pub fn end(self) {
        // One that is gone already needs no end.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
    }
}

fn watch(uffd: &OwnedFd, vma: &Vma) -> Result<(), BuildError> {
    uffd::register(uffd.as_fd(), vma.start, vma.len(), uffd::Watch::MissingAndWrites)
        .map_err(BuildError::Descriptor)
}

/// Makes pages as if they had never been written.
pub(crate) fn drop_pages(remote: &mut Remote<'_>, gone: &[Run]) -> Result<(), TraceError> {
    for run in gone {
        let args = [run.start, run.bytes() as u64, libc::MADV_DONTNEED as u64, 0, 0, 0];
        remote.must("dropping pages", libc::SYS_madvise, args)?;
    }
    Ok(())
}

/// The pid of a process, as this process sees it, from its descriptor.
fn pid_behind(pidfd: &OwnedFd) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("a pidfd without a pid"))
}

/// The stop after an interrupt, past the end of execve: at its event the call's result would still overwrite `rax`.
/// A signal that is about to be delivered makes a stop there, too, and must not get lost.
///
/// # Errors
/// When the task dies.
pub fn settled_stop(waiter: &Waiter, task: Running) -> Result<FrozenThread, TraceError> {
    let mut task = task;
    loop {
        match waiter.next(task)? {
            (task, Event::Stop(_)) => return Ok(FrozenThread { task, signal: None }),
            (task, Event::Signal(_)) => {
                let signal = Some(task.signal_info()?);
                return Ok(FrozenThread { task, signal });
            }
            (passing, _) => task = passing.resume_to_stop()?,
        }
    }
}

/// Maps the code page and the scratch area with the help of code in the stub's own page.
fn take_foothold(
    waiter: &Waiter,
    task: Stopped,
    memory: &File,
    foothold: Foothold,
) -> Result<Stopped, BuildError> {
    let first = spawn::STUB_PAGE + spawn::STUB_BYTES / 2;
    memory.write_all_at(&TRAP_CODE, first)?;
    // The stub waits in pause(2): its number must be forgotten, or the kernel would restart it over our registers.
    task.set_registers(&Registers { orig_rax: NO_CALL, ..task.registers()? })?;
    let mut remote = Remote::trapping(waiter, task, first)?;
    occupy(&mut remote, memory, foothold)?;
    Ok(remote.release()?)
}

/// Maps homing's code page and scratch area in a process and writes the code.
///
/// # Errors
/// When the range is taken or the process dies.
pub fn occupy(remote: &mut Remote<'_>, memory: &File, foothold: Foothold) -> Result<(), BuildError> {
    let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
    let data = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let args = [foothold.code(), PAGE, code, fixed, u64::MAX, 0];
    remote.must("mapping the code page", libc::SYS_mmap, args)?;
    let args = [foothold.scratch(), SCRATCH_BYTES, data, fixed, u64::MAX, 0];
    remote.must("mapping the scratch area", libc::SYS_mmap, args)?;
    memory.write_all_at(&TRAP_CODE, foothold.code())?;
    Ok(())
}

/// Unmaps everything but the foothold and the kernel's own mappings.
fn clear(remote: &mut Remote<'_>, outer: u32, foothold: Foothold) -> Result<(), BuildError> {
    for map in procfs::maps(outer)? {
        if !map.is_special() && !foothold.range().contains(&map.start) {
            remote.must(
                "clearing the process",
                libc::SYS_munmap,
                [map.start, map.end - map.start, 0, 0, 0, 0],
            )?;
        }
    }
    Ok(())
}

/// Moves `[vdso]` and its data to where the program knows them; by way of a free place, since old and new places
/// may overlap.
fn place_special(remote: &mut Remote<'_>, outer: u32, wanted: &[SpecialVma]) -> Result<(), BuildError> {
    let found: Vec<_> = procfs::maps(outer)?.into_iter().filter(|map| map.is_special()).collect();
    let mut parked = PARKING;
    let mut moves = Vec::new();
    for special in wanted {
        let size = special.end - special.start;
        let Some(map) = found.iter().find(|map| map.name == special.name && map.end - map.start == size)
        else {
            return Err(BuildError::Special(special.name.clone()));
        };
        moves.push((map.start, parked, special.start, size));
        parked += size;
    }
    for (from, between, _, size) in &moves {
        remote.must("moving the vdso", libc::SYS_mremap, moving(*from, *size, *between))?;
    }
    for (_, between, to, size) in &moves {
        remote.must("placing the vdso", libc::SYS_mremap, moving(*between, *size, *to))?;
    }
    Ok(())
}

/// Maps one VMA as private anonymous memory, whatever it is at home.
pub(crate) fn map(remote: &mut Remote<'_>, vma: &Vma) -> Result<(), TraceError> {
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    if vma.backing == Backing::Stack {
        flags |= libc::MAP_GROWSDOWN | libc::MAP_STACK;
    }
    if vma.advice.no_reserve {
        flags |= libc::MAP_NORESERVE;
    }
    let protection = u64::from(vma.protection);
    let args = [vma.start, vma.len(), protection, flags as u64, u64::MAX, 0];
    remote.must("mapping memory", libc::SYS_mmap, args)?;
    advise(remote, vma)
}

/// Repeats the advice that the program has given.
pub(crate) fn advise(remote: &mut Remote<'_>, vma: &Vma) -> Result<(), TraceError> {
    let Advice { dont_fork, wipe_on_fork, dont_dump, huge, no_huge, no_reserve: _, locked: _ } = vma.advice;
    let wanted = [
        (dont_fork, libc::MADV_DONTFORK),
        (wipe_on_fork, libc::MADV_WIPEONFORK),
        (dont_dump, libc::MADV_DONTDUMP),
        (huge, libc::MADV_HUGEPAGE),
        (no_huge, libc::MADV_NOHUGEPAGE),
    ];
    for (_, advice) in wanted.into_iter().filter(|(set, _)| *set) {
        // Advice is not content: a kernel without it loses speed only.
        let _ = remote.call(libc::SYS_madvise, [vma.start, vma.len(), advice as u64, 0, 0, 0])?;
    }
    Ok(())
}

fn open_uffd(remote: &mut Remote<'_>, pidfd: &OwnedFd) -> Result<OwnedFd, BuildError> {
    let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    let number = remote.must("opening a userfaultfd", libc::SYS_userfaultfd, [flags, 0, 0, 0, 0, 0])?;
    let fd = fetch(remote, pidfd, number)?;
    uffd::enable(fd.as_fd(), uffd::SERVING).map_err(BuildError::Descriptor)?;
    Ok(fd)
}

/// Takes a descriptor out of the process: a duplicate here, none left there.
pub(crate) fn fetch(remote: &mut Remote<'_>, pidfd: &OwnedFd, number: u64) -> Result<OwnedFd, BuildError> {
    let raw = RawFd::try_from(number).map_err(|_| BuildError::Descriptor(Errno(libc::EBADF)))?;
    let fd = pidfd::get_fd(pidfd.as_fd(), raw).map_err(BuildError::Descriptor)?;
    remote.must("closing a descriptor", libc::SYS_close, [number, 0, 0, 0, 0, 0])?;
    Ok(fd)
}

const PAGE: u64 = 4096;

/// A place that no layout uses: below the candidates of [`crate::layout::free_range`].
const PARKING: u64 = 0x1000_0000_0000;
