//! Lending a stopped shadow thread to whoever changes the mappings of its process.

use migration::landing::without_leak;
use migration::sys::ptrace::{self, Resume};
use migration::sys::wait::Event;
use migration::tracee::{Running, Stopped, TraceError, Waiter};

use super::Deputy;
use super::state::{Call, Shadow, Thread};

impl Deputy {
    /// Lends a thread of a process; a call that it is in goes on afterwards as if nothing had happened.
    ///
    /// # Errors
    /// `Died` when no thread of the process can be had, else what the work says.
    pub fn lend<E: From<TraceError>>(
        &mut self,
        pid: u32,
        work: impl FnOnce(Stopped) -> Result<Stopped, E>,
    ) -> Result<(), E> {
        // A thread may be in the middle of something else, such as a signal; that is dealt with when it is asked again.
        for _ in 0..ROUNDS_MAX {
            for tid in self.willing(pid) {
                let Some((thread, task, call)) = self.take_halted(tid)? else { continue };
                return self.lend_this(thread, task, call, work);
            }
        }
        tracing::debug!(pid, states = ?self.states(), "no shadow thread can be had");
        Err(TraceError::Died(pid).into())
    }

    /// Lends just this thread, if it can be had now.
    ///
    /// # Errors
    /// As [`Deputy::lend`].
    pub(super) fn lend_one(
        &mut self,
        tid: u32,
        work: impl FnOnce(Stopped) -> Result<Stopped, TraceError>,
    ) -> Result<bool, TraceError> {
        let Some((thread, task, call)) = self.take_halted(tid)? else { return Ok(false) };
        self.lend_this(thread, task, call, work).map(|()| true)
    }

    /// The threads of a process that are not on their way to their end, those first that are easily disturbed.
    fn willing(&self, pid: u32) -> Vec<u32> {
        let own = self.threads.iter().filter(|(_, thread)| thread.pid == pid);
        let mut willing: Vec<(u8, u32)> =
            own.filter_map(|(tid, thread)| Some((reluctance(&thread.state)?, *tid))).collect();
        willing.sort_unstable();
        willing.into_iter().map(|(_, tid)| tid).collect()
    }

    fn lend_this<E: From<TraceError>>(
        &mut self,
        mut thread: Thread,
        task: Stopped,
        call: Option<Call>,
        work: impl FnOnce(Stopped) -> Result<Stopped, E>,
    ) -> Result<(), E> {
        let tid = task.tid();
        let (task, done) = borrowed(&self.waiter, task, work);
        if thread.job_stopped || (thread.settling && call.is_some()) {
            // The stop that it stood in is over: the kernel says it again. A thread that is gone needs none.
            let _ = ptrace::interrupt(tid);
        }
        thread.state = match (task, call) {
            (None, _) => Shadow::Lost,
            (Some(task), None) => thread.park(task),
            (Some(task), Some(call)) => {
                task.resume(Resume::Cont, 0).map_or(Shadow::Lost, |task| Shadow::Calling(task, call))
            }
        };
        self.threads.insert(tid, thread);
        self.proceed(tid);
        done
    }

    /// Takes a thread out that stands still now, with the call that it is in.
    ///
    /// # Errors
    /// When it does not stop in time: it would not the next time, and nothing else is done while it is waited for.
    fn take_halted(&mut self, tid: u32) -> Result<Option<(Thread, Stopped, Option<Call>)>, TraceError> {
        let Some(mut thread) = self.threads.remove(&tid) else { return Ok(None) };
        let state = std::mem::replace(&mut thread.state, Shadow::Lost);
        let (state, late) = match self.halt(&mut thread, state) {
            Halted::Here(task, call) => return Ok(Some((thread, task, call))),
            Halted::Otherwise(state) => (state, None),
            Halted::Late(state, error) => (state, Some(error)),
        };
        thread.state = state;
        self.threads.insert(tid, thread);
        self.proceed(tid);
        late.map_or(Ok(None), Err)
    }

