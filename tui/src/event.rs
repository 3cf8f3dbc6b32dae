//! What the dashboard hears and what it asks for: two closed enums, so that every case has its line.

use std::fmt;
use std::time::Duration;

use crate::model::{ProcessRef, View};

/// Everything that can happen to the dashboard.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The terminal has a new size, in cells.
    Resize {
        /// Its width.
        columns: u16,
        /// Its height.
        rows: u16,
    },
    /// The agent sent a new view.
    View(View),
    /// Time went on: this much since the dashboard began.
    Tick(Duration),
    /// The agent does not answer, for this reason; the next view ends that.
    Disconnected(String),
    /// A request ended with this text for the user, or failed for this reason.
    RequestDone(Request, Result<String, String>),
    /// The caller wants the dashboard to end, as after SIGTERM.
    Stop,
}

/// A key, without the terminal's own encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// To the first row.
    Home,
    /// To the last row.
    End,
    /// The tabulator.
    Tab,
    /// The tabulator with shift.
    BackTab,
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Delete to the left.
    Backspace,
    /// Control and C.
    Interrupt,
}

/// The key as the help names it.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Char(' ') => f.write_str("Space"),
            Key::Char(character) => write!(f, "{character}"),
            Key::Interrupt => f.write_str("Ctrl-C"),
            Key::PageUp => f.write_str("PgUp"),
            Key::PageDown => f.write_str("PgDn"),
            Key::BackTab => f.write_str("Shift-Tab"),
            named => write!(f, "{named:?}"),
        }
    }
}

/// What the dashboard wants from its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Move the process to the node.
    Move {
        /// What moves.
        process: ProcessRef,
        /// Where to.
        node: String,
    },
    /// Bring the process home.
    Home {
        /// What comes home.
        process: ProcessRef,
    },
    /// Say where the process can go, and what holds it.
    Why {
        /// Which one.
        process: ProcessRef,
    },
    /// Send the process a signal.
    Signal {
        /// Which one.
        process: ProcessRef,
        /// Which signal.
        signal: Signal,
    },
    /// End the dashboard.
    Quit,
}

/// The request as a message to the user names it.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Move { process, node } => write!(f, "move {} to {node}", process.pid),
            Request::Home { process } => write!(f, "bring {} home to {}", process.pid, process.home),
            Request::Why { process } => write!(f, "why {}", process.pid),
            Request::Signal { process, signal } => write!(f, "send {signal} to {}", process.pid),
            Request::Quit => f.write_str("quit"),
        }
    }
}

/// The signals that the menu offers, with their numbers on x86_64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    /// Hang up.
    Hup = 1,
    /// Interrupt.
    Int = 2,
    /// Quit.
    Quit = 3,
    /// End at once; cannot be caught.
    Kill = 9,
    /// First one for the user.
    Usr1 = 10,
    /// Second one for the user.
    Usr2 = 12,
    /// End, please.
    Term = 15,
    /// Go on.
    Cont = 18,
    /// Stop; cannot be caught.
    Stop = 19,
}

impl Signal {
    /// All of them in the menu's order; the first one is preselected.
    pub const ALL: [Signal; 9] = [
        Signal::Term,
        Signal::Int,
        Signal::Hup,
        Signal::Quit,
        Signal::Kill,
        Signal::Stop,
        Signal::Cont,
        Signal::Usr1,
        Signal::Usr2,
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }

    /// What it does unless the program decides otherwise.
    #[must_use]
    pub fn effect(self) -> &'static str {
        match self {
            Signal::Term => "asks it to end",
            Signal::Int => "interrupts it, as Ctrl-C does",
            Signal::Hup => "tells it that its terminal is gone",
            Signal::Quit => "ends it with a core file",
            Signal::Kill => "ends it at once",
            Signal::Stop => "stops it",
            Signal::Cont => "lets it go on",
            Signal::Usr1 | Signal::Usr2 => "means what the program says",
        }
    }
}

/// The name without `SIG`, in capitals.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_starts_with_the_gentlest_signal_and_repeats_none() {
        assert_eq!(Signal::ALL[0], Signal::Term);
        let mut numbers: Vec<i32> = Signal::ALL.iter().map(|signal| signal.number()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 9, 10, 12, 15, 18, 19]);
        assert_eq!(Signal::Usr1.to_string(), "USR1");
    }
}
