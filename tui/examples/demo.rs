//! The dashboard over an invented cluster, to look at it and to try its keys.
//!
//! `demo` runs it; `demo still` sends the same view all the time; `demo ends SECONDS` drops the source of views
//! after a while; `demo panics` panics at the first request.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tui::model::{
    EventLevel, Flow, FlowKind, HISTORY_MAX, LoggedEvent, MoveInProgress, Node, NodeState, Process,
    ProcessState, View,
};
use tui::terminal::{Terminal, TerminalError};
use tui::{App, Event, Request, Theme, run};

/// Between two views.
const PERIOD: Duration = Duration::from_secs(1);

/// Views that an invented move takes.
const MOVE_STEPS: u64 = 4;

fn main() -> Result<(), TerminalError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (still, ends) = match words[..] {
        ["still"] => (true, None),
        ["ends", seconds] => (false, seconds.parse().ok().map(Duration::from_secs)),
        _ => (false, None),
    };
    let (events, received) = channel();
    let (requests, asked) = channel();
    thread::spawn(move || source(&events, &asked, still, ends));
    let app = App::new(Theme::from_environment(), 0);
    // A source that ended cannot be asked any more; the dashboard says so already.
    run(Terminal::enter()?, app, &received, |request| {
        assert!(words != ["panics"], "{request} was asked for");
        drop(requests.send(request));
    })
}

/// Sends views and answers requests until the dashboard ends.
fn source(events: &Sender<Event>, asked: &Receiver<Request>, still: bool, ends: Option<Duration>) {
    let start = Instant::now();
    let mut cluster = Cluster::new();
    loop {
        if ends.is_some_and(|ends| start.elapsed() >= ends)
            || events.send(Event::View(cluster.view.clone())).is_err()
        {
            return;
        }
        let next = Instant::now() + PERIOD;
        while let Ok(request) = asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
            let result = cluster.answer(&request);
            if events.send(Event::RequestDone(request, result)).is_err() {
                return;
            }
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if !still {
            cluster.step();
        }
    }
}

