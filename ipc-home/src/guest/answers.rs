//! What becomes of home's answers: they are given to the thread that waits for them, wherever it stands by now.

use std::os::fd::AsFd;

use bytes::Bytes;
use migration::image::Rest;
use migration::sys::ptrace::{
    NO_CALL, RESTART_ALWAYS, RESTART_BLOCK, RESTART_IF_WANTED, RESTART_WITHOUT_HANDLER, Registers, Resume,
};
use migration::sys::seccomp::{self, Answer};
use migration::tracee::{Running, Stopped};

use super::calls::{before_call, skip};
use super::memory::View;
use super::state::{Again, InFlight, Kind, Standing, Trapped, Waiting};
use super::{Guest, running};
use crate::protocol::FileClass;
use crate::syscall::marshal::{BadReply, FileKind, Next};

impl Guest {
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
            Standing::Trapped(task, Trapped::Settling(signal)) => {
                match self.complete_still(tid, task, true, (result, file, tail)) {
                    Standing::Still(task) => self.enter_handler(tid, task, signal),
                    other => other,
                }
            }
            Standing::Trapped(task, what) => self.complete_trap(tid, task, what, result),
            Standing::Still(task) => self.complete_still(tid, task, self.going_home, (result, file, tail)),
            Standing::Running(task) if thread.in_flight.is_some() => {
                thread.early_answer = Some((result, file, tail.clone()));
                Standing::Running(task)
            }
            other => other,
        };
        self.stand(tid, next);
    }

    pub(super) fn complete(
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
                match split.map_or(Next::Done(result), |split| split.next(result, kind_of(file))) {
                    Next::Piece(moved) => {
                        self.forward(tid, task, Waiting { moved, file: Some(file), ..call })
                    }
                    Next::Done(result) => self.answer(tid, task, id, Answer::Return(result)),
                }
            }
        }
    }

    fn bad_reply(&self, tid: u32, error: BadReply) -> i64 {
        tracing::error!(tid, %error, "home's reply does not fit the call");
        -i64::from(libc::EIO)
    }

    /// The answer to a thread that is frozen meanwhile: its registers say how the call ended, and that it ended with
    /// the bytes moved so far if `ends`.
    pub(super) fn complete_still(
        &mut self,
        tid: u32,
        task: Stopped,
        ends: bool,
        (result, file, tail): (i64, FileClass, &Bytes),
    ) -> Standing {
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        let Some(InFlight { scatter, split }) = thread.in_flight.take() else { return Standing::Still(task) };
        thread.again = None;
        let Ok(before) = task.registers() else { return Standing::Lost };
        let Some(process) = self.process_of(tid) else { return Standing::Lost };
        let result = match scatter.apply(result, tail, &View::of(process)) {
            Ok(result) => result,
            Err(error) => self.bad_reply(tid, error),
        };
        let (result, moved) =
            match split.map_or(Next::Done(result), |split| split.next(result, kind_of(file))) {
                Next::Done(result) => (result, 0),
                // As when a signal ends the call.
                Next::Piece(moved) if ends => (moved.cast_signed(), 0),
                Next::Piece(moved) => (RESTART_ALWAYS, moved),
            };
        // Only at home there is a restart block to go on with.
        let going_home = self.going_home;
        let result = if result == RESTART_BLOCK && !going_home { RESTART_WITHOUT_HANDLER } else { result };
        let after = settled(&before, before.orig_rax, result);
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.again = Again::of(&after, Rest::Whole, moved);
        }
        match task.set_registers(&after) {
            Ok(()) => Standing::Still(task),
            Err(_) => Standing::Lost,
        }
    }

    /// Answers a notification. A restart code needs a stop in which the kernel can act on it.
    pub(super) fn answer(&mut self, tid: u32, task: Running, id: u64, answer: Answer) -> Standing {
        let answer = match answer {
            Answer::Return(RESTART_BLOCK) => Answer::Return(RESTART_WITHOUT_HANDLER),
            other => other,
        };
        let Some(thread) = self.threads.get_mut(&tid) else { return Standing::Lost };
        let restarts = matches!(answer, Answer::Return(result) if is_restart(result));
        // What home did not even begin is no interrupted call.
        thread.interrupted_at_home = restarts && answer != Answer::Return(RESTART_ALWAYS);
        if (restarts || thread.deliver_under.is_some()) && task.interrupt().is_err() {
            return Standing::Lost;
        }
        let Some(process) = self.processes.get(&thread.pid) else { return Standing::Lost };
        // ENOENT: the caller was killed; its end will be reported.
        let _ = seccomp::answer(process.listener.as_fd(), id, answer);
        Standing::Running(task)
    }

    pub(super) fn complete_trap(&mut self, tid: u32, task: Stopped, what: Trapped, result: i64) -> Standing {
        let Ok(registers) = task.registers() else { return Standing::Lost };
        if is_restart(result) {
            // Home has a signal, which is here already: its handler runs first, then the call is made again.
            return running(before_call(task, &registers).and_then(|task| task.resume(Resume::Cont, 0)));
        }
        match what {
            Trapped::Exec | Trapped::ExecStrings(_) => skip(task, &registers, result),
            Trapped::Settling(signal) | Trapped::Unsettled(signal, _) => {
                self.enter_handler(tid, task, signal)
            }
            Trapped::Birth(birth) => self.birth_granted(tid, task, *birth, result),
            Trapped::Map { addr, length, at_exit } => {
                self.mapped_at_home(tid, task, addr, length, at_exit, result)
            }
        }
    }
}

/// The registers of a frozen thread whose call has ended, or must be issued again.
fn settled(before: &Registers, nr: u64, result: i64) -> Registers {
    let sleeps = [libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_poll].contains(&nr.cast_signed());
    match result {
        // The rest of a sleep is kept by the shadow thread's own restart block.
        RESTART_BLOCK if sleeps => Registers { rax: result.cast_unsigned(), orig_rax: nr, ..*before },
        RESTART_BLOCK => Registers { rax: RESTART_ALWAYS.cast_unsigned(), orig_rax: nr, ..*before },
        _ if is_restart(result) => Registers { rax: result.cast_unsigned(), orig_rax: nr, ..*before },
        _ => Registers { rax: result.cast_unsigned(), orig_rax: NO_CALL, ..*before },
    }
}

fn kind_of(file: FileClass) -> FileKind {
    match file {
        FileClass::Regular => FileKind::Regular,
        FileClass::Stream => FileKind::Stream,
        FileClass::Other => FileKind::Other,
    }
}

/// Whether the thread's call fails with EINTR if a handler without SA_RESTART comes next.
pub(super) fn is_interrupted(registers: &Registers) -> bool {
    registers.rax.cast_signed() == RESTART_IF_WANTED
}

/// The codes by which the kernel asks itself for a restart.
pub(super) fn is_restart(result: i64) -> bool {
    (RESTART_BLOCK..=-512).contains(&result)
}
