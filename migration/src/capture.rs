//! Reading everything of a frozen process that is not a page.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use crate::freeze::{Frozen, FrozenThread};
use crate::image::{Layout, MmFields, ProcessImage, Rest, SignalAction, ThreadImage};
use crate::landing::{HealingArea, leaks_interruption};
use crate::procfs;
use crate::remote::Remote;
use crate::scratch;
use crate::sys::ptrace::{
    self, NO_CALL, Queue, RESTART_BLOCK, RESTART_WITHOUT_HANDLER, Registers, RseqArea, SigInfo,
};
use crate::tracee::{Stopped, TraceError, Waiter};
use crate::waits::Waits;

/// Why a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A file under `/proc`.
    #[error("reading /proc/{0}")]
    Proc(u32, #[source] io::Error),
    /// A register, a signal or an injected call.
    #[error("reading the state of a thread")]
    Trace(#[from] TraceError),
}

/// How calls are injected into the process that is read.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// A program at home before its move: it must survive the warden.
    Healing(&'a HealingArea),
    /// A body: `syscall; int3` at the address, and a scratch page of homing's own.
    Trap {
        /// Of the code.
        code: u64,
        /// Of the scratch page.
        scratch: u64,
    },
}

/// Reads the process. The threads stay frozen, and as they were.
///
/// # Errors
/// When it dies meanwhile, or `/proc` does not answer as documented.
pub fn capture(
    frozen: &mut Frozen,
    layout: Layout,
    access: Access<'_>,
    waiter: &Waiter,
) -> Result<ProcessImage, CaptureError> {
    let pid = frozen.pid;
    let proc = |error| CaptureError::Proc(pid, error);
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).map_err(proc)?;
    let task = pid.to_string();
    let special = procfs::signal_set(&task, "SigCgt").map_err(proc)?
        | procfs::signal_set(&task, "SigIgn").map_err(proc)?;
    let mut image = ProcessImage {
        pid,
        command: procfs::command(pid).map_err(proc)?,
        layout,
        mm: mm_fields(pid).map_err(proc)?,
        ..ProcessImage::default()
    };
    let mut injected = Injected { scratch: 0, memory: &memory, actions: special, image: &mut image };
    let threads = std::mem::take(&mut frozen.threads);
    let last = threads.len().saturating_sub(1);
    for (index, thread) in threads.into_iter().enumerate() {
        let FrozenThread { task, signal } = thread;
        let at_home = matches!(access, Access::Healing(_));
        let mut seen = thread_image(&task, signal.as_ref(), &memory)?;
        if !at_home {
            // At home they stay in the queues of the thread that becomes the deputy.
            seen.pending.append(&mut queued(task.tid(), Queue::Thread)?);
            if index == 0 {
                injected.image.pending = queued(task.tid(), Queue::Process)?;
            }
        }
        seen.rest = settle_call(&mut seen.registers, task.tid(), at_home.then_some(&frozen.waits));
        let mut remote = match access {
            Access::Healing(area) => Remote::healing(waiter, task, area)?,
            Access::Trap { code, scratch } => {
                injected.scratch = scratch;
                Remote::unfiltered(waiter, task, (&memory, code))?
            }
        };
        if index == 0 {
            injected.enter(&mut remote)?;
        }
        injected.thread(&mut remote, &mut seen)?;
        if index == last && matches!(access, Access::Healing(_)) {
            scratch::unmap(&mut remote, injected.scratch)?;
        }
        frozen.threads.push(FrozenThread { task: remote.leave()?, signal });
        injected.image.threads.push(seen);
    }
    if matches!(access, Access::Healing(_)) {
        let uncaught = |thread: &FrozenThread| thread.signal.is_some_and(|info| !image.catches(info.signo()));
        let theirs: Vec<bool> = frozen.threads.iter().map(uncaught).collect();
        for (seen, _) in image.threads.iter_mut().zip(theirs).filter(|(_, is_home_s)| *is_home_s) {
            // Home's kernel acts on it, when the thread is a deputy's: nobody waits for the program elsewhere.
            seen.pending.clear();
        }
    }
    Ok(image)
}

