//! Calls that home executes: gathered from the body, answered to the body.

use std::ops::Range;

use bytes::Bytes;
use migration::image::{Backing, Rest, SignalAction};
use migration::layout::{self, Side};
use migration::procfs;
use migration::sys::ptrace::{NO_CALL, RESTART_ALWAYS, RESTART_WITHOUT_HANDLER, Registers, Resume};
use migration::sys::seccomp::{Answer, Notification};
use migration::tracee::{Running, Stopped, TraceError};

use super::answers::is_interrupted;
use super::memory::View;
use super::state::{BodyProcess, Kind, Standing, Trapped, Waiting};
use super::{Guest, low_i32, running, waits};
use crate::protocol::{FromBody, Issue};
use crate::syscall::classify::classify;
use crate::syscall::marshal::{GatherError, Memory, Plan, Request, gather, gather_piece};
use crate::syscall::name;
use crate::syscall::vocabulary::{Class, Special};

impl Guest {
    /// A body thread asks for a call.
    pub fn notified(&mut self, notification: Notification) {
        let Some(&tid) = self.by_outer.get(&notification.tid) else {
            tracing::error!(tid = notification.tid, "a call of a thread that is not known");
            return;
        };
        let Notification { id, nr, args, .. } = notification;
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let Standing::Running(task) = std::mem::replace(&mut thread.standing, Standing::Lost) else {
            tracing::error!(tid, nr, "a call of a thread that does not run");
            return;
        };
        thread.mask_in_call = None;
        thread.interrupted_at_home = false;
        if self.freezing {
            // Its stop is on the way: the call is issued again where the family goes on.
            let next = self.answer(tid, task, id, Answer::Return(RESTART_ALWAYS));
            return self.stand(tid, next);
        }
        let again = thread.again.take_if(|again| again.nr == nr && again.args == args);
        let is_again = again.is_some();
        let (rest, moved) = again.map_or((Rest::Whole, 0), |again| (again.rest, again.moved));
        let kind = Kind::Gathering(0);
        let call = Waiting { notification: id, nr, args, kind, file: None, is_again, rest, moved };
        let next = match classify(nr, &args) {
            Class::Refuse(errno) => {
                *self.refused.entry(name(nr)).or_default() += 1;
                self.answer(tid, task, id, Answer::Return(-i64::from(errno)))
            }
            Class::Local => self.answer(tid, task, id, Answer::Continue),
            Class::Special(Special::SigAction) => {
                self.mirror_action(tid, &args);
                self.answer(tid, task, id, Answer::Continue)
            }
            Class::Special(Special::SigMask) => self.change_mask(tid, task, call),
            Class::Special(Special::Mremap) if self.touches_home(tid, args[0], args[1]) => {
                *self.refused.entry("mremap of a file mapping").or_default() += 1;
                self.answer(tid, task, id, Answer::Return(-i64::from(libc::ENOMEM)))
            }
            Class::Special(Special::Mremap) => self.answer(tid, task, id, Answer::Continue),
            _ => self.forward(tid, task, call),
        };
        self.stand(tid, next);
    }

    /// Sends a call, or its piece behind the bytes that were moved before.
    pub(super) fn forward(&mut self, tid: u32, task: Running, call: Waiting) -> Standing {
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let view = View::of(process);
        let gathered = gather_piece(call.nr, &with_rest(call.nr, call.args, call.rest), call.moved, &view);
        let missing = view.missing();
        let mask = mask_argument(call.nr, &call.args, &view);
        if let Some(mask) = mask
            && self.has_pending(tid, mask)
        {
            // Home does not know of a signal that is here already; this call is what lets it in.
            if let Some(thread) = self.threads.get_mut(&tid) {
                thread.deliver_under = Some(mask);
            }
            return self.answer(tid, task, call.notification, Answer::Return(RESTART_WITHOUT_HANDLER));
        }
        match gathered {
            Ok(Plan { request, image, scatter, split }) => {
                let kind = if matches!(classify(call.nr, &call.args), Class::Special(Special::Mirror)) {
                    Kind::Mirrored
                } else {
                    Kind::Forwarded { scatter, split }
                };
                if let Some(thread) = self.threads.get_mut(&tid) {
                    thread.mask_in_call = mask;
                }
                let goes_on_at_home = request.anchor.is_some() || !leaves_pointer(call.nr, &call.args);
                let issue = match call.rest {
                    Rest::AtHome if goes_on_at_home => Issue::Resumed,
                    _ if call.is_again => Issue::Again,
                    _ => Issue::First,
                };
                self.ask(tid, request, image.into(), issue);
                Standing::Waiting(task, Waiting { kind, ..call })
            }
            Err(_) if let Some(page) = missing => {
                let pid = self.threads.get(&tid).map_or(0, |thread| thread.pid);
                self.missing(pid, page);
                Standing::Waiting(task, Waiting { kind: Kind::Gathering(page), ..call })
            }
            Err(error) => self.refuse(tid, task, call.notification, error),
        }
    }

