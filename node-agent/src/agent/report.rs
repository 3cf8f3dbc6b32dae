//! What an agent does every second, and what it hears from its peers and wardens.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use transport::NodeId;
use transport::endpoint::CODE_DONE;
use transport::endpoint::{Connection, Peer};
use tui::model::{EventLevel, Flow, FlowKind, Process, ProcessState};

use super::conversation::place;
use super::families::Family;
use super::log::About;
use super::peers::{self, DialError, remember};
use super::protocol::{BodySample, Hello, PeerRequest, PeerResponse, Report};
use super::state::{Agent, Event, unix_ms};
use super::wardens::{self, WardenError};
use crate::members::{MEMBERS_MAX, Member};
use crate::mover::Refusal;
use crate::mover::place::{Capacity, check};
use crate::proc;
use crate::view;
use crate::warden::control::{Offer, ProcessStatus, WardenRole, WardenStatus};

impl Agent {
    pub(super) fn on_second(&mut self) {
        self.care.forget_ended();
        self.ask_wardens();
        let report = self.look();
        remember(&mut self.load_history, report.sample.cpu_percent);
        self.report = report;
        for (_, connection) in self.peers.lines() {
            let (connection, report) = (connection.clone(), self.report.clone());
            tokio::spawn(async move {
                // An agent that does not even take in a report is dead or cut off: its successor is to be dialled.
                if peers::ask(&connection, &PeerRequest::Report(Box::new(report))).await.is_err() {
                    connection.close(CODE_DONE, "no answer to a report");
                }
            });
        }
    }