/// What only the process itself can ask the kernel for.
struct Injected<'a> {
    scratch: u64,
    memory: &'a File,
    actions: u64,
    image: &'a mut ProcessImage,
}

impl Injected<'_> {
    fn enter(&mut self, remote: &mut Remote<'_>) -> Result<(), CaptureError> {
        if self.scratch == 0 {
            self.scratch = scratch::map(remote, self.memory)?;
        }
        self.image.mm.brk = remote.must("reading the break", libc::SYS_brk, [0; 6])?;
        self.image.membarrier = remote
            .call(libc::SYS_membarrier, [MEMBARRIER_GET_REGISTRATIONS, 0, 0, 0, 0, 0])?
            .map_or(0, |bits| u32::try_from(bits).unwrap_or(0));
        for signal in (1..=SIGNALS).filter(|signal| self.actions & 1 << (signal - 1) != 0) {
            let args = [signal, 0, self.scratch, 8, 0, 0];
            remote.must("reading a signal action", libc::SYS_rt_sigaction, args)?;
            let mut raw = [0; 32];
            self.read(&mut raw)?;
            let number = i32::try_from(signal).unwrap_or(0);
            self.image.actions.push((number, SignalAction::from_bytes(&raw)));
        }
        Ok(())
    }

    fn thread(&self, remote: &mut Remote<'_>, seen: &mut ThreadImage) -> Result<(), CaptureError> {
        let args = [libc::PR_GET_TID_ADDRESS as u64, self.scratch, 0, 0, 0, 0];
        remote.must("reading the thread id address", libc::SYS_prctl, args)?;
        let mut word = [0; 8];
        self.read(&mut word)?;
        seen.tid_address = u64::from_le_bytes(word);
        let args = [0, self.scratch, 0, 0, 0, 0];
        remote.must("reading the alternate signal stack", libc::SYS_sigaltstack, args)?;
        let mut raw = [0; 24];
        self.read(&mut raw)?;
        let [pointer, flags, size] = words(&raw);
        // SS_ONSTACK (1) reports where the thread is now; it is not part of what was set.
        seen.alternate_stack = (pointer, (flags & !1 & 0xffff_ffff) as i32, size);
        Ok(())
    }

    fn read(&self, buffer: &mut [u8]) -> Result<(), CaptureError> {
        let proc = |error| CaptureError::Proc(self.image.pid, error);
        self.memory.read_exact_at(buffer, self.scratch).map_err(proc)
    }
}

fn thread_image(
    task: &Stopped,
    signal: Option<&SigInfo>,
    memory: &File,
) -> Result<ThreadImage, CaptureError> {
    let tid = task.tid();
    let mut registers = task.registers()?;
    let rseq = ptrace::rseq_area(tid).unwrap_or_default();
    leave_critical_section(&mut registers, rseq, memory);
    let pending = signal.filter(|info| !info.is_fault()).map(|info| info.0.to_vec()).into_iter().collect();
    Ok(ThreadImage {
        tid,
        registers,
        xstate: task.xstate()?,
        mask: task.mask()?,
        rseq,
        robust: ptrace::robust_list(tid).unwrap_or_default(),
        pending,
        ..ThreadImage::default()
    })
}

