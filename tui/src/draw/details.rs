//! All that is known of one process or one node.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Pane};
use crate::draw::text::{bytes, bytes_rate, clock, count, pause, put, wrapped};
use crate::draw::{Frame, events, nodes, nothing, processes};
use crate::model::{LoggedEvent, Node, Process, View};

/// Draws the pane: the selected process.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App) {
    let title = match app.selected_process() {
        Some(process) => format!("Detail: {} {}", process.pid, process.command),
        None => "Detail".to_owned(),
    };
    let frame = Frame { title: &title, note: "Enter shows all", focused: false, boxed: true };
    let inner = frame.draw(buffer, area, app);
    let (Some(view), Some(process)) = (&app.view, app.selected_process()) else {
        nothing(buffer, inner, app, "no process is selected");
        return;
    };
    let indent = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    let lines = of_process(process, view, app);
    for (line, text) in
        indent.rows().zip(lines.iter().flat_map(|text| wrapped(text, usize::from(indent.width))))
    {
        put(buffer, line, &text, app.theme.plain());
    }
}

/// The title and the lines of what the details dialog shows: the selected row of the focused pane.
pub(super) fn of_selected(app: &App) -> (String, Vec<String>) {
    let nothing = || ("Detail".to_owned(), vec!["nothing is selected".to_owned()]);
    let Some(view) = &app.view else { return nothing() };
    match (app.pane, app.selected_node(), app.selected_process()) {
        (Pane::Nodes, Some(node), _) => (format!("Node {}", node.name), of_node(node, view, app)),
        (_, _, Some(process)) => {
            (format!("{} {}", process.pid, process.command), of_process(process, view, app))
        }
        _ => nothing(),
    }
}

/// The process in one line.
pub(super) fn in_one_line(process: &Process) -> String {
    let rss = process.rss_bytes.map_or("-".to_owned(), bytes);
    format!(
        "{} {}  {}  home {}  at {}  threads {}  {rss}",
        process.pid, process.command, process.user, process.home, process.at, process.threads
    )
}

fn of_process(process: &Process, view: &View, app: &App) -> Vec<String> {
    let moved = match process.last_pause_us {
        Some(us) => format!("moves {}, last pause {}", process.moves, pause(us)),
        None => "never moved".to_owned(),
    };
    let cpu = process.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.0} %"));
    let rss = process.rss_bytes.map_or("-".to_owned(), bytes);
    let mut lines = vec![
        format!(
            "user {}   home {} pid {}   at {}   {}   epoch {}   {moved}",
            process.user,
            process.home,
            process.pid,
            processes::place(process, view),
            processes::state(process, view),
            process.epoch
        ),
        format!(
            "cpu {cpu}   threads {}   memory {rss}   forwards {} calls/s, {}/s",
            process.threads,
            count(process.calls_per_s),
            bytes_rate(process.call_bytes_per_s)
        ),
    ];
    let id = process.id();
    lines.extend(lately(view, app, |event| event.process.as_ref() == Some(&id)));
    lines
}

fn of_node(node: &Node, view: &View, app: &App) -> Vec<String> {
    let cpu = node.cpu_percent.map_or("-".to_owned(), |percent| format!("{percent:.0} %"));
    let memory = match (node.mem_used_bytes, node.mem_total_bytes) {
        (Some(used), Some(total)) => format!("{} of {}", bytes(used), bytes(total)),
        _ => "-".to_owned(),
    };
    let rtt = node.rtt_ms.map_or("-".to_owned(), |ms| format!("{ms:.2} ms"));
    let seen = node.last_seen_unix_ms.map_or("never".to_owned(), |ms| clock(ms, app.utc_offset_s));
    let mut lines = vec![
        format!("state {}   last seen {seen}   round trip {rtt}", nodes::state(node, view)),
        format!("cpu {cpu} of {} processors   memory {memory}", node.cpus),
        format!("guests here {}   own processes away {}", node.guests, node.away),
    ];
    lines.extend(lately(view, app, |event| event.node.as_ref() == Some(&node.name)));
    lines
}

fn lately(view: &View, app: &App, about: impl Fn(&LoggedEvent) -> bool) -> Vec<String> {
    let line = |event: &LoggedEvent| {
        format!("{} {} {}", clock(event.at_unix_ms, app.utc_offset_s), events::sign(event.level), event.text)
    };
    view.events.iter().rev().filter(|event| about(event)).map(line).collect()
}