    /// Asks every warden whose socket is there, also those that a former agent started.
    pub(super) fn ask_wardens(&mut self) {
        for (pid, reason) in self.nursery.losses() {
            self.note(
                EventLevel::Error,
                About::process(&self.me.name.clone(), pid),
                format!("{pid}: {reason}"),
            );
        }
        let sockets = self.nursery.sockets();
        self.families.keep_only(&sockets).iter().for_each(|socket| self.nursery.sweep(socket));
        for socket in sockets {
            let events = self.events.clone();
            tokio::spawn(async move {
                let status = wardens::status(&socket).await;
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::WardenAnswered { socket, status }).await;
            });
        }
    }

    pub(super) fn on_warden_answered(&mut self, socket: &Path, status: Result<WardenStatus, WardenError>) {
        match status {
            Ok(status) => {
                if status.role == WardenRole::Home
                    && status.epoch.0 > 0
                    && self.care.get(status.process.pid).is_none()
                    && let Some(process) = proc::process(status.process.pid)
                {
                    self.care.take(&process);
                }
                let pid = status.pid;
                if self.families.update(socket, status, Instant::now()) {
                    self.watch_warden(socket, pid);
                }
            }
            Err(WardenError::Gone) => {
                self.nursery.sweep(socket);
                self.families.remove(socket);
            }
            // It is busy, or about to end; the next second tells.
            Err(error) => tracing::debug!("warden {}: {}", socket.display(), error.line()),
        }
    }

    pub(super) fn on_connected(&mut self, connection: &Connection, dialled: bool) {
        let Peer::Node { id, name } = connection.peer() else { return };
        let (id, name) = (*id, name.clone());
        if id == self.me.id {
            return;
        }
        self.peers.members.certify(id, &name);
        let Some(serial) = self.peers.connected((id, &name), connection, dialled) else { return };
        tokio::spawn(peers::serve(connection.clone(), id, serial, self.events.clone()));
        self.greet(id, connection.clone());
        self.note(EventLevel::Info, About::node(&name), format!("{name} is connected"));
    }

    pub(super) fn on_unreachable(&mut self, id: NodeId, error: DialError) {
        let reason = error.to_string();
        if self.peers.unreachable(id, error)
            && let Some(member) = self.peers.members.get(id)
        {
            let name = member.name.clone();
            self.note(EventLevel::Warning, About::node(&name), format!("cannot reach {name}: {reason}"));
        }
    }

    pub(super) fn on_closed(&mut self, id: NodeId, serial: u64) {
        if self.peers.closed(id, serial)
            && let Some(member) = self.peers.members.get(id)
        {
            let name = member.name.clone();
            let text = format!("{name} is no longer connected; its wardens and ours go on");
            self.note(EventLevel::Warning, About::node(&name), text);
        }
    }

    /// Tells a peer who is here and whom this node knows.
    fn greet(&self, id: NodeId, connection: Connection) {
        let (hello, events, report) = (self.hello(), self.events.clone(), self.report.clone());
        tokio::spawn(async move {
            if let Ok(PeerResponse::Hello(hello)) = peers::ask(&connection, &PeerRequest::Hello(hello)).await
            {
                // Without an agent there is nobody to tell.
                let _ = events.send(Event::PeerGreeted { id, hello }).await;
            }
            // So that the peer has not to wait for the next second.
            let _ = peers::ask(&connection, &PeerRequest::Report(Box::new(report))).await;
        });
    }

    fn hello(&self) -> Hello {
        let members = self.peers.members.iter().cloned().collect();
        Hello { member: self.me.clone(), machine: self.machine.clone(), members }
    }

    pub(super) fn on_hello(&mut self, id: NodeId, hello: Hello) {
        let peer = self.peers.entry(id);
        if hello.member.id != id || peer.name.as_ref() != Some(&hello.member.name) {
            tracing::warn!("{id} introduced itself as {} {}", hello.member.id, hello.member.name);
            return;
        }
        peer.machine = Some(hello.machine);
        self.learn(std::iter::once(hello.member).chain(hello.members.into_iter().take(MEMBERS_MAX)));
    }

    /// Takes in members, and tells the others if there was news.
    pub(super) fn learn(&mut self, members: impl IntoIterator<Item = Member>) {
        let mut news = false;
        for member in members.into_iter().filter(|member| member.id != self.me.id) {
            news |= self.peers.members.learn(member);
        }
        if !news {
            return;
        }
        if let Err(error) = self.peers.members.save(&self.dirs.members_file()) {
            tracing::warn!("members are not remembered over a restart: {error}");
        }
        self.admitter.set_members(&self.peers.members);
        for (id, connection) in self.peers.lines() {
            self.greet(id, connection.clone());
        }
    }

    pub(super) fn on_peer_asked(
        &mut self,
        id: NodeId,
        request: PeerRequest,
        reply: oneshot::Sender<PeerResponse>,
    ) {
        let response = match request {
            PeerRequest::Hello(hello) => {
                let answer = self.hello();
                self.on_hello(id, hello);
                PeerResponse::Hello(answer)
            }
            PeerRequest::Report(report) => {
                self.log.merge(id, report.incarnation, &report.events);
                self.peers.entry(id).heard(*report, unix_ms());
                PeerResponse::Noted
            }
            PeerRequest::WardenGone { process, key } => {
                self.on_peer_warden_gone(id, process, key);
                PeerResponse::Noted
            }
            PeerRequest::Check(offer) => PeerResponse::Refused(self.check_offer(id, &offer)),
            PeerRequest::Place(offer) => {
                let refusals = self.check_offer(id, &offer);
                if refusals.is_empty() {
                    let (nursery, events) = (Arc::clone(&self.nursery), self.events.clone());
                    tokio::spawn(async move { reply.send(place(nursery, offer, events).await) });
                    return;
                }
                PeerResponse::Refused(refusals)
            }
        };
        // The peer may be gone; then nobody waits for the answer.
        let _ = reply.send(response);
    }

    fn check_offer(&self, from: NodeId, offer: &Offer) -> Vec<Refusal> {
        if offer.process.home != from {
            return vec![Refusal::NotHome];
        }
        let all = Capacity {
            cpu: proc::cpu(),
            memory_free_bytes: proc::memory_free_bytes(),
            families: self.families.guests().count(),
            allow_root: self.nursery.allow_root,
        };
        let guests_bytes = self.report.bodies.iter().map(|body| body.rss_bytes).sum();
        check(&offer.needs, &self.reserve.offered(all, guests_bytes))
    }

    /// What is going on here now.
    fn look(&mut self) -> Report {
        let now = Instant::now();
        let sample = self.sampler.node();
        let mut processes: Vec<Process> =
            self.own_pids().into_iter().filter_map(|pid| self.home_row(pid, now)).collect();
        processes.truncate(view::PROCESSES_MAX);
        let flows = self.families.homes().filter(|family| family.status.at != self.me.name);
        let flows = view::add_up(flows.map(|family| self.flow(family)));
        Report {
            incarnation: self.report.incarnation,
            sample,
            processes,
            bodies: self.bodies(now),
            flows,
            moves: self.moves.values().map(|moving| moving.progress.clone()).collect(),
            events: self.log.own(),
        }
    }

    /// The last report, with what has changed since: who asks after a move wants to see it.
    pub(super) fn report_now(&mut self) -> Report {
        let mut report = self.report.clone();
        for process in &mut report.processes {
            Place { at: process.at, state: process.state, epoch: process.epoch } = self.place(process.pid);
        }
        let (now, old) =
            (Instant::now(), report.processes.iter().map(|process| process.pid).collect::<HashSet<_>>());
        let new = self.own_pids().into_iter().filter(|pid| !old.contains(pid));
        report.processes.extend(new.filter_map(|pid| self.home_row(pid, now)));
        report.processes.truncate(view::PROCESSES_MAX);
        report
    }

    /// The processes in care, and the children of families, which are in care as long as their warden knows them.
    fn own_pids(&self) -> Vec<u32> {
        let families = self.families.homes().flat_map(|family| pids(&family.status));
        let others = families.filter(|pid| self.care.get(*pid).is_none());
        self.care.pids().into_iter().chain(others).collect()
    }

    /// A process whose home this is, as home knows it.
    fn home_row(&mut self, pid: u32, now: Instant) -> Option<Process> {
        let process = proc::process(pid)?;
        let Place { at, state, epoch } = self.place(pid);
        let family = self.families.of_home_pid(pid).filter(|family| family.status.process.pid == pid);
        let calls = family.map(|family| (family.calls_per_s, family.call_bytes_per_s));
        let here = at == self.me.name;
        if state == ProcessState::Home {
            self.care.refresh(&process);
        }
        let cared = self.care.get(pid);
        Some(Process {
            pid,
            command: process.comm.clone(),
            user: proc::user_name(process.uids[0]),
            home: self.me.name.clone(),
            state,
            cpu_percent: here.then(|| self.sampler.cpu_percent(&process, now)),
            threads: process.threads,
            rss_bytes: here.then_some(process.rss_bytes),
            calls_per_s: calls.map_or(0.0, |(calls, _)| calls),
            call_bytes_per_s: calls.map_or(0.0, |(_, bytes)| bytes),
            epoch,
            last_pause_us: cared.and_then(|cared| cared.last_pause_us),
            moves: cared.map_or(0, |cared| cared.moves),
            at,
        })
    }

    /// Where a process of this node is now, as far as its warden has told.
    fn place(&self, pid: u32) -> Place {
        let family = self.families.of_home_pid(pid);
        let at = family.map_or(&self.me.name, |family| &family.status.at).clone();
        let first = family.map_or(pid, |family| family.status.process.pid);
        let moving = family.is_some_and(|family| family.status.moving)
            || self.moves.values().any(|moving| moving.progress.process.pid == first);
        let state = match (moving, at == self.me.name) {
            (true, _) => ProcessState::Moving,
            (false, true) => ProcessState::Home,
            (false, false) => ProcessState::Away,
        };
        Place { at, state, epoch: family.map_or(0, |family| family.status.epoch.0) }
    }

    fn bodies(&mut self, now: Instant) -> Vec<BodySample> {
        let all = self.families.guests().flat_map(|family| {
            let process = family.status.process;
            family
                .status
                .processes
                .iter()
                .map(move |ProcessStatus { pid, local_pid, .. }| (process, *pid, *local_pid))
        });
        let all: Vec<_> = all.collect();
        let sample = |(family, pid, local_pid)| {
            let process = proc::process(local_pid)?;
            let cpu_percent = self.sampler.cpu_percent(&process, now);
            let (rss_bytes, threads) = (process.rss_bytes, process.threads);
            Some(BodySample { family, pid, cpu_percent, rss_bytes, threads })
        };
        all.into_iter().filter_map(sample).collect()
    }

    fn flow(&self, family: &Family) -> Flow {
        Flow {
            from: family.status.at.clone(),
            to: self.me.name.clone(),
            kind: FlowKind::Calls,
            calls_per_s: family.calls_per_s,
            bytes_per_s: family.call_bytes_per_s,
        }
    }
}

/// Where a process is.
struct Place {
    at: String,
    state: ProcessState,
    /// 0 at home.
    epoch: u64,
}

fn pids(status: &WardenStatus) -> Vec<u32> {
    status.processes.iter().map(|process| process.pid).collect()
}