    /// Whether a signal that this mask lets through waits for the thread here.
    fn has_pending(&self, tid: u32, mask: u64) -> bool {
        let Some(thread) = self.threads.get(&tid) else { return false };
        let Some(process) = self.processes.get(&thread.pid) else { return false };
        let task = format!("{}/task/{}", process.outer, thread.outer);
        let waits = |key| procfs::signal_set(&task, key).unwrap_or(0);
        (waits("SigPnd") | waits("ShdPnd")) & !mask != 0
    }

    fn refuse(&mut self, tid: u32, task: Running, notification: u64, error: GatherError) -> Standing {
        self.answer(tid, task, notification, Answer::Return(-i64::from(error.errno())))
    }

    fn ask(&mut self, tid: u32, request: Request, image: Bytes, issue: Issue) {
        self.calls += 1;
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.seq += 1;
        let seq = thread.seq;
        self.send(tid, FromBody::Call { seq, request, issue }, image);
    }

    /// Tries again what had to wait for a page.
    pub(super) fn again(&mut self, tid: u32) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let next = match std::mem::replace(&mut thread.standing, Standing::Lost) {
            Standing::Waiting(task, call) => self.forward(tid, task, call),
            Standing::Trapped(task, Trapped::ExecStrings(_)) => match task.registers() {
                Ok(registers) => self.execute(tid, task, &registers),
                Err(_) => Standing::Lost,
            },
            Standing::Trapped(task, Trapped::Unsettled(signal, _)) => self.settle(tid, task, signal),
            other => other,
        };
        self.stand(tid, next);
    }

    /// A thread whose call a signal took back before it was read here has executed nothing, and calls that never wait
    /// must not fail with EINTR: it issues the call again whatever the signal's action says.
    pub(super) fn reissue_unread(&mut self, tid: u32, task: &Stopped) -> Result<(), TraceError> {
        let registers = task.registers()?;
        if !is_interrupted(&registers)
            || self.threads.get(&tid).is_none_or(|thread| thread.interrupted_at_home)
        {
            return Ok(());
        }
        match u32::try_from(registers.orig_rax) {
            Ok(nr) if !matches!(classify(nr, &arguments(&registers)), Class::Local) => {
                task.set_registers(&Registers { rax: RESTART_ALWAYS.cast_unsigned(), ..registers })
            }
            _ => Ok(()),
        }
    }

    fn mirror_action(&mut self, tid: u32, args: &[u64; 6]) {
        let Some(process) = self.process_of(tid) else { return };
        let mut raw = [0; 32];
        if args[1] != 0 && View::of(process).read(args[1], &mut raw).is_ok() {
            let action = SignalAction::from_bytes(&raw);
            self.send(tid, FromBody::Action(low_i32(args[0]), action), Bytes::new());
        }
    }

    /// A mask that only grows is mirrored on the way; one that lets signals in waits until home has said which.
    fn change_mask(&mut self, tid: u32, task: Running, call: Waiting) -> Standing {
        let id = call.notification;
        let [how, set, ..] = call.args;
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let mut raw = [0; 8];
        if set == 0 || View::of(process).read(set, &mut raw).is_err() {
            return self.answer(tid, task, id, Answer::Continue);
        }
        let outer = process.outer;
        let now = self.threads.get(&tid).map_or(0, |thread| thread.outer);
        let now = procfs::signal_set(&format!("{outer}/task/{now}"), "SigBlk").unwrap_or(0);
        let given = u64::from_le_bytes(raw);
        let wanted = match low_i32(how) {
            libc::SIG_BLOCK => now | given,
            libc::SIG_UNBLOCK => now & !given,
            _ => given,
        };
        if wanted == now {
            return self.answer(tid, task, id, Answer::Continue);
        }
        self.send(tid, FromBody::Mask(wanted), Bytes::new());
        if now & !wanted == 0 {
            return self.answer(tid, task, id, Answer::Continue);
        }
        self.sync(tid, task, call)
    }

    pub(super) fn sync(&mut self, tid: u32, task: Running, call: Waiting) -> Standing {
        let nr = u32::try_from(libc::SYS_getppid).unwrap_or(0);
        let request = Request {
            nr,
            args: [0; 6],
            fixups: Vec::new(),
            slot_bytes: 0,
            outputs: Vec::new(),
            anchor: None,
        };
        self.ask(tid, request, Bytes::new(), Issue::First);
        Standing::Waiting(task, Waiting { kind: Kind::Synced, ..call })
    }

    /// `execve` happens in the deputy.
    pub(super) fn execute(&mut self, tid: u32, task: Stopped, registers: &Registers) -> Standing {
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let view = View::of(process);
        let nr = u32::try_from(registers.orig_rax).unwrap_or(u32::MAX);
        let gathered = gather(nr, &arguments(registers), &view);
        let missing = view.missing();
        match gathered {
            Ok(plan) => {
                let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
                thread.seq += 1;
                let (seq, request) = (thread.seq, plan.request);
                self.send(tid, FromBody::Exec { seq, request }, plan.image.into());
                waits(task, Trapped::Exec)
            }
            Err(_) if let Some(page) = missing => {
                let pid = self.threads.get(&tid).map_or(0, |thread| thread.pid);
                self.missing(pid, page);
                waits(task, Trapped::ExecStrings(page))
            }
            Err(error) => skip(task, registers, -i64::from(error.errno())),
        }
    }

    pub(super) fn process_of(&self, tid: u32) -> Option<&BodyProcess> {
        self.processes.get(&self.threads.get(&tid)?.pid)
    }

    fn touches_home(&mut self, tid: u32, start: u64, length: u64) -> bool {
        let Some(pid) = self.threads.get(&tid).map(|thread| thread.pid) else { return false };
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        let touches = |ranges: &[Range<u64>]| {
            ranges.iter().any(|range| range.start < start.saturating_add(length) && start < range.end)
        };
        if !touches(&process.from_home) {
            return false;
        }
        // The body unmaps by itself, so what is known may be out of date.
        let side = Side::Guest { own: vec![self.foothold.range()] };
        if let Ok((layout, _)) = layout::read(process.outer, &side) {
            let home = layout.vmas.iter().filter(|vma| vma.backing == Backing::Home);
            process.from_home = home.map(|vma| vma.start..vma.end).collect();
        }
        touches(&process.from_home)
    }

    pub(super) fn stand(&mut self, tid: u32, standing: Standing) {
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.standing = standing;
        }
    }
}

