//! New threads and processes: home makes its half first and gives the id, the guest makes the other half under it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use bytes::Bytes;
use migration::sys::ptrace::{Registers, Resume};
use migration::tracee::{Running, Stopped};

use super::calls::skip;
use super::memory::View;
use super::state::{Birth, BodyProcess, Effect, Standing, Thread, Trapped};
use super::{Guest, low_u32, running, waits};
use crate::protocol::FromBody;
use crate::syscall::marshal::Memory;

impl Guest {
    /// A thread stands before a clone of any kind.
    pub(super) fn give_birth(&mut self, tid: u32, task: Stopped, registers: &Registers) -> Standing {
        let granted = self.threads.get(&tid).is_some_and(|thread| thread.birth.is_some());
        if granted && self.births_area().contains(&registers.rdi) {
            // A signal came between home's half and this one: the kernel makes the call again, and home knows already.
            return running(task.resume(Resume::Cont, 0));
        }
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let (birth, exit_signal) = match request(registers, &View::of(process)) {
            Ok(request) => request,
            Err(errno) => {
                if errno == libc::ENOSYS {
                    *self.refused.entry("clone with new namespaces or a pidfd").or_default() += 1;
                }
                return skip(task, registers, -i64::from(errno));
            }
        };
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        thread.seq += 1;
        let seq = thread.seq;
        if !self.gives_birth() {
            // They were told of in vain: their pids may be others' by now.
            self.stillborn.clear();
        }
        self.send(tid, FromBody::Birth { seq, flags: birth.flags, exit_signal }, Bytes::new());
        waits(task, Trapped::Birth(Box::new(birth)))
    }

    /// Home has made its half, under this id.
    pub(super) fn birth_granted(&mut self, tid: u32, task: Stopped, birth: Birth, result: i64) -> Standing {
        let Ok(child) = u32::try_from(result) else { return skip(task, &birth.registers, result) };
        self.births += 1;
        let at = self.births_area().start + self.births % AREAS * AREA_BYTES;
        let flags = birth.flags | if is_thread(birth.flags) { 0 } else { CLONE_PARENT };
        let words: [u64; 11] = [
            flags,
            0,
            birth.child_tid,
            birth.parent_tid,
            0,
            birth.stack,
            birth.stack_size,
            birth.tls,
            at + CLONE_ARGS_BYTES,
            1,
            0,
        ];
        let mut area = words.map(u64::to_le_bytes).concat();
        area.extend_from_slice(&child.to_le_bytes());
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        if process.memory.write_all_at(&area, at).is_err() {
            return Standing::Lost;
        }
        let entered = Registers {
            orig_rax: libc::SYS_clone3.cast_unsigned(),
            rax: libc::SYS_clone3.cast_unsigned(),
            rdi: at,
            rsi: CLONE_ARGS_BYTES,
            ..birth.registers
        };
        if task.set_registers(&entered).is_err() {
            return Standing::Lost;
        }
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.birth = Some(Birth { tid: child, ..birth });
        }
        running(task.resume(Resume::Cont, 0))
    }

    /// The guest's kernel has made the other half.
    pub(super) fn born(&mut self, tid: u32, task: Stopped) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        let Some(birth) = thread.birth.take() else { return running(task.resume(Resume::Cont, 0)) };
        let (Ok(outer), Ok(registers)) = (task.event_message().map(low_u32), task.registers()) else {
            return Standing::Lost;
        };
        let pid = thread.pid;
        thread.lends_memory_to = (birth.flags & CLONE_VFORK != 0).then_some(birth.tid);
        let own = (birth.registers.rdi, birth.registers.rsi);
        let restored = Registers { rdi: own.0, rsi: own.1, ..registers };
        if task.set_registers(&restored).is_err() {
            return Standing::Lost;
        }
        let child_pid = if is_thread(birth.flags) { pid } else { birth.tid };
        if child_pid != pid {
            self.take_child(pid, child_pid, outer, birth.flags);
        }
        let mut child = Thread::new(child_pid, outer, 0, Standing::Arriving(Running::attached(outer)));
        child.first_registers = Some(own);
        self.threads.insert(birth.tid, child);
        self.by_outer.insert(outer, birth.tid);
        self.effects.push_back(Effect::Attach { pid: child_pid, tid: birth.tid });
        if self.early.remove(&outer) {
            let next = self.arrived(birth.tid, Running::attached(outer).stopped());
            self.stand(birth.tid, next);
        }
        running(task.resume(Resume::Cont, 0))
    }

    /// The first stop of a new task.
    pub(super) fn arrived(&mut self, tid: u32, task: Stopped) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        if let Some((rdi, rsi)) = thread.first_registers.take() {
            let set = task
                .registers()
                .and_then(|registers| task.set_registers(&Registers { rdi, rsi, ..registers }));
            if set.is_err() {
                return Standing::Lost;
            }
        }
        running(task.resume(Resume::Cont, 0))
    }

    /// Where the arguments of granted births lie.
    fn births_area(&self) -> Range<u64> {
        let start = self.foothold.scratch() + SCRATCH_AREA;
        start..start + AREAS * AREA_BYTES
    }

    fn take_child(&mut self, parent: u32, pid: u32, outer: u32, flags: u64) {
        // The kernel has reported the fork before it went on with it.
        self.serve(parent);
        let Some(process) = self.processes.get_mut(&parent) else { return };
        let own_memory = flags & CLONE_VM == 0;
        let uffd = match process.forked_uffd.take() {
            Some(fd) if own_memory => Rc::new(fd),
            _ => Rc::clone(&process.uffd),
        };
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{outer}/mem"));
        let pidfd = migration::sys::pidfd::open(outer);
        let (Ok(memory), Ok(pidfd)) = (memory, pidfd) else { return };
        let child = BodyProcess {
            outer,
            pidfd: Rc::new(pidfd),
            memory: Rc::new(memory),
            uffd: Rc::clone(&uffd),
            vdso: process.vdso.clone(),
            listener: Rc::clone(&process.listener),
            from_home: process.from_home.clone(),
            borrows_memory: !own_memory,
            written: if own_memory { process.written.forked() } else { process.written.clone() },
            fetching: BTreeMap::new(),
            forked_uffd: None,
            ending: false,
        };
        if own_memory {
            self.effects.push_back(Effect::Serve { pid, uffd });
        }
        self.processes.insert(pid, child);
        if self.stillborn.remove(&pid) {
            self.end(pid);
        }
    }

    /// Whether some thread is in the middle of a clone.
    pub(super) fn gives_birth(&self) -> bool {
        self.threads.values().any(|thread| {
            thread.birth.is_some() || matches!(thread.standing, Standing::Trapped(_, Trapped::Birth(_)))
        })
    }
}

