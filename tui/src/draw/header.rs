//! The lines outside the panes: the cluster above, the keys and the status below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::draw::text::{clock, put, put_right};
use crate::draw::{details, layout::left};
use crate::keys::TABLE;
use crate::model::{NodeState, ProcessState, View};

/// The cluster in one line; instead of it, when the agent does not answer, that it does not and why.
pub(super) fn header(buffer: &mut Buffer, area: Rect, app: &App) {
    if let Some(reason) = &app.unreachable {
        let of = match &app.view {
            Some(view) => format!(" (as of {})", clock(view.taken_at_unix_ms, app.utc_offset_s)),
            None => String::new(),
        };
        let style = app.theme.alarm().patch(app.theme.selected());
        let rest = put(buffer, area, &format!(" agent not reachable{of}: {reason}"), style);
        buffer.set_style(rest, style);
        return;
    }
    let Some(view) = &app.view else {
        put(buffer, area, " homing: waiting for the agent", app.theme.plain());
        return;
    };
    let time = clock(view.taken_at_unix_ms, app.utc_offset_s);
    // Minutes are enough here: seconds would repaint an idle screen all the time.
    let right = format!(" {}{} ", if app.paused { "PAUSED  " } else { "" }, &time[..5]);
    let room = area.width.saturating_sub(u16::try_from(right.len()).unwrap_or(u16::MAX));
    let (summary, _) = left(area, room);
    let rest = put(buffer, summary, &format!(" {}", view.cluster), app.theme.heading());
    put(buffer, rest, &summary_of(view), app.theme.plain());
    put_right(buffer, area, &right, if app.paused { app.theme.alarm() } else { app.theme.plain() });
}

/// The keys with a hint, as many as there is place for.
pub(super) fn hints(buffer: &mut Buffer, area: Rect, app: &App) {
    let mut rest = area;
    for binding in TABLE {
        let (Some(hint), Some(key)) = (binding.hint, binding.keys.first()) else { continue };
        let key = key.to_string();
        if usize::from(rest.width) < key.len() + hint.len() + 2 {
            break;
        }
        rest = put(buffer, rest, " ", app.theme.plain());
        rest = put(buffer, rest, &key, app.theme.key());
        rest = put(buffer, rest, &format!(" {hint}"), app.theme.plain());
    }
}

/// The last message, or else the selected process in one line; at the right the refresh rate.
pub(super) fn status(buffer: &mut Buffer, area: Rect, app: &App) {
    let rate = format!(" {} Hz ", app.rate_hz());
    let (text_area, rate_area) =
        left(area, area.width.saturating_sub(u16::try_from(rate.len()).unwrap_or(u16::MAX)));
    put_right(buffer, rate_area, &rate, app.theme.plain());
    if let Some(notice) = &app.notice {
        let (sign, style) = if notice.is_error { ("! ", app.theme.alarm()) } else { ("", app.theme.plain()) };
        put(buffer, text_area, &format!(" {sign}{}", notice.text), style);
    } else if let Some(process) = app.selected_process() {
        put(buffer, text_area, &format!(" {}", details::in_one_line(process)), app.theme.plain());
    }
}

fn summary_of(view: &View) -> String {
    let answering = view.nodes.iter().filter(|node| node.state == NodeState::Ok).count();
    let mut text = format!(" at {}  nodes {answering}/{}", view.node, view.nodes.len());
    let states = [ProcessState::Home, ProcessState::Away, ProcessState::Moving, ProcessState::Frozen];
    for state in states {
        let count = view.processes.iter().filter(|process| process.state == state).count();
        // The rare ones are worth their place only when there are any.
        if count > 0 || matches!(state, ProcessState::Home | ProcessState::Away) {
            text.push_str(&format!("  {} {count}", state.word()));
        }
    }
    text
}
