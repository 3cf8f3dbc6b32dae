//! One thread of a foreign process lent to us: system calls injected into it, everything put back at the end.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::landing::{HealingArea, Landing, TRAP_BYTES, TRAP_CODE};
use crate::sys::Errno;
use crate::sys::ptrace::{EXIT_KILL, NO_CALL, OPTIONS, Registers, Resume, SUSPEND_FILTER};
use crate::sys::signal::{self, bit};
use crate::sys::wait::Event;
use crate::tracee::{Stopped, TraceError, Waiter};

/// A stopped thread in which calls can be executed.
///
/// Signals stay queued meanwhile (its mask is full), but for SIGSTOP, which no mask holds back, and SIGTRAP, by which a
/// call ends: they are sent again when the thread is given back. Whoever waits for the stop of a process would else wait for good. Only calls that return
/// at once may be made: the tracing thread waits for them. Dropping it without [`Remote::leave`] is for threads that
/// will never run their own code again.
#[derive(Debug)]
pub struct Remote<'w> {
    waiter: &'w Waiter,
    task: Option<Stopped>,
    landing: Landing,
    /// Where the thread heals itself, if it can.
    heal_at: Option<u64>,
    /// Its filter is out of force until it is given back.
    unfiltered: bool,
    registers: Registers,
    mask: u64,
    /// Signals that came meanwhile although they were not wanted, bit n-1 for signal n.
    owed: Cell<u64>,
}

