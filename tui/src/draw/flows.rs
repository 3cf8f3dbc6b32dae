//! Traffic between nodes: as a line, a list or a matrix, by the room there is.

use std::collections::BTreeSet;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Pane};
use crate::draw::layout::top;
use crate::draw::table::{Cell, Column, table};
use crate::draw::text::{bytes_rate, count, put, put_right};
use crate::draw::{Frame, nothing};
use crate::model::{Flow, FlowKind, View};

/// Columns of the matrix: the sender's name, and each receiver.
const FROM_COLUMN: u16 = 9;
const TO_COLUMN: u16 = 10;

const COLUMNS: &[Column] = &[
    Column::up_to("FROM", 12, 0),
    Column::up_to("TO", 12, 0),
    Column::fixed("KIND", 5, 1),
    Column::fixed("CALLS/s", 7, 0).right(),
    Column::fixed("BYTES/s", 7, 0).right(),
];

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App, boxed: bool) {
    let focused = app.pane == Pane::Flows;
    let frame = Frame { title: "3 Flows", note: "calls and bytes per second", focused, boxed };
    let inner = frame.draw(buffer, area, app);
    let Some(view) = app.view.as_ref().filter(|view| !view.flows.is_empty()) else {
        nothing(buffer, inner, app, "no traffic between nodes");
        return;
    };
    let names = names(view);
    let size = u16::try_from(names.len()).unwrap_or(u16::MAX);
    let matrix_lines = size.saturating_mul(2).saturating_add(1);
    let matrix_fits = inner.width >= FROM_COLUMN.saturating_add(size.saturating_mul(TO_COLUMN))
        && inner.height >= matrix_lines;
    if matrix_fits {
        let (upper, lower) = top(inner, matrix_lines);
        matrix(buffer, upper, app, view, &names);
        callers(buffer, lower, app, view);
    } else {
        list(buffer, inner, app, view, focused);
    }
}

/// The largest flows in one line.
pub(super) fn line(buffer: &mut Buffer, area: Rect, app: &App) {
    if area.is_empty() {
        return;
    }
    let mut rest = put(buffer, area, " Flows", app.theme.heading());
    let Some(view) = app.view.as_ref().filter(|view| !view.flows.is_empty()) else {
        put(buffer, rest, "  no traffic between nodes", app.theme.plain());
        return;
    };
    for flow in largest_first(view) {
        rest = put(buffer, rest, &format!("  {}>{} ", flow.from, flow.to), app.theme.plain());
        let amount = match flow.kind {
            FlowKind::Pages => format!("pages {}/s", bytes_rate(flow.bytes_per_s)),
            kind => {
                format!("{} {}/s {}/s", kind.word(), count(flow.calls_per_s), bytes_rate(flow.bytes_per_s))
            }
        };
        rest = put(buffer, rest, &amount, app.theme.plain());
    }
}

fn list(buffer: &mut Buffer, area: Rect, app: &App, view: &View, focused: bool) {
    let plain = app.theme.plain();
    let rows: Vec<Vec<Cell>> = largest_first(view)
        .into_iter()
        .map(|flow| {
            let calls = if flow.kind == FlowKind::Pages { "-".to_owned() } else { count(flow.calls_per_s) };
            vec![
                (flow.from.clone(), plain),
                (flow.to.clone(), plain),
                (flow.kind.word().to_owned(), plain),
                (calls, plain),
                (bytes_rate(flow.bytes_per_s), plain),
            ]
        })
        .collect();
    let selected = focused.then_some(app.flow_scroll);
    table(buffer, area, COLUMNS, &rows, selected, focused, app.theme);
}

