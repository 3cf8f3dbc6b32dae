//! The bodies of a family at a guest node: their trapped calls go home, home's answers and signals come in.
//!
//! ```text
//!                 notification                   Return
//!   Running ─────────────────────▶ Waiting ─────────────────▶ Running
//!      │  filter stop (clone, exec, exit, file mmap)             ▲
//!      └──────────▶ Trapped ── message home ── Return, resume ───┘
//! ```
//! A waiting thread can be woken by nothing but its answer or SIGKILL, so every signal comes before the answer of the
//! call that it interrupts, and home alone decides which call that is.
//!
//! Nothing here waits for the network: each method does what can be done now and leaves what there is to say in
//! [`Guest::take`].

mod answers;
mod births;
mod calls;
mod leave;
mod mapping;
mod memory;
mod signals;
mod state;
mod stepping;

pub use leave::Transfers;
pub use state::{BodyProcess, Effect};

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::os::fd::AsFd;
use std::rc::Rc;

use bytes::Bytes;
use migration::body::Body;
use migration::foothold::Foothold;
use migration::image::{Backing, ProcessImage};
use migration::sys::ptrace::Resume;
use migration::sys::wait::Event;
use migration::sys::{pidfd, signal};
use migration::tracee::{Running, Stopped, Waiter};
use migration::tracking::SharedWritten;
use migration::vdso::Vdso;

use crate::protocol::{FromBody, ToBody};
use state::{Again, Standing, Thread, Trapped};

/// All bodies of one family at this node.
#[derive(Debug)]
pub struct Guest {
    foothold: Foothold,
    waiter: Rc<Waiter>,
    processes: BTreeMap<u32, BodyProcess>,
    threads: HashMap<u32, Thread>,
    /// From the thread id that the warden sees to the one at home.
    by_outer: HashMap<u32, u32>,
    /// New tasks whose first stop came before their parent's event.
    early: HashSet<u32>,
    effects: VecDeque<Effect>,
    refused: BTreeMap<&'static str, u64>,
    calls: u64,
    call_bytes: u64,
    births: u64,
    cookies: i32,
    /// Processes whose deputy was gone before home's answer to their birth was here.
    stillborn: HashSet<u32>,
    /// Every thread that stops stays so.
    freezing: bool,
    /// The family's image is on its way: what comes now is for the next guest.
    captured: bool,
    /// It goes home from here.
    going_home: bool,
    signals: HashMap<i32, migration::sys::ptrace::SigInfo>,
}

impl Guest {
    /// A family without processes.
    #[must_use]
    pub fn new(foothold: Foothold, waiter: Rc<Waiter>) -> Guest {
        Guest {
            foothold,
            waiter,
            processes: BTreeMap::new(),
            threads: HashMap::new(),
            by_outer: HashMap::new(),
            early: HashSet::new(),
            stillborn: HashSet::new(),
            effects: VecDeque::new(),
            refused: BTreeMap::new(),
            calls: 0,
            call_bytes: 0,
            births: 0,
            cookies: 0,
            freezing: false,
            captured: false,
            going_home: false,
            signals: HashMap::new(),
        }
    }

    /// Takes in a rebuilt process; it stands still until [`Guest::start`].
    pub fn adopt(&mut self, body: Body, image: &ProcessImage) {
        let pid = body.vessel.pid;
        let home = image.layout.vmas.iter().filter(|vma| vma.backing == Backing::Home);
        let process = BodyProcess {
            outer: body.vessel.outer,
            pidfd: Rc::new(body.vessel.pidfd),
            memory: Rc::new(body.vessel.memory),
            uffd: Rc::new(body.vessel.uffd),
            vdso: Vdso::among(&image.layout.special),
            listener: Rc::new(body.listener),
            from_home: home.map(|vma| vma.start..vma.end).collect(),
            borrows_memory: false,
            written: SharedWritten::default(),
            fetching: BTreeMap::new(),
            forked_uffd: None,
            ending: false,
        };
        self.effects.push_back(Effect::Listen { pid, listener: Rc::clone(&process.listener) });
        self.effects.push_back(Effect::Serve { pid, uffd: Rc::clone(&process.uffd) });
        self.processes.insert(pid, process);
        for thread in body.threads {
            let tid = thread.tid;
            let (outer, seen) = (thread.task.tid(), image.threads.iter().find(|seen| seen.tid == tid));
            self.by_outer.insert(outer, tid);
            self.effects.push_back(Effect::Attach { pid, tid });
            let seq = seen.map_or(0, |seen| seen.calls);
            let mut adopted = Thread::new(pid, outer, seq, Standing::Still(thread.task));
            if let Some(seen) = seen {
                adopted.interrupted_at_home = answers::is_interrupted(&seen.registers);
                adopted.again = Again::of(&seen.registers, seen.rest, seen.moved);
                adopted.signals = seen.signals;
            }
            self.threads.insert(tid, adopted);
        }
    }

