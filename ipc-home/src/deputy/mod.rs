//! The deputies of a family: every shadow thread executes its body thread's calls, one at a time.
//!
//! ```text
//!                work                      int3 behind the call
//!   ┌──────▶ Parked ─────────▶ Calling ─────────────────────────┐
//!   │          │  ▲               │ signal with a handler       │
//!   │    2 ms  │  │               └──▶ Signal, then Return ──▶──┤
//!   │          ▼  │ stop                                        │
//!   │        Dozing ── work: interrupt                          │
//!   └───────────────────────────────────────────────────────────┘
//! ```
//! A parked thread hears no signals: the kernel does not wake a stopped tracee (measured). So a thread without work
//! dozes in pause(2), with the body's signal mask, and home's kernel delivers to it like to any thread.
//!
//! Nothing here waits: each method does what can be done now and leaves what there is to say in [`Deputy::take`].

mod end;
mod execute;
pub mod files;
mod release;
mod signals;
mod state;

pub use state::{Effect, Home, Shadow};

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use migration::deputize::ShadowThread;
use migration::foothold::Foothold;
use migration::image::ProcessImage;
use migration::sys::ptrace::{NO_CALL, Registers, Resume};
use migration::sys::wait::Event;
use migration::tracee::{Stopped, TraceError, Waiter};

use crate::protocol::FromBody;
use state::{Call, Thread, Work};

/// All deputies of one family.
#[derive(Debug)]
pub struct Deputy {
    foothold: Foothold,
    waiter: Rc<Waiter>,
    processes: BTreeMap<u32, Home>,
    threads: HashMap<u32, Thread>,
    /// New tasks whose first stop came before their parent's event.
    early: HashSet<u32>,
    effects: VecDeque<Effect>,
    calls: u64,
    /// The family comes home: nothing is executed any more.
    recalled: bool,
    /// Signals that came since then.
    held: HashMap<u32, Vec<Vec<u8>>>,
}

impl Deputy {
    /// A family without processes.
    #[must_use]
    pub fn new(foothold: Foothold, waiter: Rc<Waiter>) -> Deputy {
        Deputy {
            foothold,
            waiter,
            processes: BTreeMap::new(),
            threads: HashMap::new(),
            early: HashSet::new(),
            effects: VecDeque::new(),
            calls: 0,
            recalled: false,
            held: HashMap::new(),
        }
    }

    /// Takes in a process that has just become a deputy.
    ///
    /// # Errors
    /// When it is gone.
    pub fn adopt(&mut self, image: &ProcessImage, shadows: Vec<ShadowThread>) -> io::Result<()> {
        let pid = image.pid;
        let actions = image.actions.iter().copied().collect();
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        self.processes.insert(pid, Home { memory, actions, slots: shadows.len() });
        for (slot, ShadowThread { tid, task }) in shadows.into_iter().enumerate() {
            let mask = image.threads.iter().find(|thread| thread.tid == tid).map_or(0, |thread| thread.mask);
            self.threads.insert(tid, Thread::new(pid, slot_number(slot), mask, Shadow::Parked(task)));
        }
        Ok(())
    }

