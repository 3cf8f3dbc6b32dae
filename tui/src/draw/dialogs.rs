//! The dialogs, above everything else.

use ratatui::buffer::Buffer;
use ratatui::layout::{Offset, Rect};
use ratatui::widgets::{Clear, Widget};

use crate::app::App;
use crate::app::dialog::{Dialog, letter};
use crate::draw::text::{bytes, columns, put, wrapped};
use crate::draw::{Frame, details, nodes, table::first_row};
use crate::event::{Request, Signal};
use crate::keys::TABLE;
use crate::model::{ProcessRef, View};

/// A text is not made wider than this, for it to be read.
const TEXT_COLUMNS_MAX: u16 = 100;

/// Draws the dialog in the middle of the screen.
pub(super) fn dialog(buffer: &mut Buffer, app: &App, dialog: &Dialog) {
    match dialog {
        Dialog::Help { scroll } => text(buffer, app, "Keys", &help(), *scroll),
        Dialog::Details { scroll } => {
            let (title, lines) = details::of_selected(app);
            text(buffer, app, &title, &lines, *scroll);
        }
        Dialog::Why { process, answer, scroll } => {
            let line = match answer {
                None => "asking the nodes...",
                Some(Ok(text)) => text,
                Some(Err(reason)) => reason,
            };
            text(buffer, app, &format!("Why {}", name(app, process)), &[line.to_owned()], *scroll);
        }
        Dialog::PickNode { process, nodes, selected } => {
            let rows: Vec<String> =
                nodes.iter().map(|node| candidate(app.view.as_ref(), process, node)).collect();
            menu(buffer, app, &format!("Move {} to", name(app, process)), &rows, *selected);
        }
        Dialog::PickSignal { process, selected } => {
            let row = |signal: &Signal| {
                format!("{:<5}{:>2}  {}", signal.to_string(), signal.number(), signal.effect())
            };
            let rows: Vec<String> = Signal::ALL.iter().map(row).collect();
            menu(buffer, app, &format!("Signal for {}", name(app, process)), &rows, *selected);
        }
        Dialog::Confirm { request, yes, .. } => confirm(buffer, app, request, *yes),
        Dialog::Filter { text: typed } => filter(buffer, app, typed),
    }
}

fn text(buffer: &mut Buffer, app: &App, title: &str, paragraphs: &[String], scroll: usize) {
    let width = buffer.area.width.saturating_sub(6).clamp(1, TEXT_COLUMNS_MAX);
    let lines: Vec<String> =
        paragraphs.iter().flat_map(|paragraph| wrapped(paragraph, usize::from(width))).collect();
    let longest = lines.iter().map(|line| columns(line)).max().unwrap_or(0);
    let fits = lines.len() + 2 <= usize::from(buffer.area.height);
    let note = if fits { "Esc closes" } else { "Up and Down scroll, Esc closes" };
    let inner = popup(buffer, app, title, note, longest, lines.len());
    let first = scroll.min(lines.len().saturating_sub(usize::from(inner.height)));
    for (place, line) in inner.rows().zip(&lines[first..]) {
        put(buffer, place, line, app.theme.plain());
    }
}

fn menu(buffer: &mut Buffer, app: &App, title: &str, rows: &[String], selected: usize) {
    let longest = rows.iter().map(|row| columns(row)).max().unwrap_or(0) + 4;
    let inner = popup(buffer, app, title, "Enter chooses, Esc cancels", longest, rows.len());
    let first = first_row(rows.len(), usize::from(inner.height), selected);
    for ((place, row), index) in inner.rows().zip(&rows[first..]).zip(first..) {
        let sign = if index == selected { '>' } else { ' ' };
        let letter = letter(index).unwrap_or(' ');
        put(buffer, place, &format!("{sign}{letter} {row}"), app.theme.plain());
        if index == selected {
            buffer.set_style(place, app.theme.selected());
        }
    }
}

