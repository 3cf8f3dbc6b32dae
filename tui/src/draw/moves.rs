//! The moves under way, each with its progress.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::draw::text::{age, bytes, bytes_rate, put, wrapped};
use crate::draw::{Frame, nothing};
use crate::model::{MoveInProgress, View};

/// Columns of a progress bar.
const BAR: usize = 16;

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App) {
    let frame = Frame { title: "Moves in progress", note: "", focused: false, boxed: true };
    let inner = frame.draw(buffer, area, app);
    let Some(view) = app.view.as_ref().filter(|view| !view.moves.is_empty()) else {
        nothing(buffer, inner, app, "no move is under way; m moves the selected process");
        return;
    };
    let indent = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    let lines = view.moves.iter().flat_map(|under_way| lines(under_way, view));
    let lines = lines.flat_map(|line| wrapped(&line, usize::from(indent.width)));
    for (line, text) in indent.rows().zip(lines) {
        put(buffer, line, &text, app.theme.plain());
    }
}

fn lines(under_way: &MoveInProgress, view: &View) -> [String; 3] {
    let found = view.processes.iter().find(|process| process.id() == under_way.process);
    let command = found.map_or("", |process| process.command.as_str());
    let milliseconds = view.taken_at_unix_ms.saturating_sub(under_way.started_unix_ms);
    let rate = under_way.bytes_sent as f32 * 1_000.0 / milliseconds.max(1) as f32;
    let share = match under_way.percent() {
        Some(percent) => {
            let full = usize::from(percent) * BAR / 100;
            format!("[{}{}] ", "#".repeat(full), "-".repeat(BAR - full))
        }
        None => String::new(),
    };
    let total = under_way.bytes_total.map_or(String::new(), |total| format!("/{}", bytes(total)));
    let round = match under_way.round {
        0 => "preparing".to_owned(),
        round => format!("round {round}"),
    };
    [
        format!("{} {command}  {} -> {}", under_way.process.pid, under_way.from, under_way.to),
        format!("  {round}  {share}{}{total}", bytes(under_way.bytes_sent)),
        format!("  {}/s for {}", bytes_rate(rate), age(milliseconds)),
    ]
}
