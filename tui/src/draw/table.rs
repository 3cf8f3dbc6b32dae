//! Tables whose less important columns go when the place is narrow.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::draw::text::{columns, harmless, put, put_right};
use crate::theme::Theme;

/// Columns between two columns.
const GAP: u16 = 1;

/// The sign of the selected row and a blank.
const MARKER: u16 = 2;

/// A blank before the frame.
const MARGIN: u16 = 1;

/// Columns of this rank or a higher one are extra.
const EXTRA_RANK: u8 = 7;

/// One column of a table.
pub(super) struct Column {
    title: &'static str,
    width: Width,
    right: bool,
    /// Columns of the highest rank go first; rank 0 stays.
    rank: u8,
}

/// How wide a column is.
#[derive(Clone, Copy)]
enum Width {
    /// Always so.
    Fixed(u16),
    /// As its longest cell needs, up to this.
    UpTo(u16),
    /// At least the first, and all that is left over; extra columns go before it gets less than the second.
    Rest(u16, u16),
}

/// One cell: its text and what distinguishes it.
pub(super) type Cell = (String, Style);

impl Column {
    /// Always `width` columns wide.
    pub(super) const fn fixed(title: &'static str, width: u16, rank: u8) -> Column {
        Column { title, width: Width::Fixed(width), right: false, rank }
    }

    /// As wide as its longest cell, up to `most` columns.
    pub(super) const fn up_to(title: &'static str, most: u16, rank: u8) -> Column {
        Column { title, width: Width::UpTo(most), right: false, rank }
    }

    /// All that is left over, at least `least` columns, and `wanted` as long as there are extra columns to drop
    /// for that; it always stays.
    pub(super) const fn rest(title: &'static str, least: u16, wanted: u16) -> Column {
        Column { title, width: Width::Rest(least, wanted), right: false, rank: 0 }
    }

    /// With its cells to the right, as figures are.
    pub(super) const fn right(mut self) -> Column {
        self.right = true;
        self
    }
}

/// Draws the titles and as many rows as there is place for, with the selected one always among them.
pub(super) fn table(
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    rows: &[Vec<Cell>],
    selected: Option<usize>,
    focused: bool,
    theme: Theme,
) {
    let widths = widths(columns, rows, area.width.saturating_sub(MARKER + MARGIN));
    let titles: Vec<Cell> = columns.iter().map(|column| (column.title.to_owned(), theme.heading())).collect();
    draw_row(buffer, area, columns, &widths, &titles);
    let body = Rect { y: area.y.saturating_add(1), height: area.height.saturating_sub(1), ..area };
    let first = first_row(rows.len(), usize::from(body.height), selected.unwrap_or(0));
    for ((line, row), index) in body.rows().zip(&rows[first..]).zip(first..) {
        draw_row(buffer, line, columns, &widths, row);
        if selected == Some(index) {
            put(buffer, line, ">", theme.plain());
            if focused {
                buffer.set_style(line, theme.selected());
            }
        }
    }
}

/// The first row to show so that the selected one stands in the middle, where the ends of the list allow it.
pub(super) fn first_row(rows: usize, height: usize, selected: usize) -> usize {
    selected.saturating_sub(height / 2).min(rows.saturating_sub(height))
}

fn draw_row(buffer: &mut Buffer, line: Rect, columns: &[Column], widths: &[u16], cells: &[Cell]) {
    let mut x = line.x.saturating_add(MARKER);
    for ((column, &width), (text, style)) in columns.iter().zip(widths).zip(cells) {
        if width == 0 {
            continue;
        }
        let place = Rect { x, width, ..line }.intersection(line);
        if column.right {
            put_right(buffer, place, text, *style);
        } else {
            put(buffer, place, text, *style);
        }
        x = x.saturating_add(width + GAP);
    }
}

/// The width of each column, 0 for one that is not shown.
fn widths(table: &[Column], rows: &[Vec<Cell>], available: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = (0..table.len()).map(|index| wanted(table, rows, index)).collect();
    drop_columns(table, &mut widths, available, EXTRA_RANK);
    let rest = table.iter().position(|column| matches!(column.width, Width::Rest(..)));
    if let Some((rest, Width::Rest(least, _))) = rest.map(|rest| (rest, table[rest].width)) {
        widths[rest] = least;
        drop_columns(table, &mut widths, available, 1);
        widths[rest] += available.saturating_sub(total(&widths));
    }
    drop_columns(table, &mut widths, available, 1);
    widths
}

/// Drops the columns of this rank and above, the highest one first, until the others fit.
fn drop_columns(table: &[Column], widths: &mut [u16], available: u16, from_rank: u8) {
    while total(widths) > available {
        let shown = (0..table.len()).filter(|&index| widths[index] > 0 && table[index].rank >= from_rank);
        let Some(least_important) = shown.max_by_key(|&index| table[index].rank) else { break };
        widths[least_important] = 0;
    }
}

fn wanted(table: &[Column], rows: &[Vec<Cell>], index: usize) -> u16 {
    match table[index].width {
        Width::Fixed(width) | Width::Rest(_, width) => width,
        Width::UpTo(most) => {
            let cells =
                rows.iter().filter_map(|row| row.get(index)).map(|(text, _)| columns(&harmless(text)));
            let longest = cells.max().unwrap_or(0).max(columns(table[index].title));
            u16::try_from(longest).unwrap_or(u16::MAX).min(most)
        }
    }
}

fn total(widths: &[u16]) -> u16 {
    let shown = widths.iter().filter(|&&width| width > 0);
    shown.fold(0, |sum: u16, &width| sum + width + GAP).saturating_sub(GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::fixed("PID", 5, 0).right(),
        Column::rest("COMMAND", 6, 10),
        Column::up_to("AT", 8, 2),
        Column::fixed("RSS", 4, 1),
        Column::fixed("EPOCH", 5, EXTRA_RANK),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let cells = ["71", "blender", "charlie", "2.1G", "3"];
        vec![cells.iter().map(|text| ((*text).to_owned(), Style::new())).collect()]
    }

    #[test]
    fn columns_go_by_rank_and_the_rest_is_used() {
        for (available, expected) in [
            (36, [5, 11, 7, 4, 5]),
            (35, [5, 10, 7, 4, 5]),
            (34, [5, 15, 7, 4, 0]),
            (25, [5, 6, 7, 4, 0]),
            (24, [5, 13, 0, 4, 0]),
            (17, [5, 6, 0, 4, 0]),
            (16, [5, 10, 0, 0, 0]),
            (3, [5, 6, 0, 0, 0]),
        ] {
            assert_eq!(widths(COLUMNS, &rows(), available), expected, "in {available}");
        }
    }

    #[test]
    fn the_selected_row_is_always_in_sight() {
        for rows in 0..30 {
            for height in 1..12 {
                for selected in 0..rows {
                    let first = first_row(rows, height, selected);
                    assert!((first..first + height).contains(&selected), "{selected} of {rows} in {height}");
                    assert!(first == 0 || first + height <= rows, "no empty lines while rows are hidden");
                }
            }
        }
    }
}