fn confirm(buffer: &mut Buffer, app: &App, request: &Request, yes: bool) {
    let question = match request {
        Request::Signal { process, signal } => {
            format!("Send {signal} to {}? It {}.", name(app, process), signal.effect())
        }
        other => format!("Really {other}?"),
    };
    let width = usize::from(buffer.area.width.saturating_sub(6)).clamp(1, 70);
    let lines = wrapped(&question, width);
    let longest = lines.iter().map(|line| columns(line)).max().unwrap_or(0).max(20);
    let inner = popup(buffer, app, "Sure?", "Esc cancels", longest, lines.len() + 2);
    for (place, line) in inner.rows().zip(&lines) {
        put(buffer, place, line, app.theme.plain());
    }
    let answers = Rect { y: inner.bottom().saturating_sub(1), height: inner.height.min(1), ..inner };
    let [no, yes] = [(" n No ", !yes), (" y Yes ", yes)].map(|(label, chosen)| {
        let sign = if chosen { ">" } else { " " };
        let style = if chosen { app.theme.selected() } else { app.theme.plain() };
        (format!("{sign}{label}"), style)
    });
    let rest = put(buffer, answers, &no.0, no.1);
    put(buffer, rest.offset(Offset { x: 2, y: 0 }).intersection(answers), &yes.0, yes.1);
}

fn filter(buffer: &mut Buffer, app: &App, typed: &str) {
    let note = "user= at= home= state= pid= command= or a word";
    let inner = popup(buffer, app, "Filter", note, 60, 1);
    // The end is where the user types, so it is the end that stays in sight.
    let mut shown = typed;
    while columns(shown) + 1 > usize::from(inner.width) && !shown.is_empty() {
        shown = shown.split_at(shown.chars().next().map_or(0, char::len_utf8)).1;
    }
    let rest = put(buffer, inner, shown, app.theme.plain());
    put(buffer, rest, "_", app.theme.key());
}

/// An empty box in the middle, large enough for this many columns and rows if the screen is.
fn popup(buffer: &mut Buffer, app: &App, title: &str, note: &str, width: usize, rows: usize) -> Rect {
    let least = columns(title).max(columns(note) + 2) + 6;
    let width = u16::try_from(width.saturating_add(4).max(least)).unwrap_or(u16::MAX).min(buffer.area.width);
    let height = u16::try_from(rows.saturating_add(2)).unwrap_or(u16::MAX).min(buffer.area.height);
    let area = Rect {
        x: buffer.area.x + (buffer.area.width - width) / 2,
        y: buffer.area.y + (buffer.area.height - height) / 2,
        width,
        height,
    };
    Clear.render(area, buffer);
    let inner = Frame { title, note, focused: true, boxed: true }.draw(buffer, area, app);
    Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner }.intersection(buffer.area)
}

fn help() -> Vec<String> {
    let label =
        |keys: &[crate::event::Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    TABLE.iter().map(|binding| format!("{:<10} {}", label(binding.keys), binding.help)).collect()
}

fn name(app: &App, id: &ProcessRef) -> String {
    let mut processes = app.view.iter().flat_map(|view| &view.processes);
    match processes.find(|process| process.id() == *id) {
        Some(process) => format!("{} {}", id.pid, process.command),
        None => id.pid.to_string(),
    }
}

/// What helps to choose a node: its load, its free memory, and whether it is home.
fn candidate(view: Option<&View>, process: &ProcessRef, node: &str) -> String {
    let home = if process.home == node { "  (home)" } else { "" };
    let Some(found) = view.and_then(|view| view.nodes.iter().find(|found| found.name == node)) else {
        return format!("{node}{home}");
    };
    let cpu = found.cpu_percent.map_or("  -".to_owned(), |percent| format!("{percent:>3.0}%"));
    let free = match (found.mem_used_bytes, found.mem_total_bytes) {
        (Some(used), Some(total)) => bytes(total.saturating_sub(used)),
        _ => "-".to_owned(),
    };
    let state = view.map_or(String::new(), |view| nodes::state(found, view));
    format!("{node:<12} {state:<9} cpu {cpu}  free {free:>4}{home}")
}
