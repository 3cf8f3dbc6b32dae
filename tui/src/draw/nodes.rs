//! The nodes pane.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Pane};
use crate::draw::table::{Cell, Column, table};
use crate::draw::text::{age, bar, bytes, spark};
use crate::draw::{Frame, nothing};
use crate::model::{Node, NodeState, View};

/// Columns of a bar, where there is plenty of room and where not.
const BAR_WIDE: usize = 14;
const BAR_NARROW: usize = 8;

/// Samples in a row's graph.
const SPARK: usize = 8;

/// Above this share of 100 a bar is an alarm.
const HIGH_PERCENT: f32 = 90.0;

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App, boxed: bool) {
    let focused = app.pane == Pane::Nodes;
    let frame = Frame { title: "1 Nodes", note: "", focused, boxed };
    let inner = frame.draw(buffer, area, app);
    let Some(view) = app.view.as_ref().filter(|view| !view.nodes.is_empty()) else {
        nothing(buffer, inner, app, "no node is known");
        return;
    };
    let bar = if inner.width >= 88 { BAR_WIDE } else { BAR_NARROW };
    let bar_column = u16::try_from(bar).unwrap_or(u16::MAX).saturating_add(5);
    let columns = [
        Column::up_to("NODE", 16, 0),
        Column::up_to("STATE", 11, 0),
        Column::fixed("CPU", bar_column, 0),
        Column::fixed("MEM", bar_column, 2),
        Column::up_to("USED/TOTAL", 10, 7).right(),
        Column::fixed("GUESTS", 6, 3).right(),
        Column::fixed("AWAY", 4, 4).right(),
        Column::fixed("RTT ms", 6, 5).right(),
        Column::fixed("LOAD", 8, 6),
    ];
    let rows: Vec<Vec<Cell>> = view.nodes.iter().map(|node| row(node, view, bar, app)).collect();
    table(buffer, inner, &columns, &rows, app.selected_node_index(), focused, app.theme);
}

/// The state with its sign: no state is told by its colour alone.
pub(super) fn state(node: &Node, view: &View) -> String {
    match node.state {
        NodeState::Ok => node.state.word().to_owned(),
        NodeState::Suspect => format!("! {}", node.state.word()),
        NodeState::Lost => match node.last_seen_unix_ms {
            Some(seen) => format!("X lost {}", age(view.taken_at_unix_ms.saturating_sub(seen))),
            None => format!("X {}", node.state.word()),
        },
    }
}

/// The share of memory in use, 0 to 100.
pub(super) fn memory_percent(node: &Node) -> Option<f32> {
    let total = node.mem_total_bytes.filter(|&total| total > 0)?;
    let percent = (u128::from(node.mem_used_bytes?) * 100 + u128::from(total) / 2) / u128::from(total);
    Some(f32::from(u8::try_from(percent).unwrap_or(u8::MAX).min(100)))
}

fn row(node: &Node, view: &View, bar_width: usize, app: &App) -> Vec<Cell> {
    let theme = app.theme;
    let share = |percent: Option<f32>| match percent.filter(|percent| percent.is_finite()) {
        None => ("-".to_owned(), theme.plain()),
        Some(percent) => {
            let style = if percent >= HIGH_PERCENT { theme.alarm() } else { theme.plain() };
            (format!("{} {percent:>3.0}%", bar(percent, bar_width)), style)
        }
    };
    let used = match (node.mem_used_bytes, node.mem_total_bytes) {
        (Some(used), Some(total)) => format!("{}/{}", bytes(used), bytes(total)),
        _ => "-".to_owned(),
    };
    let rtt = node.rtt_ms.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    vec![
        (node.name.clone(), theme.plain()),
        (state(node, view), theme.node(node.state)),
        share(node.cpu_percent),
        share(memory_percent(node)),
        (used, theme.plain()),
        (node.guests.to_string(), theme.plain()),
        (node.away.to_string(), theme.plain()),
        (rtt, theme.plain()),
        (spark(&node.load_history, SPARK), theme.graph()),
    ]
}
