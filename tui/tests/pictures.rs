//! What the user sees: whole pictures at three sizes in two states, and what must hold for every picture.

mod common;

use common::{busy, picture, showing, text};
use tui::model::{EventLevel, NodeState, ProcessState, View};
use tui::{App, Event, Key, Theme, update};

const SIZES: [(u16, u16); 3] = [(80, 24), (100, 30), (160, 50)];

#[test]
fn a_busy_cluster() {
    let app = showing(busy());
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("busy_{width}x{height}"), text(&picture(&app, width, height)));
    }
}

#[test]
fn an_agent_that_went_away() {
    let mut app = showing(busy());
    update(&mut app, Event::Disconnected("no answer on /run/homing/agent.sock".into()));
    for (width, height) in SIZES {
        insta::assert_snapshot!(format!("unreachable_{width}x{height}"), text(&picture(&app, width, height)));
    }
}

#[test]
fn dialogs() {
    for (name, keys) in [
        ("help", vec![Key::Char('?')]),
        ("details", vec![Key::Enter]),
        ("node_details", vec![Key::Char('1'), Key::Enter]),
        ("move", vec![Key::Char('m'), Key::Down]),
        ("signal", vec![Key::Char('x')]),
        ("confirm", vec![Key::Char('x'), Key::Enter]),
        ("filter", vec![Key::Char('/'), Key::Char('x'), Key::Char('z')]),
        ("flows", vec![Key::Char('3')]),
        ("events_only", vec![Key::Char('4'), Key::Char('4')]),
    ] {
        let mut app = showing(busy());
        for key in keys {
            update(&mut app, Event::Key(key));
        }
        insta::assert_snapshot!(format!("dialog_{name}"), text(&picture(&app, 80, 24)));
    }
}

#[test]
fn before_the_first_view_and_in_an_empty_cluster() {
    let mut app = App::new(Theme::Default, 0);
    insta::assert_snapshot!("waiting_80x24", text(&picture(&app, 80, 24)));
    update(&mut app, Event::View(View { cluster: "lab".into(), node: "n1".into(), ..View::default() }));
    insta::assert_snapshot!("empty_80x24", text(&picture(&app, 80, 24)));
    insta::assert_snapshot!("empty_160x50", text(&picture(&app, 160, 50)));
}

#[test]
fn small_terminals_show_one_pane_without_frames() {
    let mut app = showing(busy());
    insta::assert_snapshot!("small_40x10", text(&picture(&app, 40, 10)));
    update(&mut app, Event::Key(Key::Char('1')));
    insta::assert_snapshot!("small_nodes_50x8", text(&picture(&app, 50, 8)));
}

/// Every state must be told by a word or a sign: the text alone differs when nothing but the state does.
#[test]
fn states_differ_without_colours() {
    let shown = |change: &dyn Fn(&mut View)| {
        let mut view = busy();
        view.moves.clear();
        change(&mut view);
        text(&picture(&showing(view), 80, 24))
    };
    let nodes = [NodeState::Ok, NodeState::Suspect, NodeState::Lost];
    let nodes = nodes.map(|state| shown(&|view| view.nodes[1].state = state));
    let processes = [ProcessState::Home, ProcessState::Away, ProcessState::Moving, ProcessState::Frozen];
    let processes = processes.map(|state| shown(&|view| view.processes[0].state = state));
    let levels = [EventLevel::Info, EventLevel::Warning, EventLevel::Error];
    let levels = levels.map(|level| shown(&|view| view.events[3].level = level));
    for pictures in [&nodes[..], &processes, &levels] {
        for (index, one) in pictures.iter().enumerate() {
            assert!(!pictures[..index].contains(one), "two states look the same:\n{one}");
        }
    }
}

#[test]
fn the_mono_theme_shows_the_same_text_without_colours() {
    let mut app = App::new(Theme::Mono, 0);
    update(&mut app, Event::View(busy()));
    for (width, height) in SIZES {
        let mono = picture(&app, width, height);
        assert_eq!(text(&mono), text(&picture(&showing(busy()), width, height)));
        for cell in mono.content() {
            assert_eq!((cell.fg, cell.bg), (ratatui::style::Color::Reset, ratatui::style::Color::Reset));
        }
    }
}

#[test]
fn no_background_is_ever_set() {
    for (width, height) in SIZES {
        for cell in picture(&showing(busy()), width, height).content() {
            assert_eq!(cell.bg, ratatui::style::Color::Reset);
        }
    }
}
