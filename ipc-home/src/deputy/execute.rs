//! Doing one piece of work in a shadow thread, and telling how it ended.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;

use bytes::Bytes;
use migration::body::Work as Hands;
use migration::deputize::map_slot;
use migration::foothold::SLOT_BYTES;
use migration::graves::Graves;
use migration::image::SignalAction;
use migration::remote::Remote;
use migration::sys::procvm;
use migration::sys::ptrace::{NO_CALL, Registers, Resume};
use migration::tracee::{Running, Stopped, TraceError};

use super::burial::Burial;
use super::restart::interrupted_before;
use super::state::{Call, Effect, Home, Shadow, Thread, Work};
use super::{Deputy, low_half};
use crate::protocol::{FileClass, Issue, ToBody};
use crate::syscall::marshal::{Request, place};

impl Deputy {
    /// Starts a piece of work; the thread is lost when it dies meanwhile.
    pub(super) fn start(
        &mut self,
        thread: &mut Thread,
        task: Stopped,
        work: Work,
    ) -> Result<Shadow, TraceError> {
        let tid = task.tid();
        if let Some((seq, nr, first, issue)) = work.call()
            && !thread.unheard.is_empty()
        {
            // The body made the call before it heard of a signal that is on its way to it: the handler comes first.
            let result = interrupted_before(nr, issue, || file_class(thread.pid, first));
            tracing::debug!(tid, seq, nr, "a call has crossed a signal");
            self.answer(thread, tid, seq, result, FileClass::Other, Bytes::new());
            return Ok(thread.park(task));
        }
        match work {
            Work::Mask(mask) => {
                task.set_mask(mask)?;
                thread.mask = mask;
                Ok(thread.park(task))
            }
            Work::Action(signal, action) => {
                let task = self.mirror_action(thread, task, signal, action)?;
                Ok(thread.park(task))
            }
            Work::Call { seq, request, image, issue } => self.call(thread, task, seq, request, &image, issue),
            Work::Exec { seq, request, image } => self.call(thread, task, seq, request, &image, Issue::First),
            Work::MapFile { seq, args } => {
                let range = args[0]..args[0].saturating_add(args[1]);
                let home = self.processes.get(&thread.pid);
                let is_in_the_way = home.is_some_and(|home| home.burial.concerns(&range));
                let task = if is_in_the_way { self.bury_all(thread.pid, task)? } else { task };
                let call = Call::plain(seq, number(libc::SYS_mmap), args[4]);
                self.run(thread, task, libc::SYS_mmap, args, call)
            }
            Work::Birth { seq, flags, .. } if self.is_out_of_slots(thread.pid, flags) => {
                tracing::warn!(pid = thread.pid, "a thread was refused: too many are in the process");
                self.answer(thread, tid, seq, -i64::from(libc::EAGAIN), FileClass::Other, Bytes::new());
                Ok(thread.park(task))
            }
            Work::Birth { seq, flags, exit_signal } => {
                let args = [birth_flags(flags) | u64::from(exit_signal), 0, 0, 0, 0, 0];
                let call = Call::plain(seq, number(libc::SYS_clone), args[0]);
                self.run(thread, task, libc::SYS_clone, args, call)
            }
            Work::ThreadExit(status) => self.exit(task, libc::SYS_exit, status),
            Work::ProcessExit(status) => self.exit(task, libc::SYS_exit_group, status),
            Work::ProcessKilled(signal) => self.die_by(tid, thread, task, signal),
        }
    }

    fn call(
        &mut self,
        thread: &mut Thread,
        task: Stopped,
        seq: u64,
        request: Request,
        image: &Bytes,
        issue: Issue,
    ) -> Result<Shadow, TraceError> {
        let task = self.with_slot(thread, task)?;
        let base = self.foothold.slot(thread.slot);
        let nr = request.nr;
        let mut placed = match place(request, image, base, u32::try_from(SLOT_BYTES).unwrap_or(u32::MAX)) {
            Ok(placed) => placed,
            Err(refusal) => {
                tracing::warn!(tid = task.tid(), %refusal, "a call was refused");
                self.answer(thread, task.tid(), seq, -i64::from(libc::EIO), FileClass::Other, Bytes::new());
                return Ok(thread.park(task));
            }
        };
        if procvm::write(task.tid(), base, &placed.bytes).is_err() {
            return Err(TraceError::Died(task.tid()));
        }
        let wants_anchor = placed.anchor.is_some();
        let (task, anchor) = self.anchor(thread, task, &mut placed)?;
        let args = placed.args;
        let goes_on = issue == Issue::Resumed && thread.keeps_block && anchor.is_some() == wants_anchor;
        let executed = if goes_on { libc::SYS_restart_syscall } else { i64::from(nr) };
        let call = Call { placed: Some(placed), anchor, issue, ..Call::plain(seq, nr, args[0]) };
        self.run(thread, task, executed, args, call)
    }

