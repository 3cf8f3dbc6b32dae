//! `move` and `why`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::args::{Common, MoveArgs, WhyArgs};
use super::table;
use super::{connect, print, print_json, talk};
use crate::api::client::unexpected;
use crate::api::{MoveRequest, Plan, Reason, Request, Response, Target, WhyReport};
use crate::exit::Failure;
use crate::warden::control::MoveReport;

pub(super) async fn migrate(common: &Common, args: &MoveArgs) -> Result<(), Failure> {
    let to = Target::parse(&args.to);
    let request = MoveRequest { pid: args.pid, to, dry_run: args.dry_run, wait: !args.no_wait };
    let shows_progress = !common.quiet && std::io::stderr().is_terminal();
    let mut progress_shown = false;
    let mut client = connect(common).await?;
    let request = Request::Move(request);
    let answer = client.ask(&request, |round, bytes_sent| {
        if shows_progress {
            progress_shown = true;
            // With standard error gone there is nobody to tell.
            let _ = write!(std::io::stderr(), "\rround {round}, {} sent \x1b[K", table::bytes(bytes_sent));
        }
    });
    let answer = answer.await;
    if progress_shown {
        // The line of the progress makes room for the result.
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    match answer? {
        Response::Moved { from, report } => print(&moved(args.pid, &from, &report)),
        Response::AlreadyThere { at } => {
            talk(common, &format!("{} is at {at} already", args.pid));
            Ok(())
        }
        Response::Plan(plan) => print(&planned(args.pid, &plan)),
        Response::Started { from, to } => {
            talk(common, &format!("{} is moving {from} -> {to}", args.pid));
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn why(common: &Common, args: &WhyArgs) -> Result<(), Failure> {
    let request = Request::Why { pid: args.pid, node: args.node.clone() };
    match connect(common).await?.ask(&request, |_, _| {}).await? {
        Response::Why(report) if args.json => print_json(&serde_json::json!({
            "v": 1,
            "pid": report.pid,
            "command": report.command,
            "home": report.home,
            "at": report.at,
            "holds": report.holds,
            "nodes": report.nodes,
            "refused_calls": report.refused_calls,
        })),
        Response::Why(report) => print(&explained(&report)),
        other => Err(unexpected(&other)),
    }
}

/// The answer of `why` as a person reads it.
pub(super) fn explained(report: &WhyReport) -> String {
    let WhyReport { pid, command, home, at, .. } = report;
    let place = if at == home { format!("is at home, {home}") } else { format!("of {home} is at {at}") };
    let mut text = format!("{pid} {} {place}\n", table::harmless(command));
    for reason in &report.holds {
        text.push_str(&format!("  held: {}\n", reason_line(reason)));
    }
    let width = report.nodes.iter().map(|node| node.node.len()).max().unwrap_or(0);
    for node in &report.nodes {
        let can = if node.reasons.is_empty() && report.holds.is_empty() { "yes" } else { "no" };
        let home_word = if &node.node == home { "  (home)" } else { "" };
        let can = if &node.node == home { "yes" } else { can };
        text.push_str(&format!("  {:width$}  can: {can}{home_word}\n", node.node));
        for reason in &node.reasons {
            text.push_str(&format!("  {:width$}    {}\n", "", reason_line(reason)));
        }
    }
    for (call, count) in &report.refused_calls {
        text.push_str(&format!("  refused away from home: {call}, {count} times\n"));
    }
    text
}

fn reason_line(reason: &Reason) -> String {
    let text = table::harmless(&reason.text);
    match &reason.fix {
        Some(fix) => format!("{text}; fix: {fix}"),
        None => text,
    }
}

fn moved(pid: u32, from: &str, report: &MoveReport) -> String {
    let (total, pause) = (Duration::from_micros(report.total_us), Duration::from_micros(report.pause_us));
    format!(
        "moved {pid} {from} -> {}  epoch {}  sent {} in {}  pause {}\n",
        report.at,
        report.epoch,
        table::bytes(report.bytes_sent),
        table::duration(total),
        table::duration(pause),
    )
}

fn planned(pid: u32, plan: &Plan) -> String {
    let mut text = format!("would move {pid} {} -> {}", plan.from, plan.to);
    if let (Some(memory), Some(processes), Some(threads)) = (plan.memory_bytes, plan.processes, plan.threads)
    {
        let memory = table::bytes(memory);
        text.push_str(&format!("  {memory} of memory, {processes} processes, {threads} threads"));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use transport::Epoch;

    use super::*;
    use crate::api::NodeAnswer;

    #[test]
    fn a_move_is_told_in_one_line() {
        let report = MoveReport {
            epoch: Epoch(1),
            at: "bravo".into(),
            bytes_sent: 212 << 20,
            total_us: 1_900_000,
            pause_us: 12_000,
            ..MoveReport::default()
        };
        let line = moved(71, "alpha", &report);
        assert_eq!(line, "moved 71 alpha -> bravo  epoch 1  sent 212 MiB in 1.9 s  pause 12 ms\n");
    }

    #[test]
    fn why_names_node_reason_and_fix() {
        let reason = |text: &str, fix: &str| Reason { text: text.into(), fix: Some(fix.into()) };
        let mut report = WhyReport {
            pid: 71,
            command: "sim".into(),
            home: "alpha".into(),
            at: "alpha".into(),
            holds: vec![],
            nodes: vec![
                NodeAnswer { node: "bravo".into(), reasons: vec![] },
                NodeAnswer {
                    node: "charlie".into(),
                    reasons: vec![reason("too little memory", "free some")],
                },
            ],
            refused_calls: vec![("io_uring_setup".into(), 2)],
        };
        assert_eq!(
            explained(&report),
            "71 sim is at home, alpha\n\
             \x20 bravo    can: yes\n\
             \x20 charlie  can: no\n\
             \x20            too little memory; fix: free some\n\
             \x20 refused away from home: io_uring_setup, 2 times\n"
        );
        report.holds = vec![reason("a shared map", "none")];
        assert!(explained(&report).contains("bravo    can: no"));
    }
}
