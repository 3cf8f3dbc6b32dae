//! Turning a vessel into a body: everything of the image that is not memory.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::foothold::Foothold;
use crate::image::{MmFields, ProcessImage, SignalAction, ThreadImage};
use crate::init::FamilyInit;
use crate::procfs;
use crate::remote::Remote;
use crate::sys::{Errno, seccomp};
use crate::tracee::{Running, Stopped, TraceError, Waiter};
use crate::vessel::{BuildError, Vessel, fetch};

/// One instruction of a seccomp filter (`struct sock_filter`), handed in as a value: what it decides is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterInstruction {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A thread of a body that stands still.
#[derive(Debug)]
pub struct BodyThread {
    /// Its thread id at home, and in the family's namespace.
    pub tid: u32,
    /// The thread as the warden sees it.
    pub task: Stopped,
}

/// A rebuilt process, ready to run: every thread stands where the original one stood.
#[derive(Debug)]
pub struct Body {
    /// The process.
    pub vessel: Settled,
    /// Where its trapped calls are read and answered.
    pub listener: OwnedFd,
    /// The leader first.
    pub threads: Vec<BodyThread>,
}

/// What remains of a vessel once its threads have their own life.
#[derive(Debug)]
pub struct Settled {
    /// The pid at home.
    pub pid: u32,
    /// The pid as the warden sees it.
    pub outer: u32,
    /// Names the process without the risk of reuse.
    pub pidfd: OwnedFd,
    /// `/proc/OUTER/mem`.
    pub memory: fs::File,
    /// Serves missing pages and tracks writes.
    pub uffd: OwnedFd,
}

impl Body {
    /// Completes a vessel. Its pages may still be written meanwhile, but must be there before a thread is resumed.
    ///
    /// # Errors
    /// Each step's.
    pub fn complete(
        vessel: Vessel,
        image: &ProcessImage,
        filter: &[FilterInstruction],
        init: &FamilyInit,
        waiter: &Waiter,
    ) -> Result<Body, BuildError> {
        let Vessel { pid, outer, pidfd, memory, uffd, foothold, leader, layout: _ } = vessel;
        let remote = Remote::unfiltered(waiter, leader, (&memory, foothold.code()))?;
        let mut work = Work { remote, memory, foothold };
        work.identity(&image.mm, &image.command)?;
        work.actions(&image.actions)?;
        work.membarrier(image.membarrier)?;
        work.queue_signals(libc::SYS_rt_sigqueueinfo, &[u64::from(pid)], &image.pending)?;
        let listener = work.install(filter, &pidfd)?;
        init.keep(listener.as_fd()).map_err(BuildError::Descriptor)?;
        // Only a hint for the scheduler: older kernels do without.
        let _ = seccomp::wake_on_this_cpu(listener.as_fd());
        for thread in image.threads.iter().skip(1) {
            work.new_thread(thread.tid)?;
        }
        let Work { remote, memory, .. } = work;
        let mut memory = memory;
        let mut leader = Some(remote.release()?);
        let mut threads = Vec::new();
        for thread in &image.threads {
            let task = if thread.tid == pid {
                leader.take().ok_or(TraceError::Died(pid))?
            } else {
                waiter.next(Running::attached(outer_tid(outer, thread.tid)?))?.0
            };
            let remote = Remote::unfiltered(waiter, task, (&memory, foothold.code()))?;
            let mut work = Work { remote, memory, foothold };
            work.thread(pid, thread)?;
            let task = settle(work.remote, thread)?;
            memory = work.memory;
            threads.push(BodyThread { tid: thread.tid, task });
        }
        Ok(Body { vessel: Settled { pid, outer, pidfd, memory, uffd }, listener, threads })
    }
}

/// Gives a thread its registers, last of all.
pub(crate) fn settle(remote: Remote<'_>, thread: &ThreadImage) -> Result<Stopped, TraceError> {
    let task = remote.release()?;
    task.set_xstate(&thread.xstate)?;
    task.set_mask(thread.mask)?;
    task.set_registers(&thread.registers)?;
    Ok(task)
}

/// Calls into a process that homing holds, with memory for their arguments.
#[derive(Debug)]
pub struct Work<'w> {
    /// The thread that makes the calls.
    pub remote: Remote<'w>,
    /// `/proc/PID/mem`.
    pub memory: fs::File,
    /// Where scratch memory is.
    pub foothold: Foothold,
}