/// What the program asks for, in one form for all four calls, and the child's exit signal.
fn request(registers: &Registers, memory: &impl Memory) -> Result<(Birth, u32), i32> {
    let r = registers;
    let plain = Birth {
        flags: 0,
        stack: 0,
        stack_size: 0,
        parent_tid: 0,
        child_tid: 0,
        tls: 0,
        registers: *r,
        tid: 0,
    };
    let sigchld = libc::SIGCHLD.unsigned_abs();
    let (birth, exit_signal) = match r.orig_rax.cast_signed() {
        libc::SYS_fork => (plain, sigchld),
        libc::SYS_vfork => (Birth { flags: CLONE_VM | CLONE_VFORK, ..plain }, sigchld),
        libc::SYS_clone => {
            // clone(2) names the top of the stack, clone3(2) its base and size.
            let (stack, stack_size) = if r.rsi == 0 { (0, 0) } else { (r.rsi - STACK_STEP, STACK_STEP) };
            let flags = r.rdi & !EXIT_SIGNAL_BITS;
            let birth =
                Birth { flags, stack, stack_size, parent_tid: r.rdx, child_tid: r.r10, tls: r.r8, ..plain };
            (birth, low_u32(r.rdi & EXIT_SIGNAL_BITS))
        }
        _ => from_clone_args(r, memory, plain)?,
    };
    if birth.flags & (NAMESPACES | CLONE_PIDFD | CLONE_INTO_CGROUP) != 0 {
        return Err(libc::ENOSYS);
    }
    let flags = birth.flags & !(CLONE_DETACHED | CLONE_UNTRACED | CLONE_PTRACE);
    Ok((Birth { flags, ..birth }, exit_signal))
}

fn from_clone_args(r: &Registers, memory: &impl Memory, plain: Birth) -> Result<(Birth, u32), i32> {
    let mut raw = [0; 64];
    if r.rsi < raw.len() as u64 {
        return Err(libc::EINVAL);
    }
    memory.read(r.rdi, &mut raw).map_err(|_| libc::EFAULT)?;
    let mut words = [0u64; 8];
    for (word, bytes) in words.iter_mut().zip(raw.chunks_exact(8)) {
        let mut part = [0; 8];
        part.copy_from_slice(bytes);
        *word = u64::from_le_bytes(part);
    }
    let [flags, _pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls] = words;
    Ok((Birth { flags, stack, stack_size, parent_tid, child_tid, tls, ..plain }, low_u32(exit_signal)))
}

fn is_thread(flags: u64) -> bool {
    flags & CLONE_THREAD != 0
}

const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PTRACE: u64 = 0x2000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_DETACHED: u64 = 0x40_0000;
const CLONE_UNTRACED: u64 = 0x80_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// New namespaces of any kind.
const NAMESPACES: u64 = 0x7e02_0080;
const EXIT_SIGNAL_BITS: u64 = 0xff;
const STACK_STEP: u64 = 16;

/// Arguments of clones in progress lie behind the area that building a body uses.
const SCRATCH_AREA: u64 = 0x8000;
const AREA_BYTES: u64 = 128;
const AREAS: u64 = 128;
const CLONE_ARGS_BYTES: u64 = 88;