/// Makes the registers say in a portable way that a call was interrupted: restart blocks (-516) are kept by the
/// kernel per task and do not move. Returns what is left of the call's timeout.
///
/// `waits` is given for a program at home, whose thread becomes the deputy's and keeps its restart block.
fn settle_call(registers: &mut Registers, tid: u32, waits: Option<&Waits>) -> Rest {
    if registers.orig_rax == NO_CALL {
        return Rest::Whole;
    }
    let continued = |number| {
        if number == libc::SYS_restart_syscall {
            waits.and_then(|waits| waits.continued(tid, registers.rip)).map(u64::cast_signed)
        } else {
            Some(number)
        }
    };
    match (registers.rax.cast_signed(), continued(registers.orig_rax.cast_signed())) {
        // A futex wait with a relative time may always end early; nothing else says how much of it is left.
        (RESTART_BLOCK, Some(libc::SYS_futex)) if registers.rsi & FUTEX_COMMAND == FUTEX_WAIT => {
            registers.rax = 0;
            registers.orig_rax = NO_CALL;
            Rest::Whole
        }
        // At a guest no such call runs: the block is in home's thread, to which the body returns.
        (RESTART_BLOCK, Some(libc::SYS_poll | libc::SYS_nanosleep | libc::SYS_clock_nanosleep))
            if waits.is_none() =>
        {
            Rest::Whole
        }
        (RESTART_BLOCK, Some(nr)) => {
            // As with a restart block, a handler that runs first ends the call with EINTR.
            registers.rax = RESTART_WITHOUT_HANDLER.cast_unsigned();
            registers.orig_rax = nr.cast_unsigned();
            let kept = [libc::SYS_poll, libc::SYS_nanosleep, libc::SYS_clock_nanosleep].contains(&nr);
            if kept && waits.is_some() { Rest::AtHome } else { Rest::Whole }
        }
        // What it was is not known any more; its interruption is what the program may be told.
        (RESTART_BLOCK, None) => {
            registers.rax = EINTR.cast_unsigned();
            registers.orig_rax = NO_CALL;
            Rest::Whole
        }
        (EINTR, _) if leaks_interruption(registers.orig_rax) => {
            // If a handler runs first, the call ends with EINTR after all.
            registers.rax = RESTART_WITHOUT_HANDLER.cast_unsigned();
            rest_of_epoll(registers, tid, waits)
        }
        _ => Rest::Whole,
    }
}

fn rest_of_epoll(registers: &Registers, tid: u32, waits: Option<&Waits>) -> Rest {
    let waited_ns = waits.and_then(|waits| waits.waited_ns(tid, registers.rip));
    let timeout_ms = registers.r10 & u64::from(u32::MAX);
    match waited_ns {
        Some(waited_ns) if timeout_ms <= EPOLL_TIMEOUT_MS_MAX => {
            Rest::Left((timeout_ms * NS_PER_MS).saturating_sub(waited_ns))
        }
        _ => Rest::Whole,
    }
}

/// A restartable sequence that was interrupted is aborted, as the kernel does at any preemption.
fn leave_critical_section(registers: &mut Registers, rseq: RseqArea, memory: &File) {
    if rseq.pointer == 0 {
        return;
    }
    let mut pointer = [0; 8];
    if memory.read_exact_at(&mut pointer, rseq.pointer + 8).is_err() {
        return;
    }
    let section = u64::from_le_bytes(pointer);
    let mut raw = [0; 24];
    if section == 0 || memory.read_exact_at(&mut raw, section + 8).is_err() {
        return;
    }
    let [start, length, abort] = words(&raw);
    if registers.rip.wrapping_sub(start) < length {
        registers.rip = abort;
    }
}

fn queued(tid: u32, queue: Queue) -> Result<Vec<Vec<u8>>, TraceError> {
    let found = ptrace::pending_signals(tid, queue).map_err(|errno| TraceError::Kernel {
        what: "reading pending signals",
        tid,
        errno,
    })?;
    Ok(found.into_iter().map(|info| info.0.to_vec()).collect())
}

fn mm_fields(pid: u32) -> io::Result<MmFields> {
    let numbers = procfs::stat_numbers(pid)?;
    let field = |number: usize| numbers.get(number - 4).copied().unwrap_or(0);
    Ok(MmFields {
        start_code: field(26),
        end_code: field(27),
        start_stack: field(28),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk: 0,
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
        auxv: std::fs::read(format!("/proc/{pid}/auxv"))?,
    })
}

fn words(raw: &[u8; 24]) -> [u64; 3] {
    [0, 8, 16].map(|at| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&raw[at..at + 8]);
        u64::from_le_bytes(bytes)
    })
}

const SIGNALS: u64 = 64;
const MEMBARRIER_GET_REGISTRATIONS: u64 = 512;
const EINTR: i64 = -4;
const NS_PER_MS: u64 = 1_000_000;
/// The timeout is an `int`.
const EPOLL_TIMEOUT_MS_MAX: u64 = i32::MAX as u64;
const FUTEX_COMMAND: u64 = 0x7f;
const FUTEX_WAIT: u64 = 0;
