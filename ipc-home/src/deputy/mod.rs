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

mod anchor;
mod burial;
mod doze;
mod end;
mod execute;
pub mod files;
mod lend;
mod release;
mod restart;
mod signals;
mod slots;
mod state;

pub use doze::DOZE_AFTER;
pub use state::{Effect, Home, Shadow};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use migration::deputize::ShadowThread;
use migration::foothold::Foothold;
use migration::graves::Graves;
use migration::image::ProcessImage;
use migration::landing::TRAP_BYTES;
use migration::sys::ptrace::{Registers, Resume};
use migration::sys::wait::Event;
use migration::tracee::{Running, Stopped, Waiter};

use crate::protocol::FromBody;
use crate::replies::Asked;
use burial::Burial;
use doze::dozing_on;
use signals::Delivery;
use slots::Slots;
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
    pub fn adopt(
        &mut self,
        image: &ProcessImage,
        (shadows, graves): (Vec<ShadowThread>, Graves),
    ) -> io::Result<()> {
        let pid = image.pid;
        let actions = image.actions.iter().copied().collect();
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        self.processes.insert(
            pid,
            Home {
                memory,
                actions,
                slots: Slots::given(slot_number(shadows.len())),
                anchored: BTreeSet::new(),
                burial: Burial::of(graves),
            },
        );
        for (slot, ShadowThread { tid, task }) in shadows.into_iter().enumerate() {
            let mask = image.threads.iter().find(|thread| thread.tid == tid).map_or(0, |thread| thread.mask);
            let mut thread = Thread::new(pid, slot_number(slot), mask, Shadow::Parked(task));
            thread.keeps_block = true;
            self.threads.insert(tid, thread);
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

    /// Whether this process is there and not on its way to its end.
    #[must_use]
    pub fn is_alive(&self, pid: u32) -> bool {
        let stays = |thread: &Thread| thread.pid == pid && !matches!(thread.state, Shadow::Ending(_));
        self.processes.contains_key(&pid) && self.threads.values().any(stays)
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
        if let Some(seq) = message.call() {
            let is_under_way = thread.is_at(seq);
            match thread.replies.asked(seq, is_under_way) {
                Asked::New => {}
                Asked::UnderWay => return,
                Asked::Answered((message, tail)) => {
                    let (message, tail) = (message.clone(), tail.clone());
                    return self.effects.push_back(Effect::Send { tid, message, tail });
                }
                Asked::Stale => return tracing::warn!(tid, seq, "a call that nobody waits for"),
            }
        }
        match message {
            FromBody::Attach { .. } => return,
            FromBody::Heard(number) => {
                thread.unheard.retain(|(sent, _)| *sent > number);
                return;
            }
            FromBody::Call { seq, .. } if self.recalled => return self.turn_away(tid, seq),
            FromBody::Call { seq, request, issue } => {
                thread.queue.push_back(Work::Call { seq, request, image: tail, issue });
            }
            FromBody::Settle { seq } => return self.settle(tid, seq),
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
            _ if event == Event::Exec => self.renewed(&thread, tid),
            Shadow::Parked(task) => Shadow::Parked(task),
            Shadow::Dozing(task) => self.while_dozing(&mut thread, task.stopped(), event),
            Shadow::Calling(task, call) => self.while_calling(&mut thread, task.stopped(), call, event),
            Shadow::Ending(task) => {
                task.stopped().resume(Resume::Cont, 0).map_or(Shadow::Lost, Shadow::Ending)
            }
            Shadow::Lost => {
                // Some step with it took too long. What it was doing then was not begun, and is asked for again.
                tracing::warn!(tid, ?event, "a shadow thread is back");
                thread.park(Running::attached(tid).stopped())
            }
        };
        if self.has_graves(thread.pid)
            && let Shadow::Parked(_) = thread.state
            && let Shadow::Parked(task) = std::mem::replace(&mut thread.state, Shadow::Lost)
        {
            thread.state = self.bury_between(thread.pid, task);
        }
        self.threads.insert(tid, thread);
        self.proceed(tid);
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
        if let Event::Stop(signal) = event
            && signal != libc::SIGTRAP
        {
            return self.group_stop(thread, task);
        }
        // Any stop takes a pending interrupt with it: whoever goes on with work to do must be interrupted anew.
        thread.roused = false;
        match event {
            Event::Stop(_) => {
                thread.continued(&mut self.effects, task.tid());
                if thread.queue.is_empty() { self.dozing(thread, task) } else { thread.park(task) }
            }
            Event::Signal(signal) => match self.on_signal(thread, &task, signal) {
                Delivery::Forwarded => thread.park(task),
                Delivery::Kernel(signal) => dozing_on(thread, task, signal),
            },
            Event::Exec => self.renewed(thread, task.tid()),
            _ => dozing_on(thread, task, 0),
        }
    }

    /// The process has a new program. Whichever thread has started it, the one that is left has the leader's id, and
    /// whatever the leader was doing is over.
    fn renewed(&mut self, thread: &Thread, tid: u32) -> Shadow {
        let task = Running::attached(tid).stopped();
        self.effects.push_back(Effect::Exec { pid: thread.pid, task });
        Shadow::Lost
    }

    fn while_calling(&mut self, thread: &mut Thread, task: Stopped, call: Call, event: Event) -> Shadow {
        let settling = thread.settling;
        let going_on = |task: Stopped, signal, call| match task.resume(Resume::Cont, signal) {
            // The stop has taken the interrupt with it.
            Ok(task) if settling && task.interrupt().is_err() => Shadow::Lost,
            Ok(task) => Shadow::Calling(task, call),
            Err(_) => Shadow::Lost,
        };
        match event {
            Event::Signal(libc::SIGTRAP)
                if let Ok(registers) = task.registers()
                    && self.is_behind(&registers) =>
            {
                self.concluded(thread, task, call, &registers)
            }
            Event::Stop(libc::SIGTRAP) if settling => self.interrupted(thread, task, call),
            Event::Signal(signal) => match self.on_signal(thread, &task, signal) {
                Delivery::Forwarded => self.interrupted(thread, task, call),
                Delivery::Kernel(signal) => {
                    self.hide_from(&task, signal, &call, thread.pid);
                    going_on(task, signal, call)
                }
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
            Event::Exec => self.renewed(thread, task.tid()),
            _ => going_on(task, 0, call),
        }
    }

    fn is_behind_call(&self, task: &Stopped) -> bool {
        task.registers().is_ok_and(|registers| self.is_behind(&registers))
    }

    fn is_behind(&self, registers: &Registers) -> bool {
        registers.rip == self.foothold.code() + TRAP_BYTES
    }
}

fn slot_number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn low_half(message: u64) -> u32 {
    u32::try_from(message & 0xffff_ffff).unwrap_or(0)
}
