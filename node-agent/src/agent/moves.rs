//! Carries out what movers decide: each move is a [`Mover`] and one task that talks to the home warden.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use transport::{KeyHash, NodeId, ProcessId};
use tui::model::{EventLevel, MoveInProgress, ProcessRef};

use super::access::{self, Caller};
use super::conversation::converse;
use super::deaths::introduce;
use super::log::About;
use super::peers;
use super::protocol::{PeerRequest, PeerResponse};
use super::state::{Agent, Event, Reply, unix_ms};
use crate::api::{MoveRequest, Response, Target};
use crate::exit::{ExitCode, Failure};
use crate::mover::{self, Action, Mover, Order, Outcome, Refusal};
use crate::proc::Process;
use crate::warden::control::{MoveReport, ProcessStatus, ToWarden, WardenRole, WardenStatus};

/// A move under way.
#[derive(Debug)]
pub(super) struct Moving {
    mover: Mover,
    command: String,
    /// The family's first process: its pid and start time.
    first: (u32, u64),
    to_warden: Option<mpsc::Sender<ToWarden>>,
    reply: Option<Reply>,
    wait: bool,
    pub(super) progress: MoveInProgress,
}

impl Agent {
    /// Begins a move, or says why not.
    pub(super) fn begin_move(&mut self, caller: Caller, request: &MoveRequest, reply: Reply) {
        match self.check_move(caller, request) {
            Ok(Some((process, order))) => self.start_move(&process, order, request.wait, reply),
            Ok(None) => {
                let at = self.residence(request.pid);
                answer(&reply, Response::AlreadyThere { at });
            }
            Err(failure) => answer(&reply, Response::Failed(failure)),
        }
    }

    /// Tells a mover what happened and does what it wants.
    pub(super) fn on_move(&mut self, ticket: u64, event: mover::Event) {
        let now = self.started.elapsed();
        let Some(moving) = self.moves.get_mut(&ticket) else { return };
        if matches!(event, mover::Event::WardenFound) {
            let (pid, start_ticks) = moving.first;
            tokio::spawn(introduce(self.nursery.home_socket(pid, start_ticks), self.events.clone()));
        }
        let actions = moving.mover.step(now, event);
        self.perform(ticket, actions);
    }

    /// Lets time pass for movers whose deadline is over.
    pub(super) fn tick_moves(&mut self) {
        for ticket in self.moves.keys().copied().collect::<Vec<_>>() {
            self.on_move(ticket, mover::Event::Tick);
        }
    }