    /// Stops a thread where it is, or says where it stands instead. Whatever else the stop turns out to be is dealt
    /// with as always.
    fn halt(&mut self, thread: &mut Thread, state: Shadow) -> Halted {
        let (task, call) = match state {
            Shadow::Parked(task) => return Halted::Here(task, None),
            gone @ (Shadow::Ending(_) | Shadow::Lost) => return Halted::Otherwise(gone),
            Shadow::Dozing(task) => (task, None),
            Shadow::Calling(task, call) => (task, Some(call)),
        };
        match self.stop_of(&task) {
            // The stop was asked for to end its call.
            Ok(Event::Stop(libc::SIGTRAP))
                if thread.settling
                    && let Some(call) = call =>
            {
                Halted::Otherwise(self.interrupted(thread, task.stopped(), call))
            }
            Ok(event @ Event::Stop(_)) => {
                thread.roused = false;
                let task = task.stopped();
                self.job_control(thread, task.tid(), event);
                Halted::Here(task, call)
            }
            Ok(event) => Halted::Otherwise(match call {
                None => self.while_dozing(thread, task.stopped(), event),
                Some(call) => self.while_calling(thread, task.stopped(), call, event),
            }),
            Err(error) => {
                tracing::debug!(tid = task.tid(), %error, "a shadow thread cannot be had");
                let is_late = !matches!(error, TraceError::Died(_));
                let state = still_running(error, task, call);
                if is_late { Halted::Late(state, error) } else { Halted::Otherwise(state) }
            }
        }
    }

    /// Has a thread stop and tells as what it did. One that dies is reported later; one that does not stop in time runs
    /// on as before, and its stop will be an event like any other.
    pub(super) fn stop_of(&self, task: &Running) -> Result<Event, TraceError> {
        task.interrupt()?;
        let event = self.waiter.news(task)?;
        let stopped = Running::attached(task.tid()).stopped();
        if self.has_trap_pending(&stopped, event) {
            let running = stopped.resume(Resume::Cont, 0)?;
            return self.waiter.news(&running);
        }
        Ok(event)
    }

    /// What a stop that was asked for says of job control: it is a stop of its own there, and SIGCONT ends it.
    pub(super) fn job_control(&mut self, thread: &mut Thread, tid: u32, stop: Event) {
        match stop {
            Event::Stop(libc::SIGTRAP) => thread.continued(&mut self.effects, tid),
            Event::Stop(_) => self.stopped_by_job_control(thread, tid),
            _ => {}
        }
    }

    /// Where each thread stands, for logs.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let all = self.threads.iter();
        all.map(|(tid, thread)| {
            let Thread { pid, state, queue, .. } = thread;
            format!("{tid} of {pid}: {state:?}, then {queue:?}")
        })
        .collect()
    }
}

enum Halted {
    /// With the call that it is in.
    Here(Stopped, Option<Call>),
    /// Something else happened just then.
    Otherwise(Shadow),
    /// It did not stop.
    Late(Shadow, TraceError),
}

/// Where a thread stands that could not be stopped.
pub(super) fn still_running(error: TraceError, task: Running, call: Option<Call>) -> Shadow {
    match (error, call) {
        (TraceError::Died(_), _) => Shadow::Lost,
        (_, None) => Shadow::Dozing(task),
        (_, Some(call)) => Shadow::Calling(task, call),
    }
}

impl Deputy {
    /// Whether a stop that was asked for came between the `int3` behind a call and its trap. The trap must be taken
    /// before anything else runs in the thread, or it passes for the end of that.
    pub(super) fn has_trap_pending(&self, task: &Stopped, event: Event) -> bool {
        event == Event::Stop(libc::SIGTRAP) && self.is_behind_call(task)
    }
}

/// Whom to ask first: a thread in a call is disturbed only when there is no other.
fn reluctance(state: &Shadow) -> Option<u8> {
    match state {
        Shadow::Parked(_) => Some(0),
        Shadow::Dozing(_) => Some(1),
        Shadow::Calling(..) => Some(2),
        Shadow::Ending(_) | Shadow::Lost => None,
    }
}

/// The thread gets its registers and mask back, so that the kernel restarts the call that was interrupted; also if the
/// work has failed, unless the thread is gone or did not come back from it. Then its next stop is an event.
pub(super) fn borrowed<E: From<TraceError>>(
    waiter: &Waiter,
    task: Stopped,
    work: impl FnOnce(Stopped) -> Result<Stopped, E>,
) -> (Option<Stopped>, Result<(), E>) {
    let tid = task.tid();
    let (registers, mask) = match task.registers().and_then(|registers| Ok((registers, task.mask()?))) {
        Ok(before) => before,
        Err(error) => return (None, Err(error.into())),
    };
    let (task, done) = match work(task) {
        Ok(task) => (task, Ok(())),
        // It may be a new program by now, whose registers are its own.
        Err(error) if waiter.has_kept(tid) => return (None, Err(error)),
        Err(error) => (Running::attached(tid).stopped(), Err(error)),
    };
    let given_back = task.set_mask(mask).and_then(|()| task.set_registers(&without_leak(registers)));
    match given_back {
        Ok(()) => (Some(task), done),
        Err(error) => (None, done.and(Err(error.into()))),
    }
}

/// A thread that is busy with one thing after the other is asked again so often.
const ROUNDS_MAX: u32 = 10;
