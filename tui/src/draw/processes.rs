//! The processes pane.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Pane};
use crate::draw::table::{Cell, Column, table};
use crate::draw::text::{bytes, bytes_rate, count, pause};
use crate::draw::{Frame, nothing};
use crate::model::{Process, ProcessState, View};

const COLUMNS: &[Column] = &[
    Column::up_to("PID", 7, 0).right(),
    Column::rest("COMMAND", 12, 24),
    Column::up_to("USER", 8, 6),
    Column::up_to("HOME", 10, 5),
    Column::up_to("AT", 11, 0),
    Column::fixed("STATE", 10, 0),
    Column::fixed("CPU%", 4, 1).right(),
    Column::fixed("RSS", 4, 3).right(),
    Column::fixed("CALLS/s", 7, 2).right(),
    Column::fixed("PAUSE", 5, 4).right(),
    Column::fixed("MOVES", 5, 7).right(),
    Column::fixed("THR", 3, 8).right(),
    Column::fixed("BYTES/s", 7, 9).right(),
    Column::fixed("EPOCH", 5, 10).right(),
];

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App, boxed: bool) {
    let focused = app.pane == Pane::Processes;
    let processes = app.processes();
    let all = app.view.as_ref().map_or(0, |view| view.processes.len());
    let direction = if app.sort.reversed { " reversed" } else { "" };
    let mut title = format!("2 Processes  sort:{}{direction}", app.sort.by.word());
    if !app.filter.text().is_empty() {
        title.push_str(&format!("  filter:{}", app.filter.text()));
    }
    let note = format!("{} of {all}", processes.len());
    let frame = Frame { title: &title, note: &note, focused, boxed };
    let inner = frame.draw(buffer, area, app);
    match &app.view {
        Some(view) if !processes.is_empty() => {
            let rows: Vec<Vec<Cell>> = processes.iter().map(|process| row(process, view, app)).collect();
            table(buffer, inner, COLUMNS, &rows, app.selected_process_index(), focused, app.theme);
        }
        _ if all > 0 => nothing(buffer, inner, app, "no process meets the filter; Esc shows them all"),
        _ => nothing(buffer, inner, app, "no processes yet: start one with  homing run -- COMMAND"),
    }
}

/// Where the body is, or with `>` where it goes.
pub(super) fn place(process: &Process, view: &View) -> String {
    match moving_to(process, view) {
        Some((to, _)) => format!(">{to}"),
        None => process.at.clone(),
    }
}

/// The state's word, with the share that is sent while it moves.
pub(super) fn state(process: &Process, view: &View) -> String {
    match moving_to(process, view) {
        Some((_, Some(percent))) => format!("{} {percent}%", process.state.word()),
        _ => process.state.word().to_owned(),
    }
}

fn moving_to<'a>(process: &Process, view: &'a View) -> Option<(&'a str, Option<u8>)> {
    if process.state != ProcessState::Moving {
        return None;
    }
    let id = process.id();
    view.moves
        .iter()
        .find(|under_way| under_way.process == id)
        .map(|found| (found.to.as_str(), found.percent()))
}

fn row(process: &Process, view: &View, app: &App) -> Vec<Cell> {
    let plain = app.theme.plain();
    let state_style = app.theme.process(process.state);
    let or_dash = |text: Option<String>| (text.unwrap_or_else(|| "-".to_owned()), plain);
    // A process at home forwards nothing: a dash says so better than a zero.
    let forwards = process.state != ProcessState::Home;
    vec![
        (process.pid.to_string(), plain),
        (process.command.clone(), plain),
        (process.user.clone(), plain),
        (process.home.clone(), plain),
        (place(process, view), state_style),
        (state(process, view), state_style),
        or_dash(process.cpu_percent.map(|percent| format!("{percent:.0}"))),
        or_dash(process.rss_bytes.map(bytes)),
        or_dash(forwards.then(|| count(process.calls_per_s))),
        or_dash(process.last_pause_us.map(pause)),
        (process.moves.to_string(), plain),
        (process.threads.to_string(), plain),
        or_dash(forwards.then(|| bytes_rate(process.call_bytes_per_s))),
        (process.epoch.to_string(), plain),
    ]
}