impl Work<'_> {
    /// The addresses and the name that `/proc` and `ps` show, and the break.
    pub(crate) fn identity(&mut self, mm: &MmFields, command: &str) -> Result<(), BuildError> {
        let auxv_at = self.foothold.scratch() + AUXV_AT;
        let fields = [
            mm.start_code,
            mm.end_code,
            mm.start_data,
            mm.end_data,
            mm.start_brk,
            mm.brk,
            mm.start_stack,
            mm.arg_start,
            mm.arg_end,
            mm.env_start,
            mm.env_end,
            auxv_at,
            mm.auxv.len() as u64 | NO_EXE,
        ];
        self.put(0, &fields.map(u64::to_le_bytes).concat())?;
        self.put(AUXV_AT, &mm.auxv)?;
        let scratch = self.foothold.scratch();
        let args = [PR_SET_MM, PR_SET_MM_MAP, scratch, MM_MAP_BYTES, 0, 0];
        self.remote.must("setting the memory map's fields", libc::SYS_prctl, args)?;
        let mut name = command.as_bytes().to_vec();
        name.truncate(COMMAND_BYTES_MAX);
        name.push(0);
        self.put(0, &name)?;
        let args = [libc::PR_SET_NAME as u64, scratch, 0, 0, 0, 0];
        self.remote.must("setting the name", libc::SYS_prctl, args)?;
        Ok(())
    }

    /// All 64 signal actions: the ones named, and the default for every other.
    pub(crate) fn actions(&mut self, actions: &[(i32, SignalAction)]) -> Result<(), BuildError> {
        let scratch = self.foothold.scratch();
        for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
            let action = actions.iter().find(|(number, _)| *number == signal);
            self.put(0, &action.map(|(_, action)| *action).unwrap_or_default().to_bytes())?;
            let args = [u64::from(signal.unsigned_abs()), scratch, 0, 8, 0, 0];
            self.remote.must("setting a signal action", libc::SYS_rt_sigaction, args)?;
        }
        Ok(())
    }

    /// Registers for the membarrier commands that were registered before: they belong to the memory map and are new.
    pub(crate) fn membarrier(&mut self, registrations: u32) -> Result<(), BuildError> {
        for (registered, command) in MEMBARRIERS {
            if registrations & registered != 0 {
                self.remote.must(
                    "registering a membarrier",
                    libc::SYS_membarrier,
                    [command, 0, 0, 0, 0, 0],
                )?;
            }
        }
        Ok(())
    }

    /// Queues signals to the thread itself or to its process: from oneself every `si_code` is allowed.
    pub(crate) fn queue_signals(
        &mut self,
        nr: i64,
        to: &[u64],
        signals: &[Vec<u8>],
    ) -> Result<(), BuildError> {
        for info in signals {
            let mut number = [0; 4];
            number.copy_from_slice(&info[..4]);
            self.put(0, info)?;
            let mut args = [0; 6];
            args[..to.len()].copy_from_slice(to);
            args[to.len()] = u64::from(u32::from_le_bytes(number));
            args[to.len() + 1] = self.foothold.scratch();
            self.remote.must("queueing a signal again", nr, args)?;
        }
        Ok(())
    }

    /// Per-thread registrations and pending signals.
    pub(crate) fn thread(&mut self, pid: u32, thread: &ThreadImage) -> Result<(), BuildError> {
        let rseq = thread.rseq;
        if rseq.pointer != 0 {
            let args = [rseq.pointer, u64::from(rseq.size), 0, u64::from(rseq.signature), 0, 0];
            self.remote.must("registering rseq", libc::SYS_rseq, args)?;
        }
        let (head, length) = thread.robust;
        if head != 0 {
            self.remote.must(
                "setting the robust list",
                libc::SYS_set_robust_list,
                [head, length, 0, 0, 0, 0],
            )?;
        }
        let args = [thread.tid_address, 0, 0, 0, 0, 0];
        self.remote.must("setting the thread id address", libc::SYS_set_tid_address, args)?;
        let (pointer, flags, size) = thread.alternate_stack;
        let words = [pointer, u64::from(flags.unsigned_abs()), size];
        self.put(0, &words.map(u64::to_le_bytes).concat())?;
        let args = [self.foothold.scratch(), 0, 0, 0, 0, 0];
        self.remote.must("setting the alternate signal stack", libc::SYS_sigaltstack, args)?;
        let to = [u64::from(pid), u64::from(thread.tid)];
        self.queue_signals(libc::SYS_rt_tgsigqueueinfo, &to, &thread.pending)
    }

    /// Puts the filter in place; the listener's number does not stay in the process.
    fn install(&mut self, filter: &[FilterInstruction], pidfd: &OwnedFd) -> Result<OwnedFd, BuildError> {
        let scratch = self.foothold.scratch();
        let code: Vec<u8> = filter.iter().flat_map(|step| step.to_bytes()).collect();
        self.put(0, &[filter.len() as u64, scratch + FILTER_AT].map(u64::to_le_bytes).concat())?;
        self.put(FILTER_AT, &code)?;
        let args = [seccomp::SET_MODE_FILTER, seccomp::LISTENER_FLAGS, scratch, 0, 0, 0];
        let number = self.remote.must("installing the filter", libc::SYS_seccomp, args)?;
        fetch(&mut self.remote, pidfd, number)
    }

    fn new_thread(&mut self, tid: u32) -> Result<(), BuildError> {
        let scratch = self.foothold.scratch();
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM;
        let mut args = [0u64; 11];
        args[0] = flags as u64;
        args[8] = scratch + CLONE_ARGS_BYTES;
        args[9] = 1;
        self.put(0, &args.map(u64::to_le_bytes).concat())?;
        self.put(CLONE_ARGS_BYTES, &tid.to_le_bytes())?;
        let args = [scratch, CLONE_ARGS_BYTES, 0, 0, 0, 0];
        // A thread that has just ended may hold its id for a moment.
        for _ in 0..TAKEN_RETRIES {
            match self.remote.call(libc::SYS_clone3, args)? {
                Ok(_) => return Ok(()),
                Err(Errno(libc::EEXIST)) => std::thread::yield_now(),
                Err(errno) => return Err(BuildError::Spawn { pid: tid, errno }),
            }
        }
        Err(BuildError::Spawn { pid: tid, errno: Errno(libc::EEXIST) })
    }

    pub(crate) fn put(&self, at: u64, data: &[u8]) -> Result<(), BuildError> {
        Ok(self.memory.write_all_at(data, self.foothold.scratch() + at)?)
    }
}