    fn run(
        &mut self,
        thread: &mut Thread,
        task: Stopped,
        nr: i64,
        args: [u64; 6],
        call: Call,
    ) -> Result<Shadow, TraceError> {
        self.calls += 1;
        thread.keeps_block = false;
        self.launch_from(&thread.base(&task)?, &task, nr, args)?;
        Ok(Shadow::Calling(task.resume(Resume::Cont, 0)?, call))
    }

    /// Sets the registers so that the thread executes a call when it goes on.
    pub(super) fn launch(&self, task: &Stopped, nr: i64, args: [u64; 6]) -> Result<(), TraceError> {
        self.launch_from(&task.registers()?, task, nr, args)
    }

    /// The same, where the other registers are known.
    fn launch_from(
        &self,
        base: &Registers,
        task: &Stopped,
        nr: i64,
        args: [u64; 6],
    ) -> Result<(), TraceError> {
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        let rax = nr.cast_unsigned();
        let rip = self.foothold.code();
        task.set_registers(&Registers { rax, rdi, rsi, rdx, r10, r8, r9, rip, orig_rax: NO_CALL, ..*base })
    }

    /// Sends the result and what the kernel wrote.
    pub(super) fn finish(&mut self, thread: &mut Thread, tid: u32, call: Call, result: i64) {
        let base = self.foothold.slot(thread.slot);
        let collected = call.placed.as_ref().map_or_else(
            || Ok(Vec::new()),
            |placed| {
                placed.collect(result, |offset, part| {
                    let anchored = call.anchor.and_then(|anchor| anchor.address_of(offset, part.len()));
                    procvm::read(tid, anchored.unwrap_or(base + u64::from(offset)), part)
                })
            },
        );
        match collected {
            Ok(outputs) => {
                let file =
                    if result >= LARGE { file_class(thread.pid, call.first) } else { FileClass::Other };
                self.answer(thread, tid, call.seq, result, file, outputs.into());
            }
            // The process died; its end will be reported.
            Err(_) => tracing::debug!(tid, nr = call.nr, "the outputs of a call are gone with the process"),
        }
    }

    pub(super) fn answer(
        &mut self,
        thread: &mut Thread,
        tid: u32,
        seq: u64,
        result: i64,
        file: FileClass,
        tail: Bytes,
    ) {
        let message = ToBody::Return { seq, result, file };
        thread.replies.answered(seq, (message.clone(), tail.clone()));
        self.effects.push_back(Effect::Send { tid, message, tail });
    }

    /// The event of a clone in progress: takes in the new task.
    pub(super) fn born(&mut self, parent: &Thread, task: &Stopped) {
        let Ok(tid) = task.event_message().map(low_half) else { return };
        let is_process = fs::metadata(format!("/proc/{}/task/{tid}", parent.pid)).is_err();
        let pid = if is_process { tid } else { parent.pid };
        let mut child = Thread::new(pid, parent.slot, parent.mask, Shadow::Dozing(Running::attached(tid)));
        if is_process {
            let memory = fs::OpenOptions::new().read(true).write(true).open(format!("/proc/{tid}/mem"));
            let (Ok(memory), Some(home)) = (memory, self.processes.get(&parent.pid)) else { return };
            let copy = Home {
                memory,
                actions: home.actions.clone(),
                slots: home.slots.after_fork(parent.slot),
                anchored: home.anchored.clone(),
                // Nothing of what its parent is to give back was inherited.
                burial: Burial::of(Graves::default()),
            };
            self.processes.insert(tid, copy);
        } else if let Some(home) = self.processes.get_mut(&pid) {
            // None is left if several threads were being made when the last one was given out: the child's first call
            // then finds no room for its buffer, and the family ends rather than go on wrongly.
            child.slot = home.slots.take().unwrap_or(u32::MAX);
            child.slot_mapped = false;
        }
        if self.early.remove(&tid) {
            child.state = Shadow::Parked(Running::attached(tid).stopped());
        }
        self.threads.insert(tid, child);
    }

