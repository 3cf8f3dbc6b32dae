//! ptrace(2) on one task. Every call must come from the thread that seized the task.

use std::mem;

use serde::{Deserialize, Serialize};

use super::signal::bit;
use super::{Errno, check};

/// General registers as `PTRACE_GETREGS` gives them (`struct user_regs_struct`), a plain wire type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// The number of the system call that the task is in, or -1: then the kernel restarts nothing.
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub eflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// `orig_rax` of a task that is in no system call.
pub const NO_CALL: u64 = u64::MAX;

/// In `rax` of a stopped task: its call is made again unless a handler without SA_RESTART ran (the kernel's
/// ERESTARTSYS; these four are in its `include/linux/errno.h`).
pub const RESTART_IF_WANTED: i64 = -512;

/// It is made again in any case (ERESTARTNOINTR).
pub const RESTART_ALWAYS: i64 = -513;

/// It is made again unless a handler ran (ERESTARTNOHAND).
pub const RESTART_WITHOUT_HANDLER: i64 = -514;

/// It goes on by restart_syscall(2), with what the task's restart block holds (ERESTART_RESTARTBLOCK).
pub const RESTART_BLOCK: i64 = -516;

/// A raw `siginfo_t`: 128 bytes, passed on and never interpreted beyond its first three words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigInfo(pub [u8; 128]);

impl SigInfo {
    /// Signal number.
    #[must_use]
    pub fn signo(&self) -> i32 {
        self.word(0)
    }

    /// `si_code`: above zero when the kernel sent it for a fault, timer or child.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.word(8)
    }

    /// Whether an instruction has raised it, which raises it again when it is executed again.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.code() > 0 && bit(self.signo()) & FAULTS != 0
    }

    /// Whether it is the trap behind a single step.
    #[must_use]
    pub fn is_step(&self) -> bool {
        self.signo() == libc::SIGTRAP && self.code() == TRAP_TRACE
    }

    /// The sender, for signals that have one; 0 if it is in a pid namespace that the receiver does not see.
    #[must_use]
    pub fn sender(&self) -> i32 {
        self.word(16)
    }

    /// The payload of a queued signal (`si_value` as an integer, at offset 24 on x86_64).
    #[must_use]
    pub fn value(&self) -> i32 {
        self.word(24)
    }

    fn word(&self, at: usize) -> i32 {
        i32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigInfo {{ signo: {}, code: {} }}", self.signo(), self.code())
    }
}

/// The rseq area that a thread has registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RseqArea {
    /// Address of `struct rseq`; 0 when none is registered.
    pub pointer: u64,
    /// Its size as registered.
    pub size: u32,
    /// The abort signature.
    pub signature: u32,
}

/// How a stopped task goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until the next event.
    Cont,
    /// Until the next system call entry or exit.
    Syscall,
    /// One instruction.
    Step,
    /// Stay in group-stop but hear SIGCONT.
    Listen,
}

/// Options that every tracee of homing gets: events for new tasks, exec and system call stops with bit 7 set.
pub const OPTIONS: u64 = (libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP) as u64;

/// Kill the task when its tracer dies: set from commit on, never before.
pub const EXIT_KILL: u64 = libc::PTRACE_O_EXITKILL as u64;

/// The task's seccomp filters do not look at its calls: for calls that the tracer makes in it. Needs CAP_SYS_ADMIN, and a
/// tracer that has no filter itself (ptrace(2), PTRACE_O_SUSPEND_SECCOMP).
pub const SUSPEND_FILTER: u64 = 1 << 21;

const PTRACE_GETSIGMASK: u32 = 0x420a;
const PTRACE_SETSIGMASK: u32 = 0x420b;
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const NT_PRSTATUS: u64 = 1;
const NT_X86_XSTATE: u64 = 0x202;

fn request(op: u32, tid: u32, addr: u64, data: u64) -> Result<u64, Errno> {
    // SAFETY: each caller passes an `addr`/`data` that is either a plain number for this request or the address of
    // a live local of the size that the request reads or writes.
    check(unsafe { libc::ptrace(op, tid.cast_signed(), addr, data) })
}

/// Attaches without stopping the task. Fails with EPERM when the task is already traced.
///
/// # Errors
/// The kernel's.
pub fn seize(tid: u32, options: u64) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, tid, 0, options).map(drop)
}

/// Changes the options of a stopped task.
///
/// # Errors
/// The kernel's.
pub fn set_options(tid: u32, options: u64) -> Result<(), Errno> {
    request(libc::PTRACE_SETOPTIONS, tid, 0, options).map(drop)
}

/// Asks a running task to stop; the stop is reported by wait.
///
/// # Errors
/// The kernel's.
pub fn interrupt(tid: u32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a stopped task go on, delivering `signal` (0: none).
///
/// # Errors
/// The kernel's.
pub fn resume(tid: u32, how: Resume, signal: i32) -> Result<(), Errno> {
    let op = match how {
        Resume::Cont => libc::PTRACE_CONT,
        Resume::Syscall => libc::PTRACE_SYSCALL,
        Resume::Step => libc::PTRACE_SINGLESTEP,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    request(op, tid, 0, u64::from(signal.unsigned_abs())).map(drop)
}

/// Lets a stopped task go and forgets it.
///
/// # Errors
/// The kernel's.
pub fn detach(tid: u32, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, tid, 0, u64::from(signal.unsigned_abs())).map(drop)
}

/// The number that belongs to the last event: a new task's id, an exit status, the filter's data.
///
/// # Errors
/// The kernel's.
pub fn event_message(tid: u32) -> Result<u64, Errno> {
    let mut message = 0u64;
    request(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message) as u64)?;
    Ok(message)
}

