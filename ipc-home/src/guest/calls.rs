//! Calls that home executes: gathered from the body, answered to the body.

use std::os::fd::AsFd;

use bytes::Bytes;
use migration::image::SignalAction;
use migration::procfs;
use migration::sys::ptrace::{NO_CALL, Registers, Resume};
use migration::sys::seccomp::{self, Answer, Notification};
use migration::tracee::{Running, Stopped, TraceError};

use super::memory::View;
use super::state::{BodyProcess, Kind, Standing, Trapped, Waiting};
use super::{Guest, low_i32, running, waits};
use crate::protocol::{FileClass, FromBody};
use crate::syscall::classify::classify;
use crate::syscall::marshal::{
    BadReply, FileKind, GatherError, Memory, Next, Plan, Request, gather, gather_piece,
};
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
        if self.freezing {
            // Its stop is on the way: the call is issued again where the family goes on.
            let next = self.answer(tid, task, id, Answer::Return(RESTART_ALWAYS));
            return self.stand(tid, next);
        }
        let call = Waiting { notification: id, nr, args, kind: Kind::Gathering(0) };
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
            _ => self.forward(tid, task, call, 0),
        };
        self.stand(tid, next);
    }

    /// Sends a call, or its piece behind the first `from` bytes.
    fn forward(&mut self, tid: u32, task: Running, call: Waiting, from: u64) -> Standing {
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let view = View::of(process);
        let gathered = if from == 0 {
            gather(call.nr, &call.args, &view)
        } else {
            gather_piece(call.nr, &call.args, from, &view)
        };
        let missing = view.missing();
        let mask = mask_argument(call.nr, &call.args, &view);
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
                self.ask(tid, request, image.into());
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

    fn refuse(&mut self, tid: u32, task: Running, notification: u64, error: GatherError) -> Standing {
        self.answer(tid, task, notification, Answer::Return(-i64::from(error.errno())))
    }

    fn ask(&mut self, tid: u32, request: Request, image: Bytes) {
        self.calls += 1;
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.seq += 1;
        let seq = thread.seq;
        self.send(tid, FromBody::Call { seq, request }, image);
    }

    /// Tries again what had to wait for a page.
    pub(super) fn again(&mut self, tid: u32) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let next = match std::mem::replace(&mut thread.standing, Standing::Lost) {
            Standing::Waiting(task, call) => self.forward(tid, task, call, 0),
            Standing::Trapped(task, Trapped::ExecStrings(_)) => match task.registers() {
                Ok(registers) => self.execute(tid, task, &registers),
                Err(_) => Standing::Lost,
            },
            other => other,
        };
        self.stand(tid, next);
    }

    /// Home's answer.
    pub(super) fn returned(&mut self, tid: u32, seq: u64, result: i64, file: FileClass, tail: &Bytes) {
        self.call_bytes += tail.len() as u64;
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        if thread.seq != seq {
            tracing::warn!(tid, seq, expected = thread.seq, "an answer to another call");
            return;
        }
        let next = match std::mem::replace(&mut thread.standing, Standing::Lost) {
            Standing::Waiting(task, call) => self.complete(tid, task, call, result, file, tail),
            Standing::Trapped(task, what) => self.complete_trap(tid, task, what, result),
            Standing::Still(task) => self.complete_still(tid, task, result, tail),
            Standing::Running(task) if thread.in_flight.is_some() => {
                thread.early_answer = Some((result, tail.clone()));
                Standing::Running(task)
            }
            other => other,
        };
        self.stand(tid, next);
    }

    fn complete(
        &mut self,
        tid: u32,
        task: Running,
        call: Waiting,
        result: i64,
        file: FileClass,
        tail: &Bytes,
    ) -> Standing {
        let id = call.notification;
        match &call.kind {
            Kind::Gathering(_) => Standing::Waiting(task, call),
            Kind::Mirrored if result >= 0 => self.answer(tid, task, id, Answer::Continue),
            Kind::Mirrored => self.answer(tid, task, id, Answer::Return(result)),
            // A signal came in between: it is queued, and there may be more.
            Kind::Synced if is_restart(result) => self.sync(tid, task, call),
            Kind::Synced => self.answer(tid, task, id, Answer::Continue),
            Kind::Forwarded { scatter, split } => {
                let Some(process) = self.process_of(tid) else { return Standing::Lost };
                let applied = scatter.apply(result, tail, &View::of(process));
                let result = match applied {
                    Ok(result) => result,
                    Err(error) => self.bad_reply(tid, error),
                };
                if let Some(split) = split
                    && !is_restart(result)
                {
                    match split.next(result, kind_of(file)) {
                        Next::Piece(from) => return self.forward(tid, task, call, from),
                        Next::Done(result) => return self.answer(tid, task, id, Answer::Return(result)),
                    }
                }
                self.answer(tid, task, id, Answer::Return(result))
            }
        }
    }

    fn bad_reply(&self, tid: u32, error: BadReply) -> i64 {
        tracing::error!(tid, %error, "home's reply does not fit the call");
        -i64::from(libc::EIO)
    }

    /// The answer to a thread that is frozen meanwhile: its registers say how the call ended.
    pub(super) fn complete_still(&mut self, tid: u32, task: Stopped, result: i64, tail: &Bytes) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        let Some(scatter) = thread.in_flight.take() else { return Standing::Still(task) };
        let nr = task.registers().map_or(0, |registers| registers.orig_rax);
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let result = match scatter.apply(result, tail, &View::of(process)) {
            Ok(result) => result,
            Err(error) => self.bad_reply(tid, error),
        };
        if let Ok(before) = task.registers() {
            let after = settled(&before, nr, result);
            if task.set_registers(&after).is_err() {
                return Standing::Lost;
            }
        }
        Standing::Still(task)
    }

    /// Answers a notification. A restart code needs a stop in which the kernel can act on it.
    pub(super) fn answer(&mut self, tid: u32, task: Running, id: u64, answer: Answer) -> Standing {
        let answer = match answer {
            Answer::Return(RESTART_BLOCK) => Answer::Return(-i64::from(libc::EINTR)),
            other => other,
        };
        let Some(thread) = self.threads.get(&tid) else { return Standing::Lost };
        let restarts = matches!(answer, Answer::Return(result) if is_restart(result));
        if (restarts || thread.deliver_under.is_some()) && task.interrupt().is_err() {
            return Standing::Lost;
        }
        let Some(process) = self.processes.get(&thread.pid) else { return Standing::Lost };
        // ENOENT: the caller was killed; its end will be reported.
        let _ = seccomp::answer(process.listener.as_fd(), id, answer);
        Standing::Running(task)
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

    fn sync(&mut self, tid: u32, task: Running, call: Waiting) -> Standing {
        let nr = u32::try_from(libc::SYS_getppid).unwrap_or(0);
        let request = Request { nr, args: [0; 6], fixups: Vec::new(), slot_bytes: 0, outputs: Vec::new() };
        self.ask(tid, request, Bytes::new());
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

    fn complete_trap(&mut self, tid: u32, task: Stopped, what: Trapped, result: i64) -> Standing {
        let Ok(registers) = task.registers() else { return Standing::Lost };
        if is_restart(result) {
            // Home has a signal, which is here already: its handler runs first, then the call is made again.
            return running(before_call(task, &registers).and_then(|task| task.resume(Resume::Cont, 0)));
        }
        match what {
            Trapped::Exec | Trapped::ExecStrings(_) => skip(task, &registers, result),
            Trapped::Birth(birth) => self.birth_granted(tid, task, *birth, result),
            Trapped::Map { addr, length, at_exit } => {
                self.mapped_at_home(tid, task, addr, length, at_exit, result)
            }
        }
    }

    pub(super) fn process_of(&self, tid: u32) -> Option<&BodyProcess> {
        self.processes.get(&self.threads.get(&tid)?.pid)
    }

    fn touches_home(&self, tid: u32, start: u64, length: u64) -> bool {
        self.process_of(tid).is_some_and(|process| {
            process.from_home.iter().any(|range| range.start < start + length && start < range.end)
        })
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

/// The registers of a frozen thread whose call has ended, or must be issued again.
fn settled(before: &Registers, nr: u64, result: i64) -> Registers {
    let sleeps = [libc::SYS_nanosleep, libc::SYS_clock_nanosleep].contains(&nr.cast_signed());
    match result {
        // The rest of a sleep is kept by the shadow thread's own restart block.
        RESTART_BLOCK if sleeps => Registers { rax: result.cast_unsigned(), orig_rax: nr, ..*before },
        RESTART_BLOCK => Registers { rax: RESTART_ALWAYS.cast_unsigned(), orig_rax: nr, ..*before },
        _ if is_restart(result) => Registers { rax: result.cast_unsigned(), orig_rax: nr, ..*before },
        _ => Registers { rax: result.cast_unsigned(), orig_rax: NO_CALL, ..*before },
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

fn kind_of(file: FileClass) -> FileKind {
    match file {
        FileClass::Regular => FileKind::Regular,
        FileClass::Stream => FileKind::Stream,
        FileClass::Other => FileKind::Other,
    }
}

/// The codes by which the kernel asks itself for a restart.
fn is_restart(result: i64) -> bool {
    (RESTART_BLOCK..=-512).contains(&result)
}

/// Of the instruction.
const SYSCALL_BYTES: u64 = 2;
const RESTART_BLOCK: i64 = -516;
const RESTART_ALWAYS: i64 = -513;
