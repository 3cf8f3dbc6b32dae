//! `homing why`: asks the home warden and every node, and changes nothing.

use futures::future::join_all;
use tokio::time::{Instant, timeout_at};
use transport::endpoint::Connection;

use super::access::{self, Caller};
use super::peers;
use super::protocol::{PeerRequest, PeerResponse};
use super::state::Agent;
use super::wardens::{Nursery, WardenError};
use crate::api::{NodeAnswer, Reason, Response, WhyReport};
use crate::exit::{ExitCode, Failure};
use crate::mover::{PREPARE_MAX, Refusal};
use crate::warden::control::{FromWarden, Offer, ToWarden};

/// What is to be found out.
#[derive(Debug)]
pub(super) struct Question {
    report: WhyReport,
    first: (u32, u64),
    /// Of its family at a guest; nothing at home.
    body_bytes: u64,
    nodes: Vec<(String, Result<Connection, Refusal>)>,
}

impl Agent {
    /// Gathers what the agent itself knows.
    pub(super) fn begin_why(
        &self,
        caller: Caller,
        pid: u32,
        node: Option<&str>,
    ) -> Result<Question, Failure> {
        let process = self.find(pid, caller)?;
        let wanted = node.map(|name| self.member_id(name)).transpose()?;
        let others = self.peers.members.iter().filter(|member| wanted.is_none_or(|id| id == member.id));
        let at = self.residence(pid);
        let nodes = others.filter(|member| member.name != at);
        let nodes = nodes.map(|member| (member.name.clone(), self.peers.line(member.id))).collect();
        let mut report = WhyReport {
            pid,
            command: process.comm.clone(),
            home: self.me.name.clone(),
            holds: Vec::new(),
            nodes: Vec::new(),
            refused_calls: Vec::new(),
            at,
        };
        let checks = [
            access::check_not_homing(&process, &self.nursery.program, &self.me.name),
            access::check_root(&process, &self.me.name, self.nursery.allow_root),
        ];
        for failure in checks.into_iter().filter_map(Result::err) {
            report.holds.push(Reason { text: failure.why.join("; "), fix: failure.next });
        }
        if report.at != report.home && wanted.is_none_or(|id| id == self.me.id) {
            // The way home is always open.
            report.nodes.push(NodeAnswer { node: self.me.name.clone(), reasons: Vec::new() });
        }
        if let Some(family) = self.families.of_home_pid(pid) {
            report.refused_calls = family.status.refused_calls.clone();
        }
        let body_bytes = self.body_bytes(&report.at, pid);
        Ok(Question { report, first: self.first_of(&process), body_bytes, nodes })
    }
}

/// Asks the warden, then all nodes at once.
pub(super) async fn explain(nursery: &Nursery, question: Question) -> Response {
    let Question { mut report, first, body_bytes, nodes } = question;
    let mut offer = match timeout_at(Instant::now() + PREPARE_MAX, prepare(nursery, first)).await {
        Ok(Ok(Ok(offer))) => offer,
        Ok(Ok(Err(reasons))) => {
            report.holds.extend(reasons.into_iter().map(|text| Reason { text, fix: None }));
            return Response::Why(report);
        }
        Ok(Err(error)) => return failed(&report, &error.line()),
        Err(_) => return failed(&report, &WardenError::Late.line()),
    };
    offer.needs.memory_bytes = offer.needs.memory_bytes.max(body_bytes);
    let answers = nodes.into_iter().map(async |(node, line)| {
        let refusals = match line {
            Err(refusal) => vec![refusal],
            Ok(connection) => {
                match peers::ask(&connection, &PeerRequest::Check(Box::new(offer.clone()))).await {
                    Ok(PeerResponse::Refused(refusals)) => refusals,
                    Ok(_) => vec![Refusal::Unreachable {
                        reason: "it answered something else than was asked".into(),
                    }],
                    Err(refusal) => vec![refusal],
                }
            }
        };
        NodeAnswer { node, reasons: refusals.iter().map(Refusal::reason).collect() }
    });
    report.nodes.extend(join_all(answers).await);
    Response::Why(report)
}

/// What the warden says: an offer, or the reasons why there is none.
async fn prepare(
    nursery: &Nursery,
    (pid, start_ticks): (u32, u64),
) -> Result<Result<Offer, Vec<String>>, WardenError> {
    let mut conversation = nursery.home_warden(pid, start_ticks, Instant::now() + PREPARE_MAX).await?;
    conversation.tell(&ToWarden::Prepare).await?;
    match conversation.hear().await? {
        FromWarden::Offer(offer) => Ok(Ok(offer)),
        FromWarden::Refused(reasons) => Ok(Err(reasons)),
        FromWarden::Failed { reason, .. } => Err(WardenError::Ended(reason)),
        _ => Err(WardenError::Nonsense),
    }
}

fn failed(report: &WhyReport, reason: &str) -> Response {
    let what = format!("cannot look at {} ({}) at {}", report.pid, report.command, report.home);
    let why = format!("its home warden is not there: {reason}");
    Response::Failed(Failure::new(ExitCode::Failed, what, why).next("homing doctor"))
}