impl<'w> Remote<'w> {
    /// Borrows a thread of a process that may still have to live on without us.
    ///
    /// # Errors
    /// When the thread dies meanwhile.
    pub fn healing(waiter: &'w Waiter, task: Stopped, area: &HealingArea) -> Result<Remote<'w>, TraceError> {
        let tid = task.tid();
        let registers = task.registers()?;
        let mask = task.mask()?;
        area.arm(&registers, mask).map_err(|_| TraceError::Died(tid))?;
        // From here on the thread heals itself wherever it is let loose, so the mask may be filled.
        task.set_registers(&Registers { rip: area.heal_at(), orig_rax: NO_CALL, ..registers })?;
        task.set_mask(ALL_SIGNALS)?;
        let heal_at = Some(area.heal_at());
        let (task, landing, owed) = (Some(task), area.landing(), Cell::new(0));
        Ok(Remote { waiter, task, landing, heal_at, unfiltered: false, registers, mask, owed })
    }

    /// Borrows a thread of a process that cannot live without us: a deputy, or a body that is being built.
    ///
    /// # Errors
    /// When the thread dies meanwhile.
    pub fn trapping(waiter: &'w Waiter, task: Stopped, syscall_at: u64) -> Result<Remote<'w>, TraceError> {
        Remote::landing(waiter, task, Landing::Trap(syscall_at))
    }

    /// Borrows a thread of a body, whose filter lets the calls through that are made here, and no other: it is out of
    /// force for this one thread, by its tracer's will, until the thread is given back. So the filter itself knows of no
    /// address whose calls it would let through, and the body has nowhere to jump to.
    ///
    /// The code is written anew, since the body may have put its own there; whoever could write there must stand still.
    ///
    /// # Errors
    /// When the thread dies meanwhile, the body has taken the page away, or the kernel does not let this process suspend
    /// filters.
    pub fn unfiltered(
        waiter: &'w Waiter,
        task: Stopped,
        (memory, syscall_at): (&File, u64),
    ) -> Result<Remote<'w>, TraceError> {
        memory.write_all_at(&TRAP_CODE, syscall_at).map_err(|error| TraceError::Kernel {
            what: "writing homing's code",
            tid: task.tid(),
            errno: error.into(),
        })?;
        task.set_options(OPTIONS | EXIT_KILL | SUSPEND_FILTER)?;
        Ok(Remote { unfiltered: true, ..Remote::trapping(waiter, task, syscall_at)? })
    }

    /// Borrows a thread by way of a `syscall` instruction of its own program text.
    ///
    /// # Errors
    /// When the thread dies meanwhile.
    pub fn stepping(waiter: &'w Waiter, task: Stopped, syscall_at: u64) -> Result<Remote<'w>, TraceError> {
        Remote::landing(waiter, task, Landing::Stepped(syscall_at))
    }

    fn landing(waiter: &'w Waiter, task: Stopped, landing: Landing) -> Result<Remote<'w>, TraceError> {
        let registers = task.registers()?;
        let mask = task.mask()?;
        // A trap that is blocked when it comes takes the program's handler for it away (measured).
        let closed =
            if let Landing::Trap(_) = landing { ALL_SIGNALS & !bit(libc::SIGTRAP) } else { ALL_SIGNALS };
        task.set_mask(closed)?;
        let (task, owed) = (Some(task), Cell::new(0));
        Ok(Remote { waiter, task, landing, heal_at: None, unfiltered: false, registers, mask, owed })
    }

    /// The thread's own code is done with its stack. While its stack pointer is in the alternate stack, the kernel refuses
    /// to disable that one (EPERM, sigaltstack(2)), as it does for a thread that was stopped in a signal handler.
    pub(crate) fn without_stack(&mut self) {
        self.registers.rsp = 0;
    }

    /// The thread's id here.
    pub(crate) fn tid(&self) -> u32 {
        self.task.as_ref().map_or(0, Stopped::tid)
    }

    /// The registers with which the thread was borrowed.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The signal mask with which the thread was borrowed.
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// Executes one call and returns what the kernel returned.
    ///
    /// # Errors
    /// [`TraceError`] when the thread did not come back; the inner error is the call's own.
    pub fn call(&mut self, nr: i64, args: [u64; 6]) -> Result<Result<u64, Errno>, TraceError> {
        let Some(task) = self.task.take() else { return Err(TraceError::Died(0)) };
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        let (Landing::Stepped(rip) | Landing::Trap(rip)) = self.landing;
        let rax = nr.cast_unsigned();
        let entered = Registers { rax, rdi, rsi, rdx, r10, r8, r9, rip, orig_rax: NO_CALL, ..self.registers };
        task.set_registers(&entered)?;
        let task = match self.landing {
            Landing::Stepped(_) => {
                let task = self.until(task, Resume::Syscall, Event::Syscall)?;
                self.until(task, Resume::Syscall, Event::Syscall)?
            }
            Landing::Trap(_) => self.until(task, Resume::Cont, Event::Signal(libc::SIGTRAP))?,
        };
        let result = task.registers()?.rax.cast_signed();
        self.task = Some(task);
        Ok(match result {
            -4095..=-1 => Err(Errno(i32::try_from(-result).unwrap_or(libc::EIO))),
            value => Ok(value.cast_unsigned()),
        })
    }

    /// [`Remote::call`] for a call that must succeed.
    ///
    /// # Errors
    /// Also when the kernel refuses the call.
    pub fn must(&mut self, what: &'static str, nr: i64, args: [u64; 6]) -> Result<u64, TraceError> {
        let tid = self.tid();
        self.call(nr, args)?.map_err(|errno| TraceError::Kernel { what, tid, errno })
    }

    /// Gives the thread back as it was taken, still stopped.
    ///
    /// # Errors
    /// When it is gone.
    pub fn leave(mut self) -> Result<Stopped, TraceError> {
        let Some(task) = self.task.take() else { return Err(TraceError::Died(0)) };
        if let Some(rip) = self.heal_at {
            task.set_registers(&Registers { rip, orig_rax: NO_CALL, ..self.registers })?;
        }
        self.filter_again(&task)?;
        task.set_mask(self.mask)?;
        task.set_registers(&self.registers)?;
        self.send_again(&task);
        Ok(task)
    }

    /// Gives the thread back where the last call left it, for a caller that sets its registers and mask itself.
    ///
    /// # Errors
    /// When a call before this one lost it.
    pub fn release(mut self) -> Result<Stopped, TraceError> {
        let task = self.task.take().ok_or(TraceError::Died(0))?;
        self.filter_again(&task)?;
        self.send_again(&task);
        Ok(task)
    }

    fn filter_again(&self, task: &Stopped) -> Result<(), TraceError> {
        if self.unfiltered { task.set_options(OPTIONS | EXIT_KILL) } else { Ok(()) }
    }

    fn send_again(&self, task: &Stopped) {
        let owed = self.owed.take();
        for number in [libc::SIGSTOP, libc::SIGTRAP] {
            if owed & bit(number) != 0 {
                // A thread that is gone needs none.
                let _ = signal::tkill(task.tid(), number);
            }
        }
    }

    fn until(&self, task: Stopped, how: Resume, wanted: Event) -> Result<Stopped, TraceError> {
        let mut task = task.resume(how, 0)?;
        for _ in 0..STOPS_MAX {
            let (stopped, event) = self.waiter.next(task)?;
            // The trap of an earlier call may still have been on its way when that thread was stopped.
            let is_ours = match self.landing {
                Landing::Trap(start) if event == wanted => stopped.registers()?.rip == start + TRAP_BYTES,
                _ => true,
            };
            if event == wanted && is_ours {
                return Ok(stopped);
            }
            if event == Event::Exec {
                // Another thread has started a new program, which has this one's id.
                return Err(self.waiter.keep(stopped.tid(), event));
            }
            match event {
                Event::Signal(libc::SIGSTOP) => self.owed.set(self.owed.get() | bit(libc::SIGSTOP)),
                // The kernel's own are of `int3`; anybody else's is the program's.
                Event::Signal(libc::SIGTRAP) if stopped.signal_info()?.code() <= 0 => {
                    self.owed.set(self.owed.get() | bit(libc::SIGTRAP));
                }
                _ => {}
            }
            // A stop that was asked for before, or a group-stop: the call goes on all the same.
            task = stopped.resume(how, 0)?;
        }
        // A body that has made the page of the code unusable: each try ends with a fault.
        Err(TraceError::Kernel { what: "an injected call", tid: task.tid(), errno: Errno(libc::EFAULT) })
    }
}

/// Of other kinds, during one call: some for each signal that job control and debuggers may send.
const STOPS_MAX: u32 = 10_000;

/// Every signal blocked; the kernel leaves SIGKILL and SIGSTOP out of it.
pub const ALL_SIGNALS: u64 = u64::MAX;

/// The arguments that have `mremap` move a whole mapping, over whatever is there.
pub(crate) fn moving(from: u64, size: u64, to: u64) -> [u64; 6] {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    [from, size, size, flags, to, 0]
}
