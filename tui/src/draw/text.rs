//! The only way text gets into the picture: clipped to its place and made harmless; and how figures are written.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

/// Characters of one text that are looked at; no line of a terminal shows more.
const TEXT_CHARACTERS_MAX: usize = 1_000;

/// Writes text into the first row of `area`, with `…` where it does not fit, and returns the place to its right.
pub(super) fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) -> Rect {
    let row = area.intersection(buffer.area);
    if row.is_empty() {
        return row;
    }
    let text = harmless(text);
    let width = usize::from(row.width);
    let fits = columns(&text) <= width;
    let (mut end, _) = buffer.set_stringn(row.x, row.y, &text, if fits { width } else { width - 1 }, style);
    if !fits {
        (end, _) = buffer.set_stringn(end, row.y, "…", 1, style);
    }
    Rect { x: end, width: row.right().saturating_sub(end), height: row.height, y: row.y }
}

/// Writes text to the right end of the first row of `area`.
pub(super) fn put_right(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let used = u16::try_from(columns(&harmless(text))).unwrap_or(u16::MAX).min(area.width);
    put(buffer, Rect { x: area.right() - used, width: used, ..area }, text, style);
}

/// The columns that a text takes on a terminal.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text with everything replaced that could act on a terminal or reorder a line: control characters, both
/// sets of them, and invisible formatting characters.
pub(super) fn harmless(text: &str) -> String {
    let acts = |character: char| {
        character.is_control()
            || matches!(character,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}')
    };
    text.chars().take(TEXT_CHARACTERS_MAX).map(|c| if acts(c) { '?' } else { c }).collect()
}

/// The text in lines of at most `width` columns, broken at blanks; a longer word has a line of its own. Blanks at
/// the start of a paragraph indent its first line.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let paragraph = harmless(paragraph);
        let words = paragraph.trim_start_matches(' ');
        let mut line = " ".repeat(paragraph.len() - words.len());
        for (index, word) in words.split(' ').enumerate() {
            if index > 0 && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            } else if index > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// An amount of memory or traffic in at most four characters: `812`, `1.2K`, `690M`, `2.1G`.
pub(super) fn bytes(amount: u64) -> String {
    scaled(amount as f64, 1024.0, &["", "K", "M", "G", "T", "P", "E"])
}

/// A rate in at most four characters: `18`, `2.1k`, `91k`.
pub(super) fn count(amount: f32) -> String {
    scaled(f64::from(amount), 1000.0, &["", "k", "M", "G", "T"])
}

/// Bytes per second, as [`bytes`].
pub(super) fn bytes_rate(amount: f32) -> String {
    scaled(f64::from(amount), 1024.0, &["", "K", "M", "G", "T"])
}

/// A pause in microseconds: `850us`, `11ms`, `1.2s`.
pub(super) fn pause(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds}us"),
        1_000..10_000 => format!("{:.1}ms", microseconds as f64 / 1e3),
        10_000..1_000_000 => format!("{}ms", microseconds / 1_000),
        1_000_000.. => format!("{:.1}s", microseconds as f64 / 1e6),
    }
}

/// A span of time in milliseconds: `41s`, `2m03s`, `3h12m`.
pub(super) fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// The time of day, `HH:MM:SS`, at this many seconds east of UTC.
pub(super) fn clock(unix_ms: u64, utc_offset_s: i32) -> String {
    let second_of_day =
        (i64::try_from(unix_ms / 1_000).unwrap_or(0) + i64::from(utc_offset_s)).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60)
}

/// A share of 100 as a bar of `width` columns.
pub(super) fn bar(percent: f32, width: usize) -> String {
    let full = (percent.clamp(0.0, 100.0) / 100.0 * width as f32).round();
    (0..width).map(|column| if (column as f32) < full { '█' } else { '░' }).collect()
}

/// Shares of 100 as one row of columns, the newest at the right.
pub(super) fn spark(samples: &[f32], width: usize) -> String {
    let shown = &samples[samples.len().saturating_sub(width)..];
    let blank = std::iter::repeat_n(' ', width - shown.len());
    blank.chain(shown.iter().map(|&sample| eighths(sample / 100.0))).collect()
}

/// A column filled to this share of its height; the lowest is never empty, so that zero is visible as a sample.
pub(super) fn eighths(share: f32) -> char {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let limits = [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875];
    LEVELS[limits.iter().take_while(|&&limit| share > limit).count()]
}

fn scaled(amount: f64, step: f64, units: &[&str]) -> String {
    let mut value = if amount.is_finite() { amount.max(0.0) } else { 0.0 };
    let mut unit = 0;
    // What would be written as 1000 takes the next unit: four characters are all there is.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = if value < 9.95 && unit > 0 { 1 } else { 0 };
    format!("{value:.decimals$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_four_characters() {
        for (amount, expected) in [
            (0, "0"),
            (812, "812"),
            (1_023, "1.0K"),
            (10_189, "10K"),
            (690 << 20, "690M"),
            (1_023 << 20, "1.0G"),
            (2_254_857_830, "2.1G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(bytes(amount), expected);
        }
        for (amount, expected) in [
            (0.4, "0"),
            (18.0, "18"),
            (999.6, "1.0k"),
            (2_104.0, "2.1k"),
            (91_000.0, "91k"),
            (f32::NAN, "0"),
            (-3.0, "0"),
        ] {
            assert_eq!(count(amount), expected);
        }
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [pause(850), pause(1_250), pause(11_400), pause(1_200_000)],
            ["850us", "1.2ms", "11ms", "1.2s"]
        );
        assert_eq!(
            [age(41_000), age(123_000), age(11_520_000), age(90_000_000)],
            ["41s", "2m03s", "3h12m", "1d01h"]
        );
        assert_eq!(clock(1_000, -3_600), "23:00:01");
        assert_eq!(clock(86_399_000, 0), "23:59:59");
        assert_eq!(clock(u64::MAX, i32::MAX).len(), 8);
    }

    #[test]
    fn text_is_clipped_at_whole_characters() {
        for (text, width, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("x", 0, ""),
        ] {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
            put(&mut buffer, Rect::new(0, 0, width, 1), text, Style::new());
            let shown: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
            assert_eq!(shown.replace(' ', ""), expected, "{text} in {width}");
        }
    }

    #[test]
    fn what_acts_on_a_terminal_becomes_a_question_mark() {
        assert_eq!(harmless("a\x1b[2J\u{9b}1m\u{202e}b\r\n\t\u{200b}"), "a?[2J?1m?b????");
        assert_eq!(harmless("größe 日本 é"), "größe 日本 é");
    }

    #[test]
    fn lines_break_at_blanks() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one\n  two", 20), ["one", "  two"]);
        assert_eq!(wrapped("unbreakable x", 4), ["unbreakable", "x"]);
    }

    #[test]
    fn graphs_have_their_width() {
        assert_eq!(bar(0.0, 4), "░░░░");
        assert_eq!(bar(50.0, 4), "██░░");
        assert_eq!(bar(f32::NAN, 2), "░░");
        assert_eq!(bar(1_000.0, 2), "██");
        assert_eq!(spark(&[0.0, 50.0, 100.0], 4), " ▁▄█");
        assert_eq!(spark(&[0.0, 50.0, 100.0], 2), "▄█");
    }
}
