//! Frames on a terminal: only what changed is written, and every frame as one synchronized update.

use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::layout::Rect;

/// A terminal that knows what it shows.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    /// What the terminal shows; `None` when that is not known.
    shown: Option<Buffer>,
}

impl<W: Write> Screen<W> {
    /// A screen whose content is not known, so that the first frame is drawn in full.
    pub fn new(out: W) -> Screen<W> {
        Screen { out, shown: None }
    }

    /// Shows what `draw` puts into a buffer of this size and returns the bytes written: none at all if the terminal
    /// shows that already.
    ///
    /// A frame is composed in memory and written at once, so a panic or an error while drawing leaves no
    /// synchronized update open.
    ///
    /// # Errors
    ///
    /// When the terminal cannot be written to; the next frame is then drawn in full.
    pub fn show(&mut self, width: u16, height: u16, draw: impl FnOnce(&mut Buffer)) -> io::Result<usize> {
        let area = Rect::new(0, 0, width, height);
        let mut wanted = Buffer::empty(area);
        draw(&mut wanted);
        let known = self.shown.take().filter(|shown| shown.area == area);
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate)?;
        let mut backend = CrosstermBackend::new(&mut bytes);
        if known.is_none() {
            backend.clear_region(ClearType::All)?;
        }
        let before = known.as_ref().map_or_else(|| Buffer::empty(area), Clone::clone);
        let changes = before.diff(&wanted);
        if known.is_some() && changes.is_empty() {
            self.shown = known;
            return Ok(0);
        }
        backend.draw(changes.into_iter())?;
        queue!(bytes, EndSynchronizedUpdate)?;
        self.out.write_all(&bytes)?;
        self.out.flush()?;
        self.shown = Some(wanted);
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    fn write(text: &'static str) -> impl FnOnce(&mut Buffer) {
        move |buffer| {
            buffer.set_string(0, 0, text, Style::new());
        }
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let mut screen = Screen::new(Vec::new());
        assert!(screen.show(20, 3, write("hello")).unwrap() > 0);
        assert_eq!(screen.show(20, 3, write("hello")).unwrap(), 0);
        let small = screen.show(20, 3, write("hallo")).unwrap();
        assert!((1..60).contains(&small), "one cell took {small} bytes");
        assert!(screen.show(21, 3, write("hallo")).unwrap() > small, "a new size is drawn in full");
    }

    #[test]
    fn every_byte_is_inside_a_synchronized_update() {
        let mut screen = Screen::new(Vec::new());
        for text in ["one", "two", "two", "three"] {
            screen.show(20, 3, write(text)).unwrap();
        }
        let output = String::from_utf8(screen.out).unwrap();
        let frames: Vec<&str> = output.split_inclusive("\x1b[?2026l").collect();
        assert_eq!(frames.len(), 3);
        for frame in frames {
            assert!(frame.starts_with("\x1b[?2026h") && frame.ends_with("\x1b[?2026l"), "{frame:?}");
        }
    }

    /// Fails from the second write on.
    struct Breaking(u32);

    impl Write for Breaking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 == 2 { Err(io::Error::other("gone")) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_failed_write_the_next_frame_is_whole() {
        let mut screen = Screen::new(Breaking(0));
        let whole = screen.show(20, 3, write("one")).unwrap();
        screen.show(20, 3, write("two")).unwrap_err();
        assert_eq!(screen.show(20, 3, write("two")).unwrap(), whole);
    }
}
