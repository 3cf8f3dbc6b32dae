//! What happens to a home warden, and what it can do about it at once.

use std::rc::Rc;

use bytes::Bytes;
use ipc_home::deputy::{Deputy, Effect, files};
use ipc_home::protocol::{FromBody, ToBody};
use ipc_home::residence::Verdict;
use migration::handoff::{Incarnation, Seat};
use migration::pages::Run;
use transport::Epoch;

use super::HomeWarden;
use super::peer::clocks;
use crate::warden::bulk::Order;
use crate::warden::common::{Asked, Visit};
use crate::warden::control::{FromWarden, ToWarden};
use crate::warden::fail;
use crate::warden::handoff::{ToGuest, ToHome};
use crate::warden::memory::{Fetch, Fetched};
use crate::warden::streams::Outbox;

pub(super) enum Event {
    Children,
    /// By a body thread.
    Attached(Line, Outbox<ToBody>),
    Message(Line, FromBody, Bytes),
    Fetch(Fetch, Rc<Outbox<Fetched>>),
    /// By the guest warden of this number.
    Control(u64, Option<ToHome>),
    Asked(Asked),
    Visit(Visit),
    /// Pages that come home need these mappings first.
    Memory(Order),
}

/// The stream of a body thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// The guest warden's.
    pub(super) peer: u64,
    pub(super) tid: u32,
    /// In which it was opened.
    pub(super) epoch: Epoch,
    /// Counts all streams of the family: the thread of a new program has the id of one of the former program.
    pub(super) number: u64,
}

