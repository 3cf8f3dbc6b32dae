//! The picture of the present state: `frame` fills a buffer and changes nothing else.

mod details;
mod dialogs;
mod events;
mod flows;
mod header;
mod layout;
mod load;
mod moves;
mod nodes;
mod processes;
mod table;
mod text;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Widget};

use crate::app::{App, Pane};
use crate::draw::layout::{Part, left, top};
use crate::draw::text::{columns, put, put_right};

/// Draws the whole dashboard into `buffer`, whatever its size.
pub fn frame(app: &App, buffer: &mut Buffer) {
    let nodes = app.view.as_ref().map_or(0, |view| u16::try_from(view.nodes.len()).unwrap_or(u16::MAX - 8));
    let layout = layout::layout(buffer.area, app.pane, app.lower, app.zoomed, nodes);
    header::header(buffer, layout.header, app);
    for (part, area) in layout.parts {
        let boxed = layout.boxed;
        match part {
            Part::Pane(Pane::Nodes) => nodes::pane(buffer, area, app, boxed),
            Part::Pane(Pane::Processes) => processes::pane(buffer, area, app, boxed),
            Part::Pane(Pane::Flows) => flows::pane(buffer, area, app, boxed),
            Part::Pane(Pane::Events) => events::pane(buffer, area, app, boxed),
            Part::FlowLine => flows::line(buffer, area, app),
            Part::Load => load::pane(buffer, area, app),
            Part::Moves => moves::pane(buffer, area, app),
            Part::Details => details::pane(buffer, area, app),
        }
    }
    header::hints(buffer, layout.hints, app);
    header::status(buffer, layout.status, app);
    if let Some(dialog) = &app.dialog {
        dialogs::dialog(buffer, app, dialog);
    }
}

/// A pane's frame, with its title above and a note below; returns the place inside.
struct Frame<'a> {
    title: &'a str,
    note: &'a str,
    /// The pane has the keys.
    focused: bool,
    /// Without a box the title takes one line.
    boxed: bool,
}

impl Frame<'_> {
    fn draw(&self, buffer: &mut Buffer, area: Rect, app: &App) -> Rect {
        if area.is_empty() {
            return area;
        }
        let title = format!(" {} ", self.title);
        if !self.boxed {
            let (line, inner) = top(area, 1);
            put(buffer, line, &title, app.theme.title(self.focused));
            return inner;
        }
        let block = Block::bordered().border_style(app.theme.frame(self.focused));
        let inner = block.inner(area);
        block.render(area, buffer);
        let (_, line) = left(Rect { width: area.width.saturating_sub(1), ..area }, 2);
        put(buffer, line, &title, app.theme.title(self.focused));
        let last = Rect { y: area.bottom() - 1, height: 1, ..line };
        if !self.note.is_empty() && columns(self.note) + 2 < usize::from(last.width) {
            put_right(buffer, last, &format!(" {} ", self.note), app.theme.plain());
        }
        inner
    }
}

/// One sentence where there are no rows.
fn nothing(buffer: &mut Buffer, area: Rect, app: &App, sentence: &str) {
    let sentence = if app.view.is_some() { sentence } else { "waiting for the agent's first answer" };
    let indent = Rect { x: area.x.saturating_add(1), width: area.width.saturating_sub(1), ..area };
    for (line, text) in indent.rows().zip(text::wrapped(sentence, usize::from(indent.width))) {
        put(buffer, line, &text, app.theme.plain());
    }
}