/// Ends a call at its filter stop without executing it.
pub(super) fn skip(task: Stopped, registers: &Registers, result: i64) -> Standing {
    let after = Registers { rax: result.cast_unsigned(), orig_rax: NO_CALL, ..*registers };
    if task.set_registers(&after).is_err() {
        return Standing::Lost;
    }
    running(task.resume(Resume::Cont, 0))
}

/// A thread at a filter stop stands before its `syscall` instruction again.
pub(super) fn before_call(task: Stopped, registers: &Registers) -> Result<Stopped, TraceError> {
    let rip = registers.rip - SYSCALL_BYTES;
    task.set_registers(&Registers { rip, rax: registers.orig_rax, orig_rax: NO_CALL, ..*registers })?;
    Ok(task)
}

/// The arguments with what is left of the timeout, where it is an argument by itself.
fn with_rest(nr: u32, args: [u64; 6], rest: Rest) -> [u64; 6] {
    let mut left = args;
    if let (Rest::Left(ns), libc::SYS_epoll_wait | libc::SYS_epoll_pwait) = (rest, i64::from(nr)) {
        left[3] = ns.div_ceil(NS_PER_MS);
    }
    left
}

/// Whether the kernel keeps a pointer to the program's memory in the restart block of this call.
fn leaves_pointer(nr: u32, args: &[u64; 6]) -> bool {
    match i64::from(nr) {
        libc::SYS_poll | libc::SYS_nanosleep => args[1] != 0,
        libc::SYS_clock_nanosleep => args[3] != 0,
        _ => true,
    }
}

/// The signal mask that a call puts in force while it lasts.
fn mask_argument(nr: u32, args: &[u64; 6], memory: &impl Memory) -> Option<u64> {
    let pointer = match i64::from(nr) {
        libc::SYS_rt_sigsuspend => args[0],
        libc::SYS_ppoll => args[3],
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => args[4],
        libc::SYS_pselect6 => {
            let mut raw = [0; 8];
            (args[5] != 0 && memory.read(args[5], &mut raw).is_ok()).then(|| u64::from_le_bytes(raw))?
        }
        _ => 0,
    };
    let mut raw = [0; 8];
    (pointer != 0 && memory.read(pointer, &mut raw).is_ok()).then(|| u64::from_le_bytes(raw))
}

/// The arguments of a trapped call.
pub(super) fn arguments(registers: &Registers) -> [u64; 6] {
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
}

/// Of the instruction.
const SYSCALL_BYTES: u64 = 2;
const NS_PER_MS: u64 = 1_000_000;