impl HomeWarden {
    /// Everything that can be done at once.
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Children => self.reap(),
            Event::Visit(Visit::Begins) => self.visitors += 1,
            Event::Visit(Visit::Ends) => {
                self.visitors -= 1;
                // The agent that started the warden came first; with nobody left who asks, it is not needed.
                self.leaving = self.visitors == 0;
            }
            // The calls of a body that does not count any more are not executed.
            Event::Attached(Line { peer, .. }, _) | Event::Message(Line { peer, .. }, ..)
                if !self.heard.contains_key(&peer) =>
            {
                tracing::warn!(peer, "a guest warden that was dismissed still speaks");
            }
            Event::Attached(line, _) | Event::Message(line, ..) if self.is_of_former_program(line) => {
                tracing::debug!(?line, "the last words of a former program");
            }
            // What the deputies say is for whoever counts, which is not known before the family runs there.
            Event::Attached(Line { peer, tid, .. }, outbox) => match &mut self.under_way {
                Some(moving) if moving.is_next(peer) => drop(moving.next_lines.insert(tid, outbox)),
                _ => self.attach(tid, outbox),
            },
            Event::Message(line, message, tail) => self.on_call(line, message, tail),
            Event::Fetch(Fetch { pid, pages: Run { start, pages } }, answers) => {
                match files::read(pid, Run { start, pages: pages.min(PAGES_PER_FETCH_MAX) }) {
                    Ok(data) => answers.send(Fetched { pid, start }, data.into()),
                    Err(error) => {
                        tracing::error!(pid, start, %error, "a page of a file mapping cannot be read");
                    }
                }
            }
            Event::Control(number, Some(ToHome::Refused(counts))) => self.refused.update(number, counts),
            Event::Control(number, Some(ToHome::OutOfMemory(count))) => self.out_of_memory(number, count),
            Event::Control(number, Some(ToHome::AreYouThere)) => {
                // Of no interest to one that has been dismissed.
                let _ = self.say(number, ToGuest::Here);
            }
            Event::Control(number, Some(ToHome::AskClocks(question))) => {
                fail::pass("home", "ask clocks");
                match clocks() {
                    // As above.
                    Ok(clocks) => drop(self.say(number, ToGuest::Clocks { question, clocks })),
                    Err(error) => tracing::error!(%error, "home's clocks cannot be read"),
                }
            }
            Event::Control(number, Some(message)) => {
                fail::pass("home", message.name());
                let word = message.name();
                if self.unclaimed.iter().filter(|(peer, _)| *peer == number).count() >= UNCLAIMED_MAX {
                    tracing::warn!(number, word, "a guest warden says more than it is asked");
                } else if self.heard.contains_key(&number) && self.is_awaited(&message) {
                    self.unclaimed.push_back((number, message));
                }
            }
            Event::Control(number, None) => {
                self.heard.remove(&number);
            }
            Event::Memory(order) => self.lay_out(order),
            Event::Asked(asked) => {
                let answer = match asked.question {
                    ToWarden::Status => FromWarden::Status(self.status()),
                    ToWarden::PeerGone { key } => {
                        self.lose(key);
                        FromWarden::Status(self.status())
                    }
                    _ if self.under_way.is_some() => self.failure("busy: moving".to_owned()),
                    _ => return self.waiting.push_back(asked),
                };
                // An agent that has hung up does not want to know.
                let _ = asked.answers.send(answer);
            }
        }
        self.effects();
    }

    /// A thread asks for a call, or tells of something.
    fn on_call(&mut self, Line { peer, tid, epoch, .. }: Line, message: FromBody, tail: Bytes) {
        self.call_bytes += tail.len() as u64;
        let is_undecided =
            self.under_way.as_ref().is_some_and(|moving| moving.is_starting || moving.is_next(peer));
        if !is_undecided {
            let seat = Seat::Guest(Incarnation(peer));
            let (verdict, actions) = self.residence.called(seat, epoch);
            if let Ok(moving) = self.under_way() {
                moving.due.extend(actions);
            }
            if verdict != Verdict::Execute {
                tracing::warn!(peer, tid, %epoch, "a call of a body that does not count");
                return;
            }
        }
        match &mut self.deputy {
            Some(deputy) if !is_undecided && deputy.knows(tid) => deputy.message(tid, message, tail),
            // The last words of a thread that is gone.
            Some(_) if self.starting.is_none() && self.under_way.is_none() => {}
            _ => self.too_early.push((peer, tid, message, tail)),
        }
    }

    pub(super) fn effects(&mut self) {
        while let Some(effect) = self.deputy.as_mut().and_then(Deputy::take) {
            match effect {
                Effect::Send { tid, message, tail } => {
                    self.call_bytes += tail.len() as u64;
                    match self.outboxes.get(&tid) {
                        Some(outbox) => outbox.send(message, tail),
                        // The next guest asks again, and is answered from the last reply and told the signals.
                        None if matches!(message, ToBody::Return { .. } | ToBody::Signal { .. }) => {}
                        None => self.held_back.entry(tid).or_default().push((message, tail)),
                    }
                }
                Effect::Exec { pid, task } => {
                    self.end_lines(pid);
                    // It was in the memory of the former program.
                    self.staging.remove(&pid);
                    self.first_lines.insert(pid, self.lines.get() + 1);
                    self.programs.push_back((pid, task));
                }
                Effect::Silent { tid } => {
                    self.end_lines(tid);
                    self.first_lines.remove(&tid);
                }
                Effect::Gone { pid } => {
                    self.staging.remove(&pid);
                    match &self.away {
                        Some(peer) => peer.control.send(ToGuest::End { pid, transfer: None }, Bytes::new()),
                        None => self.gone.push(pid),
                    }
                }
            }
        }
    }

    /// A thread of the family listens there from now on.
    pub(super) fn attach(&mut self, tid: u32, outbox: Outbox<ToBody>) {
        for (message, tail) in self.held_back.remove(&tid).into_iter().flatten() {
            outbox.send(message, tail);
        }
        self.outboxes.insert(tid, outbox);
        if let Some(deputy) = &mut self.deputy {
            deputy.tell_again(tid);
        }
    }

    /// Whether it may be what home waits for: of programs, only the one that is on its way.
    fn is_awaited(&self, message: &ToHome) -> bool {
        match message {
            ToHome::ProgramRuns { transfer } | ToHome::ProgramFailed { transfer, .. } => {
                self.program_transfer == Some(*transfer)
            }
            _ => true,
        }
    }

    /// What was for this thread goes nowhere.
    fn end_lines(&mut self, tid: u32) {
        self.outboxes.remove(&tid);
        self.held_back.remove(&tid);
        if let Some(moving) = &mut self.under_way {
            moving.next_lines.remove(&tid);
        }
    }

    /// Whether a stream belongs to a thread whose id a thread of a new program has now. A call of its would be executed
    /// for the new one, whose own calls would wait behind it.
    fn is_of_former_program(&self, line: Line) -> bool {
        self.first_lines.get(&line.tid).is_some_and(|first| line.number < *first)
    }
}

/// Of one guest warden: home waits for one answer at a time, and for a new program.
const UNCLAIMED_MAX: usize = 16;

/// A guest asks for sixteen; more than this is a mistake.
const PAGES_PER_FETCH_MAX: u32 = 256;
