//! File mappings made while away: addresses are the guest's, pages are home's.
//!
//! The body takes anonymous memory at an address that its own kernel finds; home maps the file at the same address in
//! the deputy; the pages are fetched when they are touched.

use std::os::fd::AsFd;
use std::rc::Rc;

use bytes::Bytes;
use migration::remote::Remote;
use migration::sys::ptrace::{Registers, Resume};
use migration::sys::uffd::{self, Watch};
use migration::sys::wait::Event;
use migration::tracee::Stopped;

use super::calls::{arguments, skip};
use super::state::{Standing, Trapped};
use super::{Guest, running, waits};
use crate::protocol::FromBody;

impl Guest {
    /// A thread stands before an `mmap` of a file, or of memory that would tie the body to this guest.
    pub(super) fn map_file(&mut self, tid: u32, task: Stopped, registers: &Registers) -> Standing {
        let args = arguments(registers);
        let [addr, length, protection, flags, ..] = args;
        if let Some((what, errno)) = refusal(protection, flags) {
            *self.refused.entry(what).or_default() += 1;
            return skip(task, registers, -i64::from(errno));
        }
        if flags & FIXED != 0 && flags & FIXED_NOREPLACE != FIXED_NOREPLACE {
            // What is there now must stay if home refuses, so home goes first.
            return self.map_at_home(tid, task, addr, length, args, false);
        }
        // The body's own kernel finds the place.
        let anonymous =
            Registers { r10: flags & !TYPE | PRIVATE | ANONYMOUS, r8: u64::MAX, r9: 0, ..*registers };
        if task.set_registers(&anonymous).is_err() {
            return Standing::Lost;
        }
        task.resume(Resume::Syscall, 0).map_or(Standing::Lost, |task| Standing::Mapping(task, args))
    }

    /// The body's kernel has given addresses (or not).
    pub(super) fn mapped_here(&mut self, tid: u32, task: Stopped, args: [u64; 6], event: Event) -> Standing {
        if event != Event::Syscall {
            return task
                .resume(Resume::Syscall, 0)
                .map_or(Standing::Lost, |task| Standing::Mapping(task, args));
        }
        let Ok(registers) = task.registers() else { return Standing::Lost };
        let [_, length, _, flags, fd, offset] = args;
        // The argument registers must not show what was done to them.
        let restored = Registers { r10: flags, r8: fd, r9: offset, ..registers };
        if task.set_registers(&restored).is_err() {
            return Standing::Lost;
        }
        if registers.rax.cast_signed() < 0 {
            return running(task.resume(Resume::Cont, 0));
        }
        self.map_at_home(tid, task, registers.rax, length, args, true)
    }

    fn map_at_home(
        &mut self,
        tid: u32,
        task: Stopped,
        addr: u64,
        length: u64,
        args: [u64; 6],
        at_exit: bool,
    ) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        thread.seq += 1;
        let seq = thread.seq;
        let [_, _, protection, flags, fd, offset] = args;
        let args = [addr, length, protection, flags & !FIXED_NOREPLACE & !POPULATE | FIXED, fd, offset];
        self.send(tid, FromBody::MapFile { seq, args }, Bytes::new());
        waits(task, Trapped::Map { addr, length, at_exit })
    }

    /// Home has mapped the file (or not).
    pub(super) fn mapped_at_home(
        &mut self,
        tid: u32,
        task: Stopped,
        addr: u64,
        length: u64,
        at_exit: bool,
        result: i64,
    ) -> Standing {
        let length = length.next_multiple_of(PAGE);
        let Ok(registers) = task.registers() else { return Standing::Lost };
        let refused = (-4095..0).contains(&result);
        if refused && !at_exit {
            return skip(task, &registers, result);
        }
        let waiter = Rc::clone(&self.waiter);
        let Ok(mut remote) = Remote::trapping(&waiter, task, self.foothold.code()) else {
            return Standing::Lost;
        };
        let done = if refused {
            remote.must("giving addresses back", libc::SYS_munmap, [addr, length, 0, 0, 0, 0])
        } else if at_exit {
            Ok(addr)
        } else {
            let flags = PRIVATE | ANONYMOUS | FIXED;
            remote.must("mapping", libc::SYS_mmap, [addr, length, registers.rdx, flags, u64::MAX, 0])
        };
        let watched = refused || done.is_ok() && self.watch(tid, addr, length);
        // Whoever reads the body's memory for a move may have read here a moment ago, and that leaves pages of zeros.
        let clean = match &done {
            Ok(_) if !refused => {
                remote.must("beginning without pages", libc::SYS_madvise, [addr, length, DROP, 0, 0, 0])
            }
            _ => done,
        };
        let Ok(task) = clean.and_then(|_| remote.leave()) else { return Standing::Lost };
        if !watched {
            return skip(task, &registers, -i64::from(libc::ENOMEM));
        }
        if at_exit && !refused {
            return running(task.resume(Resume::Cont, 0));
        }
        skip(task, &registers, result)
    }

    /// From now on, missing pages of this range are asked of home.
    fn watch(&mut self, tid: u32, addr: u64, length: u64) -> bool {
        let Some(pid) = self.threads.get(&tid).map(|thread| thread.pid) else { return false };
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        process.from_home.push(addr..addr + length);
        for (start, fetching) in &mut process.fetching {
            fetching.outdated |= *start < addr + length && addr < fetching.end;
        }
        let watched = uffd::register(process.uffd.as_fd(), addr, length, Watch::MissingAndWrites)
            .inspect_err(|errno| tracing::error!(pid, addr, length, %errno, "a mapping cannot be watched"))
            .is_ok();
        process.written.renew(addr..addr + length);
        watched
    }
}

/// What a body must not map: its name for `homing why`, and the errno.
fn refusal(protection: u64, flags: u64) -> Option<(&'static str, i32)> {
    let (anonymous, shared) = (flags & ANONYMOUS != 0, flags & SHARED != 0);
    if anonymous && shared {
        Some(("mmap of shared memory", libc::ENOSYS))
    } else if shared && protection & WRITE != 0 {
        Some(("mmap of a shared writable file", libc::ENOSYS))
    } else if anonymous && flags & HUGE != 0 {
        // What a pool without free pages says; programs have an answer to that.
        Some(("mmap of huge pages", libc::ENOMEM))
    } else {
        None
    }
}

const DROP: u64 = libc::MADV_DONTNEED as u64;
const PAGE: u64 = 4096;
const WRITE: u64 = libc::PROT_WRITE as u64;
const SHARED: u64 = libc::MAP_SHARED as u64;
const PRIVATE: u64 = libc::MAP_PRIVATE as u64;
const ANONYMOUS: u64 = libc::MAP_ANONYMOUS as u64;
const HUGE: u64 = libc::MAP_HUGETLB as u64;
const FIXED: u64 = libc::MAP_FIXED as u64;
const FIXED_NOREPLACE: u64 = libc::MAP_FIXED_NOREPLACE as u64;
const POPULATE: u64 = libc::MAP_POPULATE as u64;
/// `MAP_TYPE`: shared, private, shared-validated.
const TYPE: u64 = 0x0f;
