//! Stopping every thread of a process, and letting all of them go again.

use std::io;

use crate::landing::without_leak;
use crate::procfs;
use crate::sys::ptrace::{OPTIONS, Resume, SigInfo};
use crate::sys::wait::Event;
use crate::tracee::{Running, Stopped, TraceError, Waiter};
use crate::vdso::Vdso;
use crate::waits::Waits;

/// Why a process was not frozen; it runs on as before.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// It is gone, or not readable.
    #[error("reading the threads of process {0}")]
    Threads(u32, #[source] io::Error),
    /// Stopped by job control.
    #[error("process {0} is stopped by signal {1}; continue it first (kill -CONT {0})")]
    JobStopped(u32, i32),
    /// Threads appear faster than they can be stopped.
    #[error("process {0} creates threads faster than they can be stopped")]
    Restless(u32),
    /// A thread could not be attached or stopped.
    #[error(
        "a thread of process {0} cannot be stopped; it is traced by a debugger, waits for a vfork child or sleeps in the kernel"
    )]
    Thread(u32, #[source] TraceError),
}

/// A thread that was stopped where it was.
#[derive(Debug)]
pub struct FrozenThread {
    /// The thread.
    pub task: Stopped,
    /// The signal that was about to be delivered: it must not get lost.
    pub signal: Option<SigInfo>,
}

/// A process whose threads all stand still.
#[derive(Debug)]
pub struct Frozen {
    /// Its pid.
    pub pid: u32,
    /// The leader first, then by thread id.
    pub threads: Vec<FrozenThread>,
    /// What the threads waited for just before, as far as their registers will not tell it.
    pub waits: Waits,
}

impl Frozen {
    /// Attaches to and stops every thread.
    ///
    /// # Errors
    /// When one of them cannot be stopped; all others run on.
    pub fn new(pid: u32, waiter: &Waiter) -> Result<Frozen, FreezeError> {
        let waits = Waits::of(pid);
        let mut frozen = Frozen { pid, threads: Vec::new(), waits };
        for _ in 0..ROUNDS_MAX {
            match frozen.stop_new_threads(waiter) {
                // The kernel leaves threads out of a list that is read while another one ends.
                Ok(0) if has_more_threads(pid, frozen.threads.len()) => std::thread::yield_now(),
                Ok(0) => {
                    // Thread ids wrap round, so the leader's need not be the lowest.
                    frozen.threads.sort_by_key(|thread| (thread.task.tid() != pid, thread.task.tid()));
                    return Ok(frozen);
                }
                Ok(_) => {}
                Err(error) => {
                    frozen.thaw();
                    return Err(error);
                }
            }
        }
        frozen.thaw();
        Err(FreezeError::Restless(pid))
    }

    /// Lets every thread go, untraced, with the signal that was on its way; what an instruction has raised it will raise
    /// again.
    pub fn thaw(self) {
        for thread in self.threads {
            // A thread that has died needs no letting go.
            let _ = hide_interruption(&thread.task);
            let _ = thread
                .task
                .detach(thread.signal.filter(|info| !info.is_fault()).map_or(0, |info| info.signo()));
        }
    }

    fn stop_new_threads(&mut self, waiter: &Waiter) -> Result<usize, FreezeError> {
        let pid = self.pid;
        let mut seized = Vec::new();
        for tid in procfs::threads(pid).map_err(|error| FreezeError::Threads(pid, error))? {
            if self.threads.iter().any(|thread| thread.task.tid() == tid) {
                continue;
            }
            // Without options: were a process or thread born between here and the stop, it would be traced as well, and
            // nobody would ever let it go.
            match Running::seize(tid, 0).and_then(|task| task.interrupt().map(|()| task)) {
                Ok(task) => seized.push(task),
                Err(TraceError::Died(_)) => {}
                // EPERM: the kernel attaches to no thread that is on its way out.
                Err(_) if tid != pid && has_ended(pid, tid) => {}
                Err(error) => {
                    self.take(seized, waiter);
                    return Err(FreezeError::Thread(pid, error));
                }
            }
        }
        let count = seized.len();
        self.take(seized, waiter).map_or(Ok(count), Err)
    }

    /// Waits for each one's stop; all are waited for, also after a failure, so that thawing reaches all.
    fn take(&mut self, seized: Vec<Running>, waiter: &Waiter) -> Option<FreezeError> {
        let mut failure = None;
        let vdso = if seized.is_empty() { None } else { Vdso::of(self.pid).ok() };
        for task in seized {
            let stopped = waiter.next(task).and_then(|(task, event)| match &vdso {
                Some(vdso) if event == Event::Stop(libc::SIGTRAP) => outside(task, vdso, waiter),
                _ => Ok((task, event)),
            });
            let stopped = stopped.and_then(|(task, event)| task.set_options(OPTIONS).map(|()| (task, event)));
            match stopped {
                Ok((task, event)) => {
                    let signal = match event {
                        Event::Signal(_) => task.signal_info().ok(),
                        _ => None,
                    };
                    if let Event::Stop(signal) = event
                        && signal != libc::SIGTRAP
                    {
                        failure = Some(FreezeError::JobStopped(self.pid, signal));
                    }
                    self.threads.push(FrozenThread { task, signal });
                }
                Err(TraceError::Died(_)) => {}
                Err(error) => failure = Some(FreezeError::Thread(self.pid, error)),
            }
        }
        failure
    }
}

/// Lets a thread go on for a moment, and again, until it stops outside of the vdso; still without options, for what it may
/// do in that moment. One that does little else than
/// read clocks is taken where it is in the end, which is safe but for two instructions, see [`crate::vdso`].
fn outside(mut task: Stopped, vdso: &Vdso, waiter: &Waiter) -> Result<(Stopped, Event), TraceError> {
    for _ in 0..STOPS_MAX {
        if !vdso.holds(&task.registers()?) {
            break;
        }
        let running = task.resume(Resume::Cont, 0)?;
        running.interrupt()?;
        let (stopped, event) = waiter.next(running)?;
        if event != Event::Stop(libc::SIGTRAP) {
            return Ok((stopped, event));
        }
        task = stopped;
    }
    Ok((task, Event::Stop(libc::SIGTRAP)))
}

/// Whether the process has more threads than so many, those not counted that have ended.
fn has_more_threads(pid: u32, known: usize) -> bool {
    let count = procfs::stat_field(pid, THREADS_FIELD).unwrap_or(0);
    let more = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(known);
    let ended = || procfs::threads(pid).unwrap_or_default().into_iter().filter(|tid| has_ended(pid, *tid));
    more > 0 && more > ended().count()
}

/// Whether a thread is a zombie, or gone.
fn has_ended(pid: u32, tid: u32) -> bool {
    procfs::state(&format!("{pid}/task/{tid}")).map_or(true, |state| matches!(state, 'Z' | 'X'))
}

/// A call that ended early only because of the freeze goes on.
fn hide_interruption(task: &Stopped) -> Result<(), TraceError> {
    let registers = task.registers()?;
    let settled = without_leak(registers);
    if settled == registers { Ok(()) } else { task.set_registers(&settled) }
}

/// Passes over the thread list before giving up on a process that never stands still.
const ROUNDS_MAX: usize = 100;

/// `num_threads` in proc(5)'s list for `stat`.
const THREADS_FIELD: usize = 20;

/// Stops of a thread that is met in the vdso again and again, each of some microseconds.
const STOPS_MAX: usize = 20;