    /// Lets every thread that stands still run.
    pub fn start(&mut self) {
        self.start_with(|task| running(task.resume(Resume::Cont, 0)));
    }

    fn start_with(&mut self, resume: impl Fn(Stopped) -> Standing) {
        let tids: Vec<u32> = self.threads.keys().copied().collect();
        for tid in tids {
            let Some(thread) = self.threads.get_mut(&tid) else { continue };
            if matches!(thread.standing, Standing::Still(_))
                && let Standing::Still(task) = std::mem::replace(&mut thread.standing, Standing::Lost)
            {
                let standing = match thread.held_signal.take().filter(|info| !info.is_fault()) {
                    Some(info) => {
                        // It may stand at another stop by now, which says nothing of the signal.
                        let _ = task.set_signal_info(&info);
                        self.settle(tid, task, info.signo())
                    }
                    None => resume(task),
                };
                self.stand(tid, standing);
            }
        }
    }

    /// What there is to tell home or to do for the warden, in order.
    pub fn take(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The processes by their pid at home.
    #[must_use]
    pub fn processes(&self) -> &BTreeMap<u32, BodyProcess> {
        &self.processes
    }

    /// Threads of one process.
    #[must_use]
    pub fn thread_count(&self, pid: u32) -> usize {
        self.threads.values().filter(|thread| thread.pid == pid).count()
    }

    /// Calls that were refused because homing has no way to forward them yet, by name.
    #[must_use]
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// Calls forwarded, and their payload bytes both ways.
    #[must_use]
    pub fn traffic(&self) -> (u64, u64) {
        (self.calls, self.call_bytes)
    }

    /// Ends a body at once: its deputy is gone, or it has a new program.
    pub fn end(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ending = true;
            // A body that is gone already needs no end.
            let _ = pidfd::send_signal(process.pidfd.as_fd(), libc::SIGKILL);
        } else if self.gives_birth() {
            // What home says of births comes on other streams and may be later.
            self.stillborn.insert(pid);
        }
    }

