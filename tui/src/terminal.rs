//! The real terminal: taken over and, whatever happens, given back as it was.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    size,
};
use ratatui::crossterm::{event, execute};

use crate::event::{Event, Key};

/// Bytes of messages that are held back while the dashboard is on the screen; later ones are dropped.
const HELD_BACK_MAX: usize = 64 << 10;

/// The thread whose [`Terminal`] holds the terminal, if one does.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// Messages of panics in other threads, printed when the terminal is given back.
static HELD_BACK: Mutex<String> = Mutex::new(String::new());

/// The terminal of this process in raw mode, on its alternate screen; given back when dropped and on a panic.
#[derive(Debug)]
pub struct Terminal(());

/// What can go wrong with a terminal.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Standard output leads elsewhere.
    #[error(
        "the dashboard needs a terminal and standard output is none; `homing ps --json` prints the same as text"
    )]
    NotATerminal,
    /// It could not be put into raw mode.
    #[error("could not take over the terminal; is it a full one? (TERM is {term:?})")]
    Enter {
        /// The value of `TERM`.
        term: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Keys could not be read.
    #[error("could not read keys from the terminal; is it still there?")]
    Read(#[source] io::Error),
    /// A frame could not be written.
    #[error("could not draw on the terminal; is it still there?")]
    Draw(#[source] io::Error),
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    ///
    /// [`TerminalError::NotATerminal`] and [`TerminalError::Enter`]; nothing is changed then.
    pub fn enter() -> Result<Terminal, TerminalError> {
        if !io::stdout().is_terminal() {
            return Err(TerminalError::NotATerminal);
        }
        restore_on_panic();
        *lock(&OWNER) = Some(thread::current().id());
        // From here on the guard puts back whatever was done.
        let terminal = Terminal(());
        let entered = enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide));
        entered.map_err(|source| TerminalError::Enter {
            term: std::env::var("TERM").unwrap_or_default(),
            source,
        })?;
        Ok(terminal)
    }

    /// Its present size in columns and rows.
    pub(crate) fn size(&self) -> Result<(u16, u16), TerminalError> {
        size().map_err(TerminalError::Draw)
    }

    /// Where frames are written.
    pub(crate) fn output(&self) -> impl Write + use<> {
        io::stdout()
    }

    /// The next key or resize within this time.
    pub(crate) fn next_event(&self, within: Duration) -> Result<Option<Event>, TerminalError> {
        if !event::poll(within).map_err(TerminalError::Read)? {
            return Ok(None);
        }
        Ok(translated(event::read().map_err(TerminalError::Read)?))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was, if a [`Terminal`] holds it: for a caller that ends without unwinding, as
/// after SIGTERM. A second call does nothing.
pub fn restore() {
    if lock(&OWNER).take().is_some() {
        // The terminal may be gone; there is nobody to tell then.
        let _ = execute!(io::stdout(), EndSynchronizedUpdate, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stderr().write_all(std::mem::take(&mut *lock(&HELD_BACK)).as_bytes());
    }
}

/// The message of a panic must appear on the ordinary screen: the terminal is restored before it if the dashboard's
/// own thread panics, and the message waits until the dashboard ends if another one does.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print_message = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let owner = *lock(&OWNER);
            if owner.is_some_and(|owner| owner != thread::current().id()) {
                let mut held_back = lock(&HELD_BACK);
                if held_back.len() < HELD_BACK_MAX {
                    held_back.push_str(&format!("{panic}\n"));
                }
                return;
            }
            restore();
            print_message(panic);
        }));
    });
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn translated(event: event::Event) -> Option<Event> {
    match event {
        event::Event::Resize(columns, rows) => Some(Event::Resize { columns, rows }),
        event::Event::Key(key) if key.kind != event::KeyEventKind::Release => {
            translated_key(key).map(Event::Key)
        }
        _ => None,
    }
}

fn translated_key(key: event::KeyEvent) -> Option<Key> {
    use event::{KeyCode, KeyModifiers};
    let key = match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char(_) if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            return None;
        }
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    };
    Some(key)
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;

    #[test]
    fn keys_with_control_are_not_taken_for_plain_ones() {
        for (code, modifiers, expected) in [
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Interrupt)),
            (KeyCode::Char('x'), KeyModifiers::CONTROL, None),
            (KeyCode::Char('x'), KeyModifiers::ALT, None),
            (KeyCode::Char('G'), KeyModifiers::SHIFT, Some(Key::Char('G'))),
            (KeyCode::BackTab, KeyModifiers::SHIFT, Some(Key::BackTab)),
            (KeyCode::F(1), KeyModifiers::NONE, None),
        ] {
            assert_eq!(translated_key(KeyEvent::new(code, modifiers)), expected, "{code:?} {modifiers:?}");
        }
    }

    #[test]
    fn restoring_what_was_never_taken_does_nothing() {
        restore();
        assert!(lock(&OWNER).is_none());
    }
}
