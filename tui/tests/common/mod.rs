//! A view in which everything happens, and how to look at what is made of it.
#![allow(dead_code, reason = "each test file uses its part of this")]

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tui::model::{
    EventLevel, Flow, FlowKind, LoggedEvent, MoveInProgress, Node, NodeState, Process, ProcessRef,
    ProcessState, View,
};
use tui::{App, Event, Theme, draw, update};

/// 2026-03-01 12:04:31 UTC.
pub(crate) const NOW_MS: u64 = 1_772_366_671_000;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A cluster of four in which everything happens that there is a word for.
pub(crate) fn busy() -> View {
    View {
        cluster: "lab-7".into(),
        node: "alpha".into(),
        taken_at_unix_ms: NOW_MS,
        nodes: vec![
            node("alpha", NodeState::Ok, 81.0, 58, 2, 5, None),
            node("bravo", NodeState::Ok, 31.0, 30, 5, 1, Some(0.31)),
            node("charlie", NodeState::Suspect, 9.0, 93, 0, 0, Some(0.4)),
            Node {
                cpu_percent: None,
                mem_used_bytes: None,
                mem_total_bytes: None,
                rtt_ms: None,
                last_seen_unix_ms: Some(NOW_MS - 41_000),
                ..node("delta", NodeState::Lost, 0.0, 0, 0, 0, None)
            },
        ],
        processes: vec![
            process(
                41207,
                "blender -b s12.blend",
                "ana",
                ["alpha", "bravo"],
                ProcessState::Away,
                396.0,
                2150,
                18.0,
            ),
            process(
                41310,
                "gmx mdrun -nt 1",
                "ana",
                ["alpha", "alpha"],
                ProcessState::Moving,
                100.0,
                1843,
                0.0,
            ),
            process(41355, "xz -9 core.tar", "li", ["bravo", "bravo"], ProcessState::Home, 100.0, 690, 0.0),
            process(
                41402,
                "python3 fit.py",
                "li",
                ["alpha", "bravo"],
                ProcessState::Away,
                98.0,
                3379,
                2104.0,
            ),
            process(40118, "cfd_solve 3", "ana", ["delta", "bravo"], ProcessState::Frozen, 0.0, 5120, 0.0),
        ],
        flows: vec![
            flow("bravo", "alpha", FlowKind::Calls, 2122.0, 3.4 * MIB as f32),
            flow("alpha", "bravo", FlowKind::Calls, 2122.0, 0.2 * MIB as f32),
            flow("alpha", "charlie", FlowKind::Pages, 0.0, 118.0 * MIB as f32),
        ],
        events: vec![
            event(
                151_000,
                EventLevel::Info,
                Some(41207),
                None,
                "41207 blender: moved alpha -> bravo, pause 11 ms",
            ),
            event(
                41_000,
                EventLevel::Error,
                None,
                Some("delta"),
                "delta is lost: no contact; 1 process frozen (lease 120 s)",
            ),
            event(
                20_000,
                EventLevel::Warning,
                Some(41402),
                None,
                "41402 python3: forwards 2104 calls/s; home is estimated 1.6x faster",
            ),
            event(
                2_000,
                EventLevel::Info,
                Some(41310),
                None,
                "41310 gmx: moving alpha -> charlie (alpha load 0.94 > 0.80)",
            ),
        ],
        moves: vec![MoveInProgress {
            process: ProcessRef { home: "alpha".into(), pid: 41310 },
            from: "alpha".into(),
            to: "charlie".into(),
            round: 3,
            bytes_sent: 1_145 * MIB,
            bytes_total: Some(1_843 * MIB),
            started_unix_ms: NOW_MS - 10_000,
        }],
        ..View::default()
    }
}

/// An application that was sent this view.
pub(crate) fn showing(view: View) -> App {
    let mut app = App::new(Theme::Default, 0);
    update(&mut app, Event::View(view));
    app
}

/// The picture of this size.
pub(crate) fn picture(app: &App, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    draw::frame(app, &mut buffer);
    buffer
}

/// The picture's text, without its colours.
pub(crate) fn text(buffer: &Buffer) -> String {
    let mut lines = String::new();
    for row in buffer.content().chunks(usize::from(buffer.area.width)) {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            // A wide character covers the cell to its right, which is not printed.
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = ratatui::text::Span::raw(cell.symbol()).width().saturating_sub(1);
            } else {
                covered -= 1;
            }
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

fn node(name: &str, state: NodeState, cpu: f32, mem: u64, guests: u32, away: u32, rtt: Option<f32>) -> Node {
    let answers = state != NodeState::Lost;
    Node {
        name: name.into(),
        state,
        cpu_percent: Some(cpu),
        cpus: 8,
        mem_used_bytes: Some(mem * 16 * GIB / 100),
        mem_total_bytes: Some(16 * GIB),
        guests,
        away,
        rtt_ms: rtt,
        last_seen_unix_ms: Some(NOW_MS),
        load_history: (0..if answers { 90 } else { 20 })
            .map(|s| cpu * (0.5 + (s % 13) as f32 / 24.0))
            .collect(),
    }
}

#[expect(clippy::too_many_arguments, reason = "a row of a table of test data")]
fn process(
    pid: u32,
    command: &str,
    user: &str,
    [home, at]: [&str; 2],
    state: ProcessState,
    cpu: f32,
    rss_mib: u64,
    calls: f32,
) -> Process {
    let moved = state != ProcessState::Home;
    Process {
        pid,
        command: command.into(),
        user: user.into(),
        home: home.into(),
        at: at.into(),
        state,
        cpu_percent: Some(cpu),
        threads: 4,
        rss_bytes: Some(rss_mib * MIB),
        calls_per_s: calls,
        call_bytes_per_s: calls * 1_600.0,
        epoch: u64::from(moved),
        last_pause_us: moved.then_some(11_300),
        moves: u32::from(moved),
    }
}

fn flow(from: &str, to: &str, kind: FlowKind, calls_per_s: f32, bytes_per_s: f32) -> Flow {
    Flow { from: from.into(), to: to.into(), kind, calls_per_s, bytes_per_s }
}

fn event(age_ms: u64, level: EventLevel, pid: Option<u32>, node: Option<&str>, text: &str) -> LoggedEvent {
    LoggedEvent {
        at_unix_ms: NOW_MS - age_ms,
        level,
        process: pid.map(|pid| ProcessRef { home: "alpha".into(), pid }),
        node: node.map(Into::into),
        text: text.into(),
    }
}
