//! Makes the view that `ps`, `nodes` and `top` show out of what the nodes report.

use std::collections::HashMap;

use transport::NodeId;
use tui::model::{Flow, LoggedEvent, Node, NodeState, Process, ProcessState, VIEW_VERSION, View};

use crate::agent::protocol::{BodySample, NodeSample, Report};

/// What an agent knows of one node.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: &'a str,
    /// Whether it answers.
    pub state: NodeState,
    /// Round trip; `None` for the agent's own node.
    pub rtt_ms: Option<f32>,
    /// When it was last heard of, in milliseconds since 1970-01-01 UTC.
    pub last_seen_unix_ms: Option<u64>,
    /// Its load once a second, newest last.
    pub load_history: Vec<f32>,
    /// The last report; `None` if none ever came.
    pub report: Option<&'a Report>,
}

/// Joins the reports. Home knows who is where, the guest knows what the body uses there.
#[must_use]
pub fn build(cluster: &str, now_unix_ms: u64, nodes: &[Known<'_>], events: Vec<LoggedEvent>) -> View {
    let names: HashMap<NodeId, &str> = nodes.iter().map(|node| (node.id, node.name)).collect();
    let reports = || nodes.iter().filter_map(|node| Some((node, node.report?)));
    let bodies: HashMap<(&str, u32), &BodySample> = reports()
        .flat_map(|(_, report)| &report.bodies)
        .filter_map(|body| Some(((*names.get(&body.family.home)?, body.pid), body)))
        .collect();
    let lost: Vec<&str> =
        nodes.iter().filter(|node| node.state == NodeState::Lost).map(|node| node.name).collect();
    let processes = reports()
        // A node has a say about the processes at home there, and about no others.
        .flat_map(|(node, report)| report.processes.iter().filter(|process| process.home == node.name))
        .map(|process| complete(process.clone(), &bodies, &lost))
        .take(PROCESSES_MAX)
        .collect();
    View {
        v: VIEW_VERSION,
        cluster: cluster.to_owned(),
        node: nodes.first().map(|node| node.name.to_owned()).unwrap_or_default(),
        taken_at_unix_ms: now_unix_ms,
        nodes: nodes.iter().map(row).collect(),
        processes,
        flows: reports().flat_map(|(_, report)| report.flows.clone()).collect(),
        events,
        moves: reports().flat_map(|(_, report)| report.moves.clone()).collect(),
    }
}

/// Adds up flows of one kind between the same two nodes.
#[must_use]
pub fn add_up(flows: impl IntoIterator<Item = Flow>) -> Vec<Flow> {
    let mut sums: Vec<Flow> = Vec::new();
    for flow in flows {
        let same = |sum: &&mut Flow| sum.from == flow.from && sum.to == flow.to && sum.kind == flow.kind;
        match sums.iter_mut().find(same) {
            Some(sum) => {
                sum.calls_per_s += flow.calls_per_s;
                sum.bytes_per_s += flow.bytes_per_s;
            }
            None => sums.push(flow),
        }
    }
    sums
}

/// Cuts a command to what a table or a frame has room for.
#[must_use]
pub fn shorten(command: &str) -> String {
    command.chars().take(COMMAND_CHARS_MAX).collect()
}

fn complete(mut process: Process, bodies: &HashMap<(&str, u32), &BodySample>, lost: &[&str]) -> Process {
    if process.at == process.home {
        return process;
    }
    if let Some(body) = bodies.get(&(process.home.as_str(), process.pid)) {
        process.cpu_percent = Some(body.cpu_percent);
        process.rss_bytes = Some(body.rss_bytes);
        process.threads = body.threads;
    }
    if process.state == ProcessState::Away && lost.contains(&process.at.as_str()) {
        process.state = ProcessState::Frozen;
    }
    process
}

fn row(node: &Known<'_>) -> Node {
    let away =
        |report: &&Report| report.processes.iter().filter(|process| process.at != process.home).count();
    let count = |number: Option<usize>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let alive = node.state != NodeState::Lost;
    let sample: Option<NodeSample> = node.report.filter(|_| alive).map(|report| report.sample);
    Node {
        name: node.name.to_owned(),
        state: node.state,
        cpu_percent: sample.map(|sample| sample.cpu_percent),
        cpus: sample.map_or(0, |sample| sample.cpus),
        mem_used_bytes: sample.map(|sample| sample.mem_used_bytes),
        mem_total_bytes: sample.map(|sample| sample.mem_total_bytes),
        guests: count(node.report.filter(|_| alive).map(|report| report.bodies.len())),
        away: count(node.report.as_ref().map(away)),
        rtt_ms: node.rtt_ms.filter(|_| alive),
        last_seen_unix_ms: node.last_seen_unix_ms,
        load_history: node.load_history.clone(),
    }
}

/// Processes in one view; with [`COMMAND_CHARS_MAX`] it keeps a view below the limit of a frame.
pub const PROCESSES_MAX: usize = 1500;

/// Characters of a command line that a view carries.
const COMMAND_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use transport::ProcessId;
    use tui::model::FlowKind;

    use super::*;

    fn process(at: &str) -> Process {
        Process {
            pid: 7,
            command: "sim".into(),
            user: "ana".into(),
            home: "alpha".into(),
            at: at.into(),
            state: if at == "alpha" { ProcessState::Home } else { ProcessState::Away },
            cpu_percent: None,
            threads: 1,
            rss_bytes: None,
            calls_per_s: 0.0,
            call_bytes_per_s: 0.0,
            epoch: 1,
            last_pause_us: None,
            moves: 1,
        }
    }

    fn report(processes: Vec<Process>, bodies: Vec<BodySample>) -> Report {
        let sample = NodeSample { cpu_percent: 50.0, cpus: 2, mem_used_bytes: 1, mem_total_bytes: 2 };
        Report { incarnation: 1, sample, processes, bodies, flows: vec![], moves: vec![], events: vec![] }
    }

    fn known<'a>(id: u8, name: &'a str, state: NodeState, report: Option<&'a Report>) -> Known<'a> {
        let id = NodeId([id; 32]);
        Known { id, name, state, rtt_ms: Some(1.0), last_seen_unix_ms: Some(1), load_history: vec![], report }
    }

    fn body() -> BodySample {
        let family = ProcessId { home: NodeId([1; 32]), pid: 7, start_ticks: 1 };
        BodySample { family, pid: 7, cpu_percent: 99.0, rss_bytes: 4096, threads: 5 }
    }

    #[test]
    fn home_says_where_and_the_guest_says_how_much() {
        let (alpha, bravo) = (report(vec![process("bravo")], vec![]), report(vec![], vec![body()]));
        let nodes =
            [known(1, "alpha", NodeState::Ok, Some(&alpha)), known(2, "bravo", NodeState::Ok, Some(&bravo))];
        let view = build("lab", 5, &nodes, vec![]);
        let [shown] = view.processes.as_slice() else { panic!("{view:?}") };
        assert_eq!((shown.cpu_percent, shown.rss_bytes, shown.threads), (Some(99.0), Some(4096), 5));
        assert_eq!((view.nodes[0].away, view.nodes[0].guests), (1, 0));
        assert_eq!((view.nodes[1].away, view.nodes[1].guests), (0, 1));
        assert_eq!(view.node, "alpha");
    }

    #[test]
    fn a_body_at_a_lost_node_is_frozen() {
        let alpha = report(vec![process("bravo")], vec![]);
        let bravo = report(vec![], vec![body()]);
        let nodes = [
            known(1, "alpha", NodeState::Ok, Some(&alpha)),
            known(2, "bravo", NodeState::Lost, Some(&bravo)),
        ];
        let view = build("lab", 5, &nodes, vec![]);
        assert_eq!(view.processes[0].state, ProcessState::Frozen);
        assert_eq!((view.nodes[1].cpu_percent, view.nodes[1].rtt_ms), (None, None));
    }

    #[test]
    fn nobody_reports_the_processes_of_another_home() {
        let (alpha, bravo) = (report(vec![], vec![]), report(vec![process("bravo")], vec![]));
        let nodes =
            [known(1, "alpha", NodeState::Ok, Some(&alpha)), known(2, "bravo", NodeState::Ok, Some(&bravo))];
        assert_eq!(build("lab", 5, &nodes, vec![]).processes, []);
    }

    #[test]
    fn flows_between_two_nodes_are_one() {
        let flow = |from: &str, calls_per_s| Flow {
            from: from.into(),
            to: "alpha".into(),
            kind: FlowKind::Calls,
            calls_per_s,
            bytes_per_s: 10.0,
        };
        let sums = add_up([flow("bravo", 1.0), flow("charlie", 2.0), flow("bravo", 3.0)]);
        assert_eq!(sums.len(), 2);
        assert_eq!((sums[0].calls_per_s, sums[0].bytes_per_s), (4.0, 20.0));
    }
}