    /// Whether one more thread of this process would have no call buffer.
    fn is_out_of_slots(&self, pid: u32, flags: u64) -> bool {
        flags & CLONE_THREAD != 0 && self.processes.get(&pid).is_some_and(|home| home.slots.are_all_in_use())
    }

    fn with_slot(&self, thread: &mut Thread, task: Stopped) -> Result<Stopped, TraceError> {
        if thread.slot_mapped {
            return Ok(task);
        }
        let mask = task.mask()?;
        let mut remote = Remote::trapping(&self.waiter, task, self.foothold.code())?;
        map_slot(&mut remote, self.foothold, thread.slot)?;
        let task = remote.release()?;
        task.set_mask(mask)?;
        thread.slot_mapped = true;
        Ok(task)
    }

    /// Home's kernel must know what is ignored, what is not, and what becomes of children; handlers are the body's.
    fn mirror_action(
        &mut self,
        thread: &Thread,
        task: Stopped,
        signal: i32,
        action: SignalAction,
    ) -> Result<Stopped, TraceError> {
        let Some(home) = self.processes.get_mut(&thread.pid) else { return Ok(task) };
        let former = home.actions.insert(signal, action).unwrap_or_default();
        let seen = |action: SignalAction| (action.handler == IGNORE, action.flags & CHILD_FLAGS);
        if seen(former) == seen(action) {
            return Ok(task);
        }
        let memory = home.memory.try_clone().map_err(|_: io::Error| TraceError::Died(task.tid()))?;
        let mask = task.mask()?;
        let remote = Remote::trapping(&self.waiter, task, self.foothold.code())?;
        let mut hands = Hands { remote, memory, foothold: self.foothold };
        let handler = if action.handler == IGNORE { IGNORE } else { 0 };
        let mirrored = SignalAction { handler, restorer: 0, flags: action.flags & CHILD_FLAGS, mask: 0 };
        if hands.set_action(signal, mirrored).is_err() {
            tracing::debug!(signal, "a signal action was not mirrored");
        }
        let task = hands.remote.release()?;
        task.set_mask(mask)?;
        Ok(task)
    }
}

/// Flags that mean something to a deputy: the memory is copied, since a deputy's memory is small, and nothing is
/// written to the program's own addresses.
fn birth_flags(flags: u64) -> u64 {
    let flag = |bit: i32| u64::from(bit.unsigned_abs());
    if flags & CLONE_THREAD != 0 {
        return flag(libc::CLONE_VM)
            | flag(libc::CLONE_FS)
            | flag(libc::CLONE_FILES)
            | flag(libc::CLONE_SIGHAND)
            | CLONE_THREAD
            | flag(libc::CLONE_SYSVSEM);
    }
    flags
        & (flag(libc::CLONE_FS)
            | flag(libc::CLONE_FILES)
            | flag(libc::CLONE_SYSVSEM)
            | flag(libc::CLONE_PARENT))
}

/// What a descriptor of the deputy is.
pub(super) fn file_class(pid: u32, fd: u64) -> FileClass {
    let Ok(seen) = fs::metadata(format!("/proc/{pid}/fd/{fd}")) else { return FileClass::Other };
    let kind = seen.file_type();
    if kind.is_file() || kind.is_block_device() {
        FileClass::Regular
    } else if kind.is_socket() {
        FileClass::Stream
    } else {
        FileClass::Other
    }
}

fn number(nr: i64) -> u32 {
    u32::try_from(nr).unwrap_or(u32::MAX)
}

/// Only a call of this size can be a piece of a larger one.
const LARGE: i64 = 128 * 1024;
const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
const IGNORE: u64 = 1;
const CHILD_FLAGS: u64 = (libc::SA_NOCLDSTOP | libc::SA_NOCLDWAIT) as u64;
