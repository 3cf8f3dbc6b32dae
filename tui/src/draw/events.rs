//! The events pane: the newest above, each with its sign.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::{App, Pane};
use crate::draw::text::{clock, put, wrapped};
use crate::draw::{Frame, nothing};
use crate::model::EventLevel;

/// Columns before the sentence: blank, time, blank, sign, blank.
const INDENT: u16 = 12;

/// Lines that one event takes at most.
const LINES_MAX: usize = 3;

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App, boxed: bool) {
    let note = if app.event_scroll > 0 { format!("{} newer above", app.event_scroll) } else { String::new() };
    let frame = Frame { title: "4 Events", note: &note, focused: app.pane == Pane::Events, boxed };
    let inner = frame.draw(buffer, area, app);
    let Some(view) = app.view.as_ref().filter(|view| !view.events.is_empty()) else {
        nothing(buffer, inner, app, "nothing happened yet");
        return;
    };
    let mut lines = inner.rows();
    for event in view.events.iter().rev().skip(app.event_scroll) {
        let Some(first) = lines.next() else { break };
        let style = app.theme.event(event.level);
        let time = clock(event.at_unix_ms, app.utc_offset_s);
        put(buffer, first, &format!(" {time} {}", sign(event.level)), style);
        let width = inner.width.saturating_sub(INDENT);
        let sentence = wrapped(&event.text, usize::from(width));
        let mut line = first;
        for (index, text) in sentence.iter().take(LINES_MAX).enumerate() {
            if index > 0 {
                let Some(next) = lines.next() else { break };
                line = next;
            }
            let place = Rect { x: line.x.saturating_add(INDENT), width, ..line };
            put(buffer, place, text, style);
        }
    }
}

/// A sign for each level: no level is told by its colour alone.
pub(super) fn sign(level: EventLevel) -> &'static str {
    match level {
        EventLevel::Info => " ",
        EventLevel::Warning => "!",
        EventLevel::Error => "X",
    }
}
