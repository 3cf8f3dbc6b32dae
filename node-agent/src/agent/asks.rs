//! What clients of the local socket ask.

use std::sync::Arc;

use tui::model::{Process, ProcessState, View};

use super::access::Caller;
use super::moves::answer;
use super::state::{Agent, Reply, unix_ms};
use super::why;
use crate::api::{Request, Response};
use crate::exit::{ExitCode, Failure};
use crate::proc;
use crate::view::{self, Known, PROCESSES_MAX};
use tui::model::NodeState;

impl Agent {
    pub(super) fn on_asked(&mut self, caller: Caller, request: Request, reply: Reply) {
        let response = match request {
            Request::Move(request) => return self.begin_move(caller, &request, reply),
            Request::Job(request) => return self.on_job_asked(caller, request, reply),
            Request::Why { pid, node } => match self.begin_why(caller, pid, node.as_deref()) {
                Ok(question) => {
                    let nursery = Arc::clone(&self.nursery);
                    tokio::spawn(async move { answer(&reply, why::explain(&nursery, question).await) });
                    return;
                }
                Err(failure) => Err(failure),
            },
            Request::View { all } => Ok(Response::View(Box::new(self.view(caller, all)))),
            Request::Register => self.register(caller),
            Request::Events { after } => {
                let (events, next) = self.log.after(after);
                Ok(Response::Events { events, next })
            }
            Request::TokenCreate { ttl } => {
                caller.require_root("cannot make a token").and_then(|()| self.admitter.create_token(ttl))
            }
            Request::TokenList => {
                caller.require_root("cannot list tokens").and_then(|()| self.admitter.list_tokens())
            }
            Request::TokenRevoke { id } => {
                caller.require_root("cannot revoke a token").and_then(|()| self.admitter.revoke_token(&id))
            }
        };
        answer(&reply, response.unwrap_or_else(Response::Failed));
    }

    fn register(&mut self, caller: Caller) -> Result<Response, Failure> {
        let what = format!("cannot register at {}", self.me.name);
        let Some(pid) = caller.pid else {
            let why = "you run in a pid namespace that this agent does not see";
            return Err(
                Failure::new(ExitCode::NotStarted, what, why).next("start an agent in that namespace")
            );
        };
        let process = self.find(pid, caller)?;
        self.care.take(&process);
        Ok(Response::Registered)
    }

    fn view(&mut self, caller: Caller, all: bool) -> View {
        let report = self.report_now();
        let own = Known {
            id: self.me.id,
            name: &self.me.name,
            state: NodeState::Ok,
            rtt_ms: None,
            last_seen_unix_ms: Some(unix_ms()),
            load_history: self.load_history.clone(),
            report: Some(&report),
        };
        let others = self.peers.members.iter().map(|member| {
            let peer = self.peers.get(member.id);
            Known {
                id: member.id,
                name: &member.name,
                state: peer.map_or(NodeState::Lost, |peer| peer.state()),
                rtt_ms: peer.and_then(|peer| peer.rtt_ms()),
                last_seen_unix_ms: peer.and_then(|peer| peer.heard_at_unix_ms),
                load_history: peer.map(|peer| peer.load_history.clone()).unwrap_or_default(),
                report: peer.and_then(|peer| peer.report.as_ref()),
            }
        });
        let nodes: Vec<Known<'_>> = std::iter::once(own).chain(others).collect();
        let mut view = view::build(&self.cluster, unix_ms(), &nodes, self.log.latest(EVENTS_SHOWN_MAX));
        for process in view.processes.iter_mut().filter(|process| process.home == self.me.name) {
            if let Some(cared) = self.care.get(process.pid).filter(|cared| caller.may_touch(cared.uid)) {
                process.command = view::shorten(&cared.command_line);
            }
        }
        if all {
            self.add_uncared(&mut view, caller);
        }
        view
    }

    /// Adds the processes of this node that could be moved but never were.
    fn add_uncared(&self, view: &mut View, caller: Caller) {
        let own = proc::network_namespace(0).ok();
        let room = PROCESSES_MAX.saturating_sub(view.processes.len());
        let others = proc::processes().into_iter().filter(|process| {
            let cared =
                self.care.get(process.pid).is_some() || self.families.of_home_pid(process.pid).is_some();
            let body = self.families.of_body(process.pid).is_some();
            !(process.kernel || process.zombie || cared || body)
                && caller.may_touch(process.uids[0])
                && proc::network_namespace(process.pid).ok() == own
        });
        view.processes.extend(others.take(room).map(|process| Process {
            pid: process.pid,
            command: view::shorten(&proc::command_line(&process)),
            user: proc::user_name(process.uids[0]),
            home: self.me.name.clone(),
            at: self.me.name.clone(),
            state: ProcessState::Home,
            cpu_percent: None,
            threads: process.threads,
            rss_bytes: Some(process.rss_bytes),
            calls_per_s: 0.0,
            call_bytes_per_s: 0.0,
            epoch: 0,
            last_pause_us: None,
            moves: 0,
        }));
    }
}

/// Events that one view carries.
const EVENTS_SHOWN_MAX: usize = 100;