    /// When [`Agent::tick_moves`] is due next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline: Option<Duration> = self.moves.values().map(|moving| moving.mover.deadline()).min();
        deadline.map(|deadline| self.started + deadline)
    }

    /// Finds a process of this node that the caller may move.
    pub(super) fn find(&self, pid: u32, caller: Caller) -> Result<Process, Failure> {
        if let Some(family) = self.families.of_body(pid) {
            let (home, first) = (&family.status.home_name, family.status.process.pid);
            let what = format!("cannot use process {pid} at {}", self.me.name);
            let why = format!("it is a body of {first} of {home}");
            let next = format!("ask at {home}, where it is known as {first}");
            return Err(Failure::new(ExitCode::NotFound, what, why).next(next));
        }
        let name = |namespace| self.peers.in_namespace(&self.machine.boot_id, namespace);
        access::find(pid, caller, &self.me.name, name)
    }

    /// Where a process's body is.
    pub(super) fn residence(&self, pid: u32) -> String {
        self.families.of_home_pid(pid).map_or_else(|| self.me.name.clone(), |family| family.status.at.clone())
    }

    /// The first process of its family: its pid and start time.
    pub(super) fn first_of(&self, process: &Process) -> (u32, u64) {
        self.families.of_home_pid(process.pid).map_or((process.pid, process.start_ticks), |family| {
            (family.status.process.pid, family.status.process.start_ticks)
        })
    }

    /// `None` if the process is there already.
    fn check_move(&self, caller: Caller, request: &MoveRequest) -> Result<Option<(Process, Order)>, Failure> {
        let process = self.find(request.pid, caller)?;
        let to = match &request.to {
            Target::Home => self.me.name.clone(),
            Target::Node(name) => name.clone(),
        };
        self.member_id(&to)?;
        let first = self.first_of(&process);
        let under_way = self.moves.values().any(|moving| moving.first == first);
        let family = self.families.of_home_pid(request.pid);
        if under_way || family.is_some_and(|family| family.status.moving) {
            let what = format!("cannot move {} ({}) to {to}", request.pid, process.comm);
            let failure = Failure::new(ExitCode::Refused, what, "busy: moving");
            return Err(failure.next("wait until that move is done: homing ps -w"));
        }
        if to != self.me.name {
            access::check_not_homing(&process, &self.nursery.program, &self.me.name)?;
            access::check_root(&process, &self.me.name, self.nursery.allow_root)?;
        }
        let (pid, home, from) = (request.pid, self.me.name.clone(), self.residence(request.pid));
        if from == to {
            return Ok(None);
        }
        Ok(Some((process, Order { pid, home, from, to, dry_run: request.dry_run })))
    }

    /// The id of a node of the cluster.
    pub(super) fn member_id(&self, name: &str) -> Result<NodeId, Failure> {
        if name == self.me.name {
            return Ok(self.me.id);
        }
        self.peers.members.named(name).map(|member| member.id).ok_or_else(|| {
            let mut names: Vec<&str> = self.peers.members.iter().map(|member| member.name.as_str()).collect();
            names.push(&self.me.name);
            names.sort_unstable();
            let why = format!("the nodes are {}", names.join(", "));
            Failure::new(ExitCode::NotFound, format!("no node is named {name}"), why).next("homing nodes")
        })
    }

    fn start_move(&mut self, process: &Process, order: Order, wait: bool, reply: Reply) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let (from, to) = (order.from.clone(), order.to.clone());
        let progress = MoveInProgress {
            process: ProcessRef { home: order.home.clone(), pid: order.pid },
            from: from.clone(),
            to: to.clone(),
            round: 0,
            bytes_sent: 0,
            bytes_total: None,
            started_unix_ms: unix_ms(),
        };
        if !order.dry_run {
            self.care.take(process);
            let text = format!("{} {}: moving {from} -> {to}", order.pid, process.comm);
            self.note(EventLevel::Info, About::process(&order.home, order.pid), text);
            if !wait {
                answer(&reply, Response::Started { from, to });
            }
        }
        let (first, command) = (self.first_of(process), process.comm.clone());
        let (mover, actions) = Mover::begin(order, self.started.elapsed());
        let moving = Moving { mover, command, first, to_warden: None, reply: Some(reply), wait, progress };
        self.moves.insert(ticket, moving);
        self.perform(ticket, actions);
    }

    fn perform(&mut self, ticket: u64, actions: Vec<Action>) {
        for mut action in actions {
            if let Action::Place { offer, .. } | Action::Check { offer, .. } = &mut action {
                let order = self.moves.get(&ticket).map(|moving| moving.mover.order());
                let away_bytes = order.map_or(0, |order| self.body_bytes(&order.from, order.pid));
                offer.needs.memory_bytes = offer.needs.memory_bytes.max(away_bytes);
            }
            let Some(moving) = self.moves.get_mut(&ticket) else { return };
            match action {
                Action::FindWarden => {
                    let (to_warden, commands) = mpsc::channel(COMMANDS_MAX);
                    moving.to_warden = Some(to_warden);
                    let (nursery, events) = (Arc::clone(&self.nursery), self.events.clone());
                    tokio::spawn(converse(nursery, moving.first, commands, ticket, events));
                }
                Action::Tell(message) => {
                    // A conversation that is over reports that itself.
                    let _ = moving.to_warden.as_ref().map(|warden| warden.try_send(message));
                }
                Action::Place { node, offer } => {
                    moving.progress.bytes_total = Some(offer.needs.memory_bytes);
                    self.ask_target(ticket, &node, PeerRequest::Place(offer));
                }
                Action::Check { node, offer } => self.ask_target(ticket, &node, PeerRequest::Check(offer)),
                Action::Progress { round, bytes_sent } => {
                    (moving.progress.round, moving.progress.bytes_sent) = (round, bytes_sent);
                    if let Some(reply) = moving.reply.as_ref().filter(|_| moving.wait) {
                        answer(reply, Response::Progress { round, bytes_sent });
                    }
                }
                Action::Finish(outcome) => self.finish_move(ticket, outcome),
            }
        }
    }

    /// What a family has at its guest, as that said last: home's processes hold no memory then.
    pub(super) fn body_bytes(&self, at: &str, pid: u32) -> u64 {
        let Some(family) = self.families.of_home_pid(pid).map(|family| family.status.process) else {
            return 0;
        };
        let guest = self.peers.members.named(at).and_then(|member| self.peers.get(member.id));
        let bodies = guest.and_then(|guest| guest.report.as_ref()).map_or(&[][..], |report| &report.bodies);
        bodies.iter().filter(|body| body.family == family).map(|body| body.rss_bytes).sum()
    }

    fn ask_target(&self, ticket: u64, node: &str, request: PeerRequest) {
        let line =
            self.member_id(node).map_err(|failure| Refusal::Unreachable { reason: failure.to_string() });
        let line = line.and_then(|id| self.peers.line(id));
        let events = self.events.clone();
        tokio::spawn(async move {
            let response = match line {
                Ok(connection) => peers::ask(&connection, &request).await,
                Err(refusal) => Err(refusal),
            };
            let event = match response {
                Ok(PeerResponse::Accepted(accept)) => mover::Event::Placed(accept),
                Ok(PeerResponse::Refused(refusals)) => mover::Event::Checked(refusals),
                Ok(_) => {
                    let reason = "it answered something else than was asked".into();
                    mover::Event::Checked(vec![Refusal::Unreachable { reason }])
                }
                Err(refusal) => mover::Event::Checked(vec![refusal]),
            };
            // Without an agent there is nobody to tell.
            let _ = events.send(Event::Move { ticket, event }).await;
        });
    }

    fn finish_move(&mut self, ticket: u64, outcome: Outcome) {
        let Some(moving) = self.moves.remove(&ticket) else { return };
        let order = moving.mover.order();
        let about = About::process(&order.home, order.pid);
        let response = match outcome {
            Outcome::Moved(report) => {
                let (pid, start_ticks) = moving.first;
                let status = WardenStatus {
                    // Until the warden itself has been heard: no process has this number.
                    pid: 0,
                    key: KeyHash([0; 32]),
                    role: WardenRole::Home,
                    process: ProcessId { home: self.me.id, pid, start_ticks },
                    home_name: order.home.clone(),
                    at: report.at.clone(),
                    epoch: report.epoch,
                    moving: false,
                    processes: vec![ProcessStatus {
                        pid,
                        local_pid: pid,
                        command: moving.command.clone(),
                        threads: 1,
                    }],
                    calls: 0,
                    call_bytes: 0,
                    refused_calls: Vec::new(),
                };
                self.families.moved(&self.nursery.home_socket(pid, start_ticks), status);
                self.care.moved(order.pid, report.pause_us);
                let text = moved_text(order, &moving.command, &report);
                self.note(EventLevel::Info, about, text);
                Response::Moved { from: order.from.clone(), report }
            }
            Outcome::Possible(plan) => Response::Plan(plan),
            Outcome::Failed(failure) => {
                if failure.code != ExitCode::UnderWay {
                    self.families.stays(order.pid);
                }
                if !order.dry_run {
                    let text = format!("{} {}: {}", order.pid, moving.command, one_line(&failure));
                    self.note(EventLevel::Warning, about, text);
                }
                Response::Failed(failure)
            }
        };
        if let Some(reply) = moving.reply.filter(|_| moving.wait || order.dry_run) {
            answer(&reply, response);
        }
        self.ask_wardens();
    }
}

/// Sends a response to a client that may be gone.
pub(super) fn answer(reply: &Reply, response: Response) {
    // A client that is gone or reads nothing loses its answer; the event log has it.
    let _ = reply.try_send(response);
}

fn moved_text(order: &Order, command: &str, report: &MoveReport) -> String {
    let Order { pid, from, to, .. } = order;
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let pause_ms = report.pause_us as f64 / 1000.0;
    format!("{pid} {command}: moved {from} -> {to}, epoch {}, pause {pause_ms:.1} ms", report.epoch)
}

fn one_line(failure: &Failure) -> String {
    format!("{}: {}", failure.what, failure.why.join("; "))
}

/// A mover has at most three things to say.
const COMMANDS_MAX: usize = 4;