/// General registers of a stopped task.
///
/// # Errors
/// The kernel's.
pub fn registers(tid: u32) -> Result<Registers, Errno> {
    let mut regs = Registers::default();
    let mut iov = libc::iovec { iov_base: (&raw mut regs).cast(), iov_len: mem::size_of::<Registers>() };
    request(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, (&raw mut iov) as u64)?;
    Ok(regs)
}

/// Sets them, with fs and gs base.
///
/// # Errors
/// The kernel's.
pub fn set_registers(tid: u32, regs: &Registers) -> Result<(), Errno> {
    let mut copy = *regs;
    let mut iov = libc::iovec { iov_base: (&raw mut copy).cast(), iov_len: mem::size_of::<Registers>() };
    request(libc::PTRACE_SETREGSET, tid, NT_PRSTATUS, (&raw mut iov) as u64).map(drop)
}

/// The whole XSAVE area: x87, SSE, AVX, AVX-512, PKRU.
///
/// # Errors
/// The kernel's.
pub fn xstate(tid: u32) -> Result<Vec<u8>, Errno> {
    let mut area = vec![0u8; XSTATE_BYTES_MAX];
    let mut iov = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
    request(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, (&raw mut iov) as u64)?;
    area.truncate(iov.iov_len);
    Ok(area)
}

/// Sets it. EFAULT: shorter than this processor's area; EINVAL: a component that this processor lacks.
///
/// # Errors
/// The kernel's.
pub fn set_xstate(tid: u32, area: &[u8]) -> Result<(), Errno> {
    let mut iov = libc::iovec { iov_base: area.as_ptr().cast_mut().cast(), iov_len: area.len() };
    request(libc::PTRACE_SETREGSET, tid, NT_X86_XSTATE, (&raw mut iov) as u64).map(drop)
}

/// The blocked signals of a stopped task, bit n-1 for signal n.
///
/// # Errors
/// The kernel's.
pub fn signal_mask(tid: u32) -> Result<u64, Errno> {
    let mut mask = 0u64;
    request(PTRACE_GETSIGMASK, tid, 8, (&raw mut mask) as u64)?;
    Ok(mask)
}

/// Sets them.
///
/// # Errors
/// The kernel's.
pub fn set_signal_mask(tid: u32, mask: u64) -> Result<(), Errno> {
    let copy = mask;
    request(PTRACE_SETSIGMASK, tid, 8, (&raw const copy) as u64).map(drop)
}

/// What is known of the signal at whose delivery the task stopped. EINVAL in a group-stop.
///
/// # Errors
/// The kernel's.
pub fn signal_info(tid: u32) -> Result<SigInfo, Errno> {
    let mut info = SigInfo([0; 128]);
    request(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info.0) as u64)?;
    Ok(info)
}

/// Replaces it: the only way to give a signal the `si_code` of a kernel's one.
///
/// # Errors
/// The kernel's.
pub fn set_signal_info(tid: u32, info: &SigInfo) -> Result<(), Errno> {
    let copy = *info;
    request(libc::PTRACE_SETSIGINFO, tid, 0, (&raw const copy.0) as u64).map(drop)
}

/// Which queue `pending_signals` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Signals sent to this thread.
    Thread,
    /// Signals sent to the whole process.
    Process,
}

/// Signals that wait, oldest first, without taking them.
///
/// # Errors
/// The kernel's.
pub fn pending_signals(tid: u32, queue: Queue) -> Result<Vec<SigInfo>, Errno> {
    #[repr(C)]
    struct Args {
        offset: u64,
        flags: u32,
        count: i32,
    }
    let mut found = Vec::new();
    while found.len() < PENDING_SIGNALS_MAX {
        let args = Args { offset: found.len() as u64, flags: u32::from(queue == Queue::Process), count: 1 };
        let mut info = SigInfo([0; 128]);
        let got = request(libc::PTRACE_PEEKSIGINFO, tid, (&raw const args) as u64, (&raw mut info.0) as u64)?;
        if got == 0 {
            break;
        }
        found.push(info);
    }
    Ok(found)
}

/// The rseq registration of a stopped task.
///
/// # Errors
/// The kernel's.
pub fn rseq_area(tid: u32) -> Result<RseqArea, Errno> {
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        pointer: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut found = Configuration::default();
    let size = mem::size_of::<Configuration>() as u64;
    request(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, (&raw mut found) as u64)?;
    Ok(RseqArea { pointer: found.pointer, size: found.size, signature: found.signature })
}

/// Head and length of a thread's robust futex list, as `set_robust_list` was told.
///
/// # Errors
/// The kernel's.
pub fn robust_list(tid: u32) -> Result<(u64, u64), Errno> {
    let (mut head, mut len) = (0u64, 0u64);
    // SAFETY: the kernel writes one word to each of the two locals.
    check(unsafe {
        libc::syscall(libc::SYS_get_robust_list, tid.cast_signed(), &raw mut head, &raw mut len)
    })?;
    Ok((head, len))
}

/// Larger than any XSAVE area of an x86_64 processor (AMX included: about 11 KiB).
const XSTATE_BYTES_MAX: usize = 16 * 1024;

/// `si_code` of the trap behind a single step.
const TRAP_TRACE: i32 = 2;

/// Signals that instructions raise. Were one of these blocked when the kernel raises it, it would take the program's
/// handler away.
pub const FAULTS: u64 =
    bit(libc::SIGSEGV) | bit(libc::SIGBUS) | bit(libc::SIGILL) | bit(libc::SIGFPE) | bit(libc::SIGTRAP);

/// More signals than this are not carried along; RLIMIT_SIGPENDING is of the same order.
const PENDING_SIGNALS_MAX: usize = 4096;
