//! Any size, any text, any amount: no panic, and nothing that a terminal would obey.

mod common;

use common::{busy, picture, showing, text};
use tui::model::{Flow, LoggedEvent, MoveInProgress, Node, Process, ProcessRef, View};
use tui::screen::Screen;
use tui::{App, Event, Key, Request, draw, update};

const OPENERS: [Option<Key>; 8] = [
    None,
    Some(Key::Char('?')),
    Some(Key::Char('m')),
    Some(Key::Char('x')),
    Some(Key::Char('/')),
    Some(Key::Char('w')),
    Some(Key::Enter),
    Some(Key::Char('3')),
];

#[test]
fn a_thousand_sizes_do_no_harm() {
    for opener in OPENERS {
        let mut app = showing(busy());
        if let Some(key) = opener {
            update(&mut app, Event::Key(key));
        }
        let mut screen = Screen::new(Vec::new());
        for step in 0..1_000_u32 {
            // A walk through all small sizes and many large ones, with jumps; 0 is what a dying terminal reports.
            let columns = u16::try_from(step * 37 % 211).unwrap();
            let rows = u16::try_from(step * 23 % 67).unwrap();
            update(&mut app, Event::Resize { columns, rows });
            screen.show(columns, rows, |buffer| draw::frame(&app, buffer)).unwrap();
        }
        for size in 1..=4 {
            picture(&app, size, size);
        }
    }
}

#[test]
fn the_same_view_again_writes_nothing() {
    let mut app = showing(busy());
    let mut screen = Screen::new(Vec::new());
    let mut show = |app: &App| screen.show(80, 24, |buffer| draw::frame(app, buffer)).unwrap();
    assert!(show(&app) > 0);
    update(&mut app, Event::View(busy()));
    assert_eq!(show(&app), 0);
}

#[test]
fn text_from_programs_cannot_reach_the_terminal_as_a_command() {
    let nasty = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\r\n\u{202e}evil\u{0}日本語🦀é";
    let mut view = busy();
    view.cluster = nasty.into();
    view.node = nasty.into();
    for node in &mut view.nodes {
        node.name.push_str(nasty);
    }
    for process in &mut view.processes {
        process.command = nasty.repeat(3);
        process.user = nasty.into();
        process.home.push_str(nasty);
        process.at = nasty.into();
    }
    for flow in &mut view.flows {
        flow.from = nasty.into();
        flow.to.push_str(nasty);
    }
    for event in &mut view.events {
        event.text = nasty.into();
        event.process = None;
        event.node = Some(nasty.into());
    }
    for under_way in &mut view.moves {
        under_way.to = nasty.into();
    }
    for opener in OPENERS {
        let mut app = showing(view.clone());
        if let Some(key) = opener {
            update(&mut app, Event::Key(key));
        }
        let why = Request::Why { process: view.processes[0].id() };
        update(&mut app, Event::RequestDone(why, Err(nasty.into())));
        for (width, height) in [(40, 10), (80, 24), (100, 30), (160, 50)] {
            for reason in [None, Some(nasty)] {
                if let Some(reason) = reason {
                    update(&mut app, Event::Disconnected(reason.into()));
                }
                let shown = text(&picture(&app, width, height));
                let acts = |c: &char| c.is_control() && *c != '\n' || *c == '\u{202e}';
                assert_eq!(shown.chars().find(acts), None, "{opener:?} {width}x{height}");
            }
        }
    }
}

#[test]
fn absurd_amounts_are_drawn() {
    let mut view = View { taken_at_unix_ms: 0, ..busy() };
    for node in &mut view.nodes {
        *node = Node {
            cpu_percent: Some(f32::NAN),
            mem_used_bytes: Some(u64::MAX),
            mem_total_bytes: Some(1),
            rtt_ms: Some(f32::INFINITY),
            load_history: vec![f32::NAN, -1.0, f32::INFINITY, 1e30],
            guests: u32::MAX,
            last_seen_unix_ms: Some(u64::MAX),
            ..node.clone()
        };
    }
    for process in &mut view.processes {
        *process = Process {
            cpu_percent: Some(f32::MAX),
            rss_bytes: Some(u64::MAX),
            calls_per_s: f32::NAN,
            epoch: u64::MAX,
            last_pause_us: Some(u64::MAX),
            pid: u32::MAX,
            ..process.clone()
        };
    }
    view.flows.push(Flow { bytes_per_s: f32::NAN, ..view.flows[0].clone() });
    view.moves[0].bytes_sent = u64::MAX;
    for node in 0..300 {
        view.nodes.push(Node { name: format!("node-{node}"), ..view.nodes[0].clone() });
        view.flows.push(Flow { from: format!("node-{node}"), ..view.flows[0].clone() });
        view.processes.push(Process { pid: node, ..view.processes[0].clone() });
        view.moves.push(MoveInProgress {
            process: ProcessRef { home: "alpha".into(), pid: node },
            ..view.moves[0].clone()
        });
        view.events.push(LoggedEvent { text: "long ".repeat(500), ..view.events[0].clone() });
    }
    let mut app = showing(view);
    for key in [Key::End, Key::Char('1'), Key::End, Key::Char('3'), Key::End, Key::Char('4'), Key::End] {
        update(&mut app, Event::Key(key));
        for (width, height) in [(1, 1), (40, 10), (80, 24), (100, 30), (160, 50), (400, 200)] {
            picture(&app, width, height);
        }
    }
}