struct Cluster {
    view: View,
    steps: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let programs = [
            ("python3 fit.py", "ana", 2),
            ("xz -T2 big.tar", "ana", 1),
            ("redis-server *:6379", "redis", 3),
            ("bash ./loop.sh", "li", 1),
            ("sort -k2 words", "li", 2),
            ("java -jar app.jar", "ci", 3),
        ];
        let processes = (41_207..).step_by(97).zip(programs).map(|(pid, (command, user, at))| Process {
            pid,
            command: command.into(),
            user: user.into(),
            home: "n1".into(),
            at: format!("n{at}"),
            state: if at == 1 { ProcessState::Home } else { ProcessState::Away },
            cpu_percent: Some(90.0),
            threads: at * 2,
            rss_bytes: Some(u64::from(pid) * 12_345),
            calls_per_s: 0.0,
            call_bytes_per_s: 0.0,
            epoch: 0,
            last_pause_us: None,
            moves: 0,
        });
        let nodes = ["n1", "n2", "n3"].map(|name| Node {
            name: name.into(),
            state: NodeState::Ok,
            cpu_percent: None,
            cpus: 2,
            mem_used_bytes: Some(1 << 30),
            mem_total_bytes: Some(4 << 30),
            guests: 0,
            away: 0,
            rtt_ms: (name != "n1").then_some(0.2),
            last_seen_unix_ms: None,
            load_history: Vec::new(),
        });
        let view = View {
            cluster: "dev".into(),
            node: "n1".into(),
            nodes: nodes.into(),
            processes: processes.collect(),
            ..View::default()
        };
        let mut cluster = Cluster { view, steps: 0 };
        cluster.step();
        cluster
    }

    fn step(&mut self) {
        self.steps += 1;
        let steps = self.steps;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.view.taken_at_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let wave = |phase: u64| ((steps * 7 + phase * 31) % 100) as f32 / 100.0;
        for (phase, process) in (0..).zip(&mut self.view.processes) {
            process.cpu_percent = Some(60.0 + 40.0 * wave(phase));
            let forwards = process.state == ProcessState::Away;
            process.calls_per_s = if forwards { 1_000.0 * wave(phase + 3) } else { 0.0 };
            process.call_bytes_per_s = process.calls_per_s * 700.0;
        }
        if steps.is_multiple_of(2 * MOVE_STEPS) {
            self.begin_move();
        }
        self.advance_moves();
        self.sum_up(wave(5));
    }

    fn begin_move(&mut self) {
        let index = usize::try_from(self.steps / (2 * MOVE_STEPS)).unwrap_or(0) % self.view.processes.len();
        let number = 1 + (self.steps / (2 * MOVE_STEPS)) % 3;
        let to = format!("n{number}");
        let process = &mut self.view.processes[index];
        if process.at == to || process.state == ProcessState::Moving {
            return;
        }
        process.state = ProcessState::Moving;
        self.view.moves.push(MoveInProgress {
            process: process.id(),
            from: process.at.clone(),
            to,
            round: 0,
            bytes_sent: 0,
            bytes_total: process.rss_bytes,
            started_unix_ms: self.view.taken_at_unix_ms,
        });
    }

    fn advance_moves(&mut self) {
        let view = &mut self.view;
        for under_way in &mut view.moves {
            under_way.round += 1;
            under_way.bytes_sent += under_way.bytes_total.unwrap_or(0) / MOVE_STEPS;
        }
        let done = view.moves.extract_if(.., |under_way| u64::from(under_way.round) >= MOVE_STEPS);
        for moved in done {
            let found = view.processes.iter_mut().find(|process| process.id() == moved.process);
            let Some(process) = found else { continue };
            process.at = moved.to.clone();
            process.state = if process.at == process.home { ProcessState::Home } else { ProcessState::Away };
            process.epoch += 1;
            process.moves += 1;
            process.last_pause_us = Some(9_000 + u64::from(process.pid) % 7_000);
            let (pid, command) = (process.pid, &process.command);
            view.events.push(LoggedEvent {
                at_unix_ms: view.taken_at_unix_ms,
                level: EventLevel::Info,
                process: Some(moved.process),
                node: None,
                text: format!(
                    "{pid} {command}: moved {} -> {}, epoch {}, pause 11 ms",
                    moved.from, moved.to, process.epoch
                ),
            });
        }
    }

    fn sum_up(&mut self, wave: f32) {
        let view = &mut self.view;
        let mut flows = Vec::new();
        for node in &mut view.nodes {
            let here = view.processes.iter().filter(|process| process.at == node.name);
            let load = 30.0 * here.count() as f32 + 10.0 * wave;
            node.cpu_percent = Some(load.min(100.0));
            node.load_history.push(load.min(100.0));
            let surplus = node.load_history.len().saturating_sub(HISTORY_MAX);
            node.load_history.drain(..surplus);
            node.last_seen_unix_ms = Some(view.taken_at_unix_ms);
            let away = |process: &&Process| process.at != process.home;
            let guests = view.processes.iter().filter(away).filter(|process| process.at == node.name);
            let calls: f32 = guests.clone().map(|process| process.calls_per_s).sum();
            node.guests = u32::try_from(guests.count()).unwrap_or(u32::MAX);
            let own = view.processes.iter().filter(away).filter(|process| process.home == node.name);
            node.away = u32::try_from(own.count()).unwrap_or(u32::MAX);
            if calls > 0.0 {
                let flow = |from: &str, to: &str, bytes_per_s| Flow {
                    from: from.into(),
                    to: to.into(),
                    kind: FlowKind::Calls,
                    calls_per_s: calls,
                    bytes_per_s,
                };
                flows.push(flow(&node.name, "n1", calls * 500.0));
                flows.push(flow("n1", &node.name, calls * 200.0));
            }
        }
        let pages = |under_way: &MoveInProgress| Flow {
            from: under_way.from.clone(),
            to: under_way.to.clone(),
            kind: FlowKind::Pages,
            calls_per_s: 0.0,
            bytes_per_s: under_way.bytes_total.unwrap_or(0) as f32 / MOVE_STEPS as f32,
        };
        flows.extend(view.moves.iter().map(pages));
        view.flows = flows;
    }

    fn answer(&self, request: &Request) -> Result<String, String> {
        match request {
            Request::Why { process } => Ok(format!(
                "{} can move\n  n1  can: yes  (home)\n  n2  can: yes\n  n3  can: yes  load too high for a gain",
                process.pid
            )),
            Request::Quit => Ok(String::new()),
            _ => Err("this cluster is invented; nothing was done".to_owned()),
        }
    }
}