impl FilterInstruction {
    fn to_bytes(self) -> [u8; 8] {
        let [a, b] = self.code.to_le_bytes();
        let [c, d, e, f] = self.k.to_le_bytes();
        [a, b, self.jt, self.jf, c, d, e, f]
    }
}

/// The warden's number for a thread that the family's namespace calls `tid`.
fn outer_tid(outer: u32, tid: u32) -> Result<u32, BuildError> {
    for candidate in procfs::threads(outer)? {
        let line = procfs::status_value(&format!("{outer}/task/{candidate}"), "NSpid")?;
        if line.split_whitespace().last().and_then(|word| word.parse().ok()) == Some(tid) {
            return Ok(candidate);
        }
    }
    Err(TraceError::Died(tid).into())
}

const AUXV_AT: u64 = 512;
const FILTER_AT: u64 = 64;
const CLONE_ARGS_BYTES: u64 = 88;
const TAKEN_RETRIES: u32 = 10_000;
const COMMAND_BYTES_MAX: usize = 15;
const PR_SET_MM: u64 = 35;
const PR_SET_MM_MAP: u64 = 14;
/// `sizeof(struct prctl_mm_map)`.
const MM_MAP_BYTES: u64 = 104;
/// `exe_fd = -1` in the upper half of the last word: the executable's link stays as it is.
const NO_EXE: u64 = 0xffff_ffff << 32;
/// Bits of `MEMBARRIER_CMD_GET_REGISTRATIONS` are the registering commands themselves (linux/membarrier.h).
const MEMBARRIERS: [(u32, u64); 4] = [(1 << 2, 1 << 2), (1 << 4, 1 << 4), (1 << 6, 1 << 6), (1 << 8, 1 << 8)];