    /// Whether a process is on its way to its end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.processes.values().any(|process| process.ending)
    }

    /// A message of a shadow thread.
    pub fn message(&mut self, tid: u32, message: ToBody, tail: &Bytes) {
        let Some(thread) = self.threads.get(&tid) else { return };
        let outer = self.processes.get(&thread.pid).map(|process| process.outer);
        match message {
            ToBody::Return { seq, result, file } => self.returned(tid, seq, result, file, tail),
            ToBody::Signal { number, info } => self.signal(tid, number, &info),
            ToBody::Stop => {
                let _ = outer.map(|outer| signal::kill(outer, libc::SIGSTOP));
            }
            ToBody::Continue => {
                let _ = outer.map(|outer| signal::kill(outer, libc::SIGCONT));
            }
        }
    }

    /// Something happened to a task that the warden traces.
    pub fn event(&mut self, outer: u32, event: Event) {
        if event.is_end() {
            self.ended(outer, event);
            return;
        }
        let Some(&tid) = self.by_outer.get(&outer) else {
            self.early.insert(outer);
            return;
        };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        let standing = std::mem::replace(&mut thread.standing, Standing::Lost);
        let next = match standing {
            Standing::Running(task) => self.stopped_anywhere(tid, task.stopped(), event),
            Standing::Stepping(task, on) => self.stepped(tid, task.stopped(), event, *on),
            // The stop that was asked for together with an answer comes while the answer is on its way.
            Standing::Waiting(task, _) => self.stopped(tid, task.stopped(), event),
            Standing::Mapping(task, args) => self.mapped_here(tid, task.stopped(), args, event),
            Standing::Entering(task, mask) => self.entered(task.stopped(), mask, event),
            Standing::Arriving(task) => self.arrived(tid, task.stopped()),
            other => other,
        };
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.standing = next;
        }
    }

    fn stopped(&mut self, tid: u32, task: Stopped, event: Event) -> Standing {
        if matches!(event, Event::Signal(_) | Event::Stop(_)) && self.reissue_unread(tid, &task).is_err() {
            return Standing::Lost;
        }
        if self.freezing {
            return self.hold(tid, task, event);
        }
        match event {
            Event::Seccomp => self.trapped(tid, task),
            Event::Signal(number) => self.deliver(tid, task, number),
            Event::Stop(number) if number != libc::SIGTRAP => running(task.resume(Resume::Listen, 0)),
            Event::Stop(_) => self.after_interrupt(tid, task),
            Event::Clone | Event::Fork | Event::Vfork => self.born(tid, task),
            _ => running(task.resume(Resume::Cont, 0)),
        }
    }

    /// The filter stopped a thread before a call that changes processes or mappings.
    fn trapped(&mut self, tid: u32, task: Stopped) -> Standing {
        let Ok(registers) = task.registers() else { return Standing::Lost };
        match registers.orig_rax.cast_signed() {
            libc::SYS_mmap => self.map_file(tid, task, &registers),
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork | libc::SYS_vfork => {
                self.give_birth(tid, task, &registers)
            }
            libc::SYS_execve | libc::SYS_execveat => self.execute(tid, task, &registers),
            libc::SYS_exit => {
                self.send(tid, FromBody::ThreadExit(low_i32(registers.rdi)), Bytes::new());
                running(task.resume(Resume::Cont, 0))
            }
            libc::SYS_exit_group => {
                if let Some(process) =
                    self.threads.get(&tid).and_then(|thread| self.processes.get_mut(&thread.pid))
                {
                    process.ending = true;
                }
                self.send(tid, FromBody::ProcessExit(low_i32(registers.rdi)), Bytes::new());
                running(task.resume(Resume::Cont, 0))
            }
            _ => running(task.resume(Resume::Cont, 0)),
        }
    }

    fn ended(&mut self, outer: u32, event: Event) {
        self.early.remove(&outer);
        let Some(tid) = self.by_outer.remove(&outer) else { return };
        tracing::debug!(tid, ?event, "a body thread has ended");
        let Some(thread) = self.threads.get(&tid) else { return };
        let pid = thread.pid;
        let Some(process) = self.processes.get(&pid) else { return };
        if process.outer != outer {
            self.threads.remove(&tid);
            self.effects.push_back(Effect::Silent { tid });
            return;
        }
        if let Event::Killed(number) = event
            && !process.ending
        {
            self.send(tid, FromBody::ProcessKilled(number), Bytes::new());
        }
        self.processes.remove(&pid);
        let gone = self.threads.iter().filter(|(_, thread)| thread.pid == pid);
        self.effects.extend(gone.map(|(tid, _)| Effect::Silent { tid: *tid }));
        self.threads.retain(|_, thread| thread.pid != pid);
        for lender in self.threads.values_mut().filter(|thread| thread.lends_memory_to == Some(pid)) {
            lender.lends_memory_to = None;
        }
        self.by_outer.retain(|_, tid| self.threads.contains_key(tid));
        self.effects.push_back(Effect::Gone { pid });
    }

    fn send(&mut self, tid: u32, message: FromBody, tail: Bytes) {
        self.call_bytes += tail.len() as u64;
        self.effects.push_back(Effect::Send { tid, message, tail });
    }
}

/// A thread that was resumed, or is gone.
fn running(resumed: Result<Running, migration::tracee::TraceError>) -> Standing {
    resumed.map_or(Standing::Lost, Standing::Running)
}

fn low_i32(word: u64) -> i32 {
    i32::from_ne_bytes(low_u32(word).to_ne_bytes())
}

fn low_u32(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or(0)
}

/// A thread that waits for home at a filter stop.
fn waits(task: Stopped, what: Trapped) -> Standing {
    Standing::Trapped(task, what)
}