/// A row for each sender, a column for each receiver: calls above, bytes below, and `+` where pages flow too.
fn matrix(buffer: &mut Buffer, area: Rect, app: &App, view: &View, names: &[&str]) {
    let (titles, body) = top(area, 1);
    put(buffer, Rect { x: titles.x + 1, width: FROM_COLUMN - 1, ..titles }, "FROM\\TO", app.theme.heading());
    for (to, place) in names.iter().zip(cells(titles)) {
        put_right(buffer, place, to, app.theme.heading());
    }
    for (index, from) in names.iter().enumerate() {
        let (_, rows) = top(body, u16::try_from(index * 2).unwrap_or(u16::MAX));
        let (upper, lower) = top(rows, 1);
        put(buffer, Rect { x: upper.x + 1, width: FROM_COLUMN - 1, ..upper }, from, app.theme.plain());
        for ((to, calls_place), bytes_place) in names.iter().zip(cells(upper)).zip(cells(lower)) {
            let between = || view.flows.iter().filter(|flow| flow.from == *from && flow.to == *to);
            if between().next().is_none() {
                put_right(buffer, calls_place, "-", app.theme.plain());
                continue;
            }
            let calls: f32 = between().map(|flow| flow.calls_per_s).sum();
            let bytes: f32 = between().map(|flow| flow.bytes_per_s).sum();
            let pages = between().any(|flow| flow.kind == FlowKind::Pages);
            let calls_text =
                if calls > 0.0 || !pages { format!("{}/s", count(calls)) } else { "pages".to_owned() };
            let sign = if pages && calls > 0.0 { "+" } else { "" };
            let style = if pages { app.theme.heading() } else { app.theme.plain() };
            put_right(buffer, calls_place, &format!("{sign}{calls_text}"), style);
            put_right(buffer, bytes_place, &format!("{}/s", bytes_rate(bytes)), style);
        }
    }
}

/// The processes that forward most.
fn callers(buffer: &mut Buffer, area: Rect, app: &App, view: &View) {
    let (title, body) = top(area, 2);
    let mut callers: Vec<_> = view.processes.iter().filter(|process| process.calls_per_s >= 1.0).collect();
    if callers.is_empty() || body.is_empty() {
        return;
    }
    callers.sort_by(|a, b| b.calls_per_s.total_cmp(&a.calls_per_s).then(a.pid.cmp(&b.pid)));
    let title = Rect { y: title.y + 1, x: title.x + 1, width: title.width.saturating_sub(1), height: 1 };
    put(buffer, title, "Most calls forwarded", app.theme.heading());
    for (line, process) in body.rows().zip(callers) {
        let line = Rect { x: line.x + 1, width: line.width.saturating_sub(1), ..line };
        let figures = format!(" {}/s {}/s", count(process.calls_per_s), bytes_rate(process.call_bytes_per_s));
        let name = format!("{} {}", process.pid, process.command);
        let width = line.width.saturating_sub(u16::try_from(figures.len()).unwrap_or(u16::MAX));
        put(buffer, Rect { width, ..line }, &name, app.theme.plain());
        put_right(buffer, line, &figures, app.theme.plain());
    }
}

fn cells(line: Rect) -> impl Iterator<Item = Rect> {
    let mut x = line.x.saturating_add(FROM_COLUMN);
    std::iter::from_fn(move || {
        let cell = Rect { x, width: TO_COLUMN, ..line };
        x = x.saturating_add(TO_COLUMN);
        Some(cell.intersection(line))
    })
}

/// The ends of all flows, in the order of the nodes pane, unknown ones last.
fn names(view: &View) -> Vec<&str> {
    let mut ends: BTreeSet<&str> =
        view.flows.iter().flat_map(|flow| [flow.from.as_str(), flow.to.as_str()]).collect();
    let mut names: Vec<&str> =
        view.nodes.iter().map(|node| node.name.as_str()).filter(|name| ends.remove(name)).collect();
    names.extend(ends);
    names
}

/// By bytes, and in a fixed order where they are equal.
fn largest_first(view: &View) -> Vec<&Flow> {
    let mut flows: Vec<&Flow> = view.flows.iter().collect();
    flows.sort_by(|a, b| {
        let order = b.bytes_per_s.total_cmp(&a.bytes_per_s);
        order.then_with(|| (&a.from, &a.to, a.kind).cmp(&(&b.from, &b.to, b.kind)))
    });
    flows
}
