//! Plain tables and the words for quantities.

use std::time::Duration;

use time::{OffsetDateTime, UtcOffset};

/// A table with left- and right-aligned columns, as wide as its content.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

/// A column's title and alignment.
pub(super) type Column = (&'static str, Align);

/// On which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Table {
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row. Control characters become `?`: a program's name must not reach the terminal's ear.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| harmless(cell)).collect());
    }

    /// As text, the titles in bold if `colourful`.
    pub(super) fn render(&self, colourful: bool) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].chars().count());
            cells.chain([self.columns[index].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let title = self.line(&titles, &widths);
        let mut text = if colourful { format!("\x1b[1m{title}\x1b[0m\n") } else { format!("{title}\n") };
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded =
            self.columns.iter().zip(cells).zip(widths).map(|(((_, align), cell), &width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// Replaces what a terminal would obey.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `212 MiB`.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// A time of day where the clocks are `offset` from UTC.
pub(super) fn clock(time: OffsetDateTime, offset: UtcOffset) -> String {
    let (hour, minute, second) = time.to_offset(offset).to_hms();
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// `12 ms`, `1.9 s`, `2 m 03 s`, `1 h 05 m`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.subsec_millis() < 10 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        0 => format!("{} ms", time.as_millis()),
        1..=59 => format!("{:.1} s", time.as_secs_f64()),
        60..=3599 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_content() {
        let mut table = Table::new(&[("PID", Align::Right), ("COMMAND", Align::Left)]);
        table.row(vec!["7".into(), "ls".into()]);
        table.row(vec!["12345".into(), "evil\x1b[2J".into()]);
        assert_eq!(table.render(false), "  PID  COMMAND\n    7  ls\n12345  evil?[2J\n");
        assert!(table.render(true).starts_with("\x1b[1m  PID"));
    }

    #[test]
    fn quantities_have_units() {
        for (count, text) in
            [(0, "0 B"), (1536, "1.5 KiB"), (212 << 20, "212 MiB"), (u64::MAX, "16777216 TiB")]
        {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in
            [(0, "0.0 ms"), (12, "12 ms"), (1900, "1.9 s"), (123_000, "2 m 03 s"), (3_900_000, "1 h 05 m")]
        {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
