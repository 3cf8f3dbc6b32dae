//! How events change the state and what is asked for, as a user at the keys would see it.

mod common;

use std::time::Duration;

use common::{busy, picture, showing, text};
use tui::model::{LoggedEvent, Process, ProcessRef, View};
use tui::{App, Event, Key, Request, Signal, update};

/// The processes by cpu, as they stand in the table at the start.
const BLENDER: u32 = 41207;
const GMX: u32 = 41310;

fn press(app: &mut App, keys: &str) -> Option<Request> {
    let mut last = None;
    for character in keys.chars() {
        let key = match character {
            '⏎' => Key::Enter,
            '⎋' => Key::Esc,
            '↓' => Key::Down,
            '↑' => Key::Up,
            '⇥' => Key::Tab,
            character => Key::Char(character),
        };
        last = update(app, Event::Key(key));
    }
    last
}

fn shown(app: &App) -> String {
    text(&picture(app, 80, 24))
}

fn alpha(pid: u32) -> ProcessRef {
    ProcessRef { home: "alpha".into(), pid }
}

#[test]
fn keys_lead_to_requests() {
    let later = Event::Tick(Duration::from_secs(60));
    for (keys, expected) in [
        ("q", Some(Request::Quit)),
        ("h", Some(Request::Home { process: alpha(BLENDER) })),
        ("jh", Some(Request::Home { process: alpha(GMX) })),
        ("w", Some(Request::Why { process: alpha(BLENDER) })),
        // Blender is at bravo and delta is lost: alpha and charlie are left.
        ("m⏎", Some(Request::Move { process: alpha(BLENDER), node: "alpha".into() })),
        ("m↓⏎", Some(Request::Move { process: alpha(BLENDER), node: "charlie".into() })),
        ("mb⏎", Some(Request::Move { process: alpha(BLENDER), node: "charlie".into() })),
        ("m⎋", None),
        ("mq", None),
        // The confirmation opened just now, so whatever follows at once was typed ahead.
        ("x⏎y", None),
        ("x⏎⏎", None),
        ("/xz⏎h", None),
        ("/user=li⏎jh", Some(Request::Home { process: alpha(41402) })),
        ("/at=charlie⏎m", None),
        ("?q", None),
    ] {
        let mut app = showing(busy());
        update(&mut app, later.clone());
        assert_eq!(press(&mut app, keys), expected, "{keys}");
    }
}

#[test]
fn a_signal_is_sent_after_a_yes_only() {
    let second = |seconds| Event::Tick(Duration::from_secs(seconds));
    let mut app = showing(busy());
    press(&mut app, "x↓↓↓↓⏎");
    assert!(shown(&app).contains("Send KILL to 41207"), "{}", shown(&app));
    update(&mut app, second(1));
    assert_eq!(press(&mut app, "⏎"), None, "no is the default");
    press(&mut app, "x⏎");
    update(&mut app, second(2));
    let expected = Request::Signal { process: alpha(BLENDER), signal: Signal::Term };
    assert_eq!(press(&mut app, "⇥⏎"), Some(expected));
}

#[test]
fn the_selection_stays_with_its_process() {
    let mut app = showing(busy());
    press(&mut app, "j");
    let mut view = busy();
    view.processes[1].cpu_percent = Some(900.0);
    update(&mut app, Event::View(view.clone()));
    assert_eq!(press(&mut app, "h"), Some(Request::Home { process: alpha(GMX) }));
    view.processes.remove(1);
    update(&mut app, Event::View(view));
    assert_eq!(press(&mut app, "h"), Some(Request::Home { process: alpha(BLENDER) }), "its neighbour");
}

#[test]
fn equal_pids_of_two_homes_are_two_processes() {
    let mut view = busy();
    view.processes = vec![
        view.processes[0].clone(),
        Process { home: "bravo".into(), at: "alpha".into(), ..view.processes[0].clone() },
    ];
    let mut app = showing(view);
    let bravo = ProcessRef { home: "bravo".into(), pid: BLENDER };
    assert_eq!(press(&mut app, "jh"), Some(Request::Home { process: bravo }));
}

