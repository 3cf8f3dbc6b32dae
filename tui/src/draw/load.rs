//! The load of each node over the last minutes, a strip for each.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::app::App;
use crate::draw::text::{age, eighths, put};
use crate::draw::{Frame, nothing};
use crate::model::Node;

/// Columns for the node's name, with a blank on both sides.
const NAME_COLUMN: u16 = 11;

/// Draws the pane.
pub(super) fn pane(buffer: &mut Buffer, area: Rect, app: &App) {
    let nodes = app.view.as_ref().map_or(&[][..], |view| &view.nodes);
    let longest = nodes.iter().map(|node| node.load_history.len()).max().unwrap_or(0);
    let width = usize::from(area.width.saturating_sub(NAME_COLUMN + 3)).max(1);
    // A column stands for a whole number of seconds, as few as let the whole history in.
    let seconds_per_column = longest.div_ceil(width).max(1);
    let span = u64::try_from(seconds_per_column * width).unwrap_or(0) * 1_000;
    let title = format!("CPU load, last {}", age(span));
    let frame = Frame { title: &title, note: "", focused: false, boxed: true };
    let inner = frame.draw(buffer, area, app);
    let rows = u16::try_from(nodes.len()).unwrap_or(u16::MAX);
    if rows == 0 {
        nothing(buffer, inner, app, "no node is known");
        return;
    }
    let height = (inner.height / rows).clamp(1, 4);
    for (index, node) in (0..inner.height / height).zip(nodes) {
        let strip = Rect { y: inner.y + index * height, height, ..inner };
        draw_strip(buffer, strip, node, width, seconds_per_column, app);
    }
}

fn draw_strip(buffer: &mut Buffer, strip: Rect, node: &Node, width: usize, seconds: usize, app: &App) {
    let name = Rect { x: strip.x + 1, y: strip.bottom() - 1, width: NAME_COLUMN - 2, height: 1 };
    put(buffer, name.intersection(strip), &node.name, app.theme.plain());
    let columns = columns(&node.load_history, width, seconds);
    let graph = Rect { x: strip.x.saturating_add(NAME_COLUMN), ..strip }.intersection(strip);
    for (row, line) in graph.rows().enumerate() {
        // How much of a full column lies below this row.
        let below = f32::from(strip.height) - 1.0 - row as f32;
        let draw = |share: &Option<f32>| match share {
            Some(share) if share * f32::from(strip.height) > below || below == 0.0 => {
                eighths(share * f32::from(strip.height) - below)
            }
            _ => ' ',
        };
        put(buffer, line, &columns.iter().map(draw).collect::<String>(), app.theme.graph());
    }
}

/// The mean of each column's seconds as a share of 1, the newest at the right.
fn columns(history: &[f32], width: usize, seconds: usize) -> Vec<Option<f32>> {
    let newest_first = history.rchunks(seconds).take(width);
    let mean = |samples: &[f32]| samples.iter().sum::<f32>() / samples.len() as f32 / 100.0;
    let mut columns: Vec<Option<f32>> = newest_first.map(|samples| Some(mean(samples))).collect();
    columns.resize(width, None);
    columns.reverse();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_means_and_end_with_now() {
        assert_eq!(columns(&[0.0, 50.0, 100.0], 4, 1), [None, Some(0.0), Some(0.5), Some(1.0)]);
        assert_eq!(columns(&[10.0, 50.0, 100.0], 2, 2), [Some(0.1), Some(0.75)]);
        assert_eq!(columns(&[], 2, 1), [None, None]);
    }
}