    /// A process has a new program: its former shadow threads are gone.
    pub fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
        self.threads.retain(|_, thread| thread.pid != pid);
    }

    /// What there is to tell the body or the warden, in order.
    pub fn take(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Calls executed so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The pids of the family, in ascending order.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// Threads of one process.
    #[must_use]
    pub fn thread_count(&self, pid: u32) -> usize {
        self.threads.values().filter(|thread| thread.pid == pid).count()
    }

    /// True when no process is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Whether this task belongs to the family.
    #[must_use]
    pub fn knows(&self, tid: u32) -> bool {
        self.threads.contains_key(&tid)
    }

    /// A message of a body thread.
    pub fn message(&mut self, tid: u32, message: FromBody, tail: Bytes) {
        // The last words of a thread whose process has ended: its guest is told of that end.
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        match message {
            FromBody::Attach { .. } => return,
            FromBody::Call { seq, request } => {
                // A repeated number is answered from the last reply, or by the call that is still under way.
                if let Some((last, message, tail)) = &thread.last
                    && *last == seq
                {
                    let (message, tail) = (message.clone(), tail.clone());
                    self.effects.push_back(Effect::Send { tid, message, tail });
                    return;
                }
                if thread.outstanding() == Some(seq) {
                    return;
                }
                if self.recalled {
                    return self.send_back(tid, seq);
                }
                thread.queue.push_back(Work::Call { seq, request, image: tail });
            }
            FromBody::MapFile { seq, args } => thread.queue.push_back(Work::MapFile { seq, args }),
            FromBody::Birth { seq, flags, exit_signal } => {
                thread.queue.push_back(Work::Birth { seq, flags, exit_signal });
            }
            FromBody::Exec { seq, request } => {
                thread.queue.push_back(Work::Exec { seq, request, image: tail });
            }
            FromBody::Mask(mask) => thread.queue.push_back(Work::Mask(mask)),
            FromBody::Action(signal, action) => thread.queue.push_back(Work::Action(signal, action)),
            FromBody::ThreadExit(status) => thread.queue.push_back(Work::ThreadExit(status)),
            FromBody::ProcessExit(status) => thread.queue.push_back(Work::ProcessExit(status)),
            FromBody::ProcessKilled(signal) => thread.queue.push_back(Work::ProcessKilled(signal)),
        }
        self.rouse(tid);
    }

    /// Something happened to a task that the warden traces.
    pub fn event(&mut self, tid: u32, event: Event) {
        if event.is_end() {
            self.ended(tid, event);
            return;
        }
        let Some(mut thread) = self.threads.remove(&tid) else {
            if matches!(event, Event::Stop(_)) {
                self.early.insert(tid);
            }
            return;
        };
        let state = std::mem::replace(&mut thread.state, Shadow::Lost);
        thread.state = match state {
            Shadow::Parked(task) => Shadow::Parked(task),
            Shadow::Dozing(task) => self.while_dozing(&mut thread, task.stopped(), event),
            Shadow::Calling(task, call) => self.while_calling(&mut thread, task.stopped(), call, event),
            Shadow::Lost => Shadow::Lost,
        };
        self.threads.insert(tid, thread);
        self.proceed(tid);
    }

    /// Puts every thread that has been parked for a while to doze. Returns when to ask again.
    pub fn idle(&mut self, now: Instant) -> Option<Instant> {
        if self.recalled {
            return None;
        }
        let mut next: Option<Instant> = None;
        let parked: Vec<_> = self
            .threads
            .iter()
            .filter(|(_, thread)| matches!(thread.state, Shadow::Parked(_)))
            .map(|(tid, thread)| (*tid, thread.parked_at + DOZE_AFTER))
            .collect();
        for (tid, due) in parked {
            if due <= now {
                self.doze(tid);
            } else {
                next = Some(next.map_or(due, |earlier| earlier.min(due)));
            }
        }
        next
    }

    /// Wakes a thread that has work.
    fn rouse(&mut self, tid: u32) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        if let Shadow::Dozing(task) = &thread.state {
            if !thread.roused {
                thread.roused = task.interrupt().is_ok();
            }
        } else {
            self.proceed(tid);
        }
    }

    /// Starts the next piece of work of a parked thread.
    fn proceed(&mut self, tid: u32) {
        loop {
            let Some(thread) = self.threads.get_mut(&tid) else { return };
            if !matches!(thread.state, Shadow::Parked(_)) {
                return;
            }
            let Some(work) = thread.queue.pop_front() else { return };
            if self.recalled && work.is_call() {
                continue;
            }
            let Shadow::Parked(task) = std::mem::replace(&mut thread.state, Shadow::Lost) else { return };
            let Some(mut thread) = self.threads.remove(&tid) else { return };
            thread.state = self.start(&mut thread, task, work).unwrap_or(Shadow::Lost);
            self.threads.insert(tid, thread);
        }
    }

    fn while_dozing(&mut self, thread: &mut Thread, task: Stopped, event: Event) -> Shadow {
        match event {
            Event::Stop(signal) if signal != libc::SIGTRAP => self.group_stop(thread, task),
            Event::Stop(_) => {
                thread.continued(&mut self.effects, task.tid());
                thread.roused = false;
                if thread.queue.is_empty() { self.dozing(thread, task) } else { thread.park(task) }
            }
            Event::Signal(signal) => match self.on_signal(thread, &task, signal) {
                Delivery::Forwarded => thread.park(task),
                Delivery::Kernel(signal) => {
                    task.resume(Resume::Cont, signal).map_or(Shadow::Lost, Shadow::Dozing)
                }
            },
            _ => task.resume(Resume::Cont, 0).map_or(Shadow::Lost, Shadow::Dozing),
        }
    }

    fn while_calling(&mut self, thread: &mut Thread, task: Stopped, call: Call, event: Event) -> Shadow {
        let going_on = |task: Stopped, signal, call| {
            task.resume(Resume::Cont, signal).map_or(Shadow::Lost, |task| Shadow::Calling(task, call))
        };
        match event {
            Event::Signal(libc::SIGTRAP) if self.is_behind_call(&task) => {
                self.interrupted(thread, task, call)
            }
            Event::Signal(signal) => match self.on_signal(thread, &task, signal) {
                Delivery::Forwarded => self.interrupted(thread, task, call),
                Delivery::Kernel(signal) => going_on(task, signal, call),
            },
            Event::Stop(signal) if signal != libc::SIGTRAP => {
                self.stopped_by_job_control(thread, task.tid());
                task.resume(Resume::Listen, 0).map_or(Shadow::Lost, |task| Shadow::Calling(task, call))
            }
            Event::Stop(_) => {
                thread.continued(&mut self.effects, task.tid());
                going_on(task, 0, call)
            }
            Event::Clone | Event::Fork | Event::Vfork => {
                self.born(thread, &task);
                going_on(task, 0, call)
            }
            Event::Exec => {
                let former = task.event_message().map_or(task.tid(), low_half);
                self.effects.push_back(Effect::Exec { pid: thread.pid, former, task });
                Shadow::Lost
            }
            _ => going_on(task, 0, call),
        }
    }

    fn is_behind_call(&self, task: &Stopped) -> bool {
        task.registers().is_ok_and(|regs| regs.rip == self.foothold.code() + TRAP_BYTES)
    }

    fn doze(&mut self, tid: u32) {
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        if let Shadow::Parked(task) = std::mem::replace(&mut thread.state, Shadow::Lost) {
            thread.state = self.dozing(&thread, task);
        }
        self.threads.insert(tid, thread);
    }

    fn dozing(&self, thread: &Thread, task: Stopped) -> Shadow {
        let started = self.launch(&task, libc::SYS_pause, [0; 6]);
        started
            .and_then(|()| task.set_mask(thread.mask))
            .and_then(|()| task.resume(Resume::Cont, 0))
            .map_or(Shadow::Lost, Shadow::Dozing)
    }

    /// Sets the registers so that the thread executes a call when it goes on.
    fn launch(&self, task: &Stopped, nr: i64, args: [u64; 6]) -> Result<(), TraceError> {
        let [rdi, rsi, rdx, r10, r8, r9] = args;
        let rax = nr.cast_unsigned();
        let rip = self.foothold.code();
        let before = task.registers()?;
        task.set_registers(&Registers { rax, rdi, rsi, rdx, r10, r8, r9, rip, orig_rax: NO_CALL, ..before })
    }
}

/// What becomes of a signal that reached a deputy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The body has a handler: it was told.
    Forwarded,
    /// Home's kernel does the rest (default action, ignored: 0).
    Kernel(i32),
}

fn slot_number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn low_half(message: u64) -> u32 {
    u32::try_from(message & 0xffff_ffff).unwrap_or(0)
}

/// A parked thread costs 11 us less for its next call than a dozing one, but hears no signals.
const DOZE_AFTER: Duration = Duration::from_millis(2);

/// `syscall; int3`: a finished call stands behind both.
const TRAP_BYTES: u64 = 3;