#[test]
fn an_agent_that_is_silent_is_told_and_forgiven() {
    let mut app = showing(busy());
    update(&mut app, Event::Disconnected("no such socket".into()));
    assert!(shown(&app).contains("agent not reachable (as of 12:04:31): no such socket"));
    assert!(shown(&app).contains("blender"), "the last view stays");
    update(&mut app, Event::View(busy()));
    assert!(!shown(&app).contains("not reachable"));
}

#[test]
fn a_view_of_another_version_is_refused() {
    let mut app = showing(busy());
    update(&mut app, Event::View(View { v: 2, ..View::default() }));
    assert!(shown(&app).contains("version 2"), "{}", shown(&app));
    assert!(shown(&app).contains("blender"), "and not shown");
}

#[test]
fn while_held_the_picture_stays_and_then_catches_up() {
    let mut app = showing(busy());
    press(&mut app, " ");
    update(&mut app, Event::View(View { processes: Vec::new(), ..busy() }));
    assert!(shown(&app).contains("blender") && shown(&app).contains("PAUSED"));
    press(&mut app, " ");
    assert!(!shown(&app).contains("blender") && !shown(&app).contains("PAUSED"));
}

#[test]
fn results_are_shown_and_expire() {
    let mut app = showing(busy());
    let request = Request::Move { process: alpha(BLENDER), node: "charlie".into() };
    update(&mut app, Event::RequestDone(request.clone(), Ok("moved 41207 bravo -> charlie".into())));
    assert!(shown(&app).contains("moved 41207 bravo -> charlie"));
    update(&mut app, Event::RequestDone(request, Err("charlie has too little memory".into())));
    assert!(shown(&app).contains("! move 41207 to charlie: charlie has too little memory"));
    update(&mut app, Event::Tick(Duration::from_secs(60)));
    assert!(!shown(&app).contains("too little memory"));
}

#[test]
fn an_answer_appears_in_its_dialog_and_steals_no_keys() {
    let mut app = showing(busy());
    press(&mut app, "w");
    assert!(shown(&app).contains("asking the nodes"));
    let why = Request::Why { process: alpha(BLENDER) };
    update(&mut app, Event::RequestDone(why.clone(), Ok("charlie  can: no, too little memory".into())));
    assert!(shown(&app).contains("can: no, too little memory"));
    press(&mut app, "⎋x");
    update(&mut app, Event::RequestDone(why, Ok("late".into())));
    assert!(shown(&app).contains("Signal for 41207"), "the open dialog stays");
}

#[test]
fn a_wrong_filter_is_explained_and_escape_shows_all() {
    let mut app = showing(busy());
    press(&mut app, "/colour=red⏎");
    assert!(shown(&app).contains("no field `colour`"));
    press(&mut app, "/nothing-like-this⏎");
    assert!(shown(&app).contains("no process meets the filter"));
    press(&mut app, "⎋");
    assert!(shown(&app).contains("blender"));
}

#[test]
fn stop_quits_even_in_a_dialog() {
    let mut app = showing(busy());
    press(&mut app, "x");
    assert_eq!(update(&mut app, Event::Stop), Some(Request::Quit));
}

#[test]
fn old_events_stay_in_sight_while_new_ones_arrive() {
    let mut app = showing(busy());
    press(&mut app, "44↓↓↓");
    assert!(shown(&app).lines().nth(2).unwrap().contains("pause 11 ms"), "{}", shown(&app));
    let mut view = busy();
    let newer = LoggedEvent { text: "something else".into(), ..view.events[3].clone() };
    view.events.push(newer);
    update(&mut app, Event::View(view));
    assert!(shown(&app).lines().nth(2).unwrap().contains("pause 11 ms"), "{}", shown(&app));
}
