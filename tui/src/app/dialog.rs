//! The dialogs: each takes the keys while it is open. A dialog that can do harm ignores keys that were typed
//! before it could be read, and its first choice does nothing.

use std::time::Duration;

use crate::event::{Key, Request, Signal};
use crate::model::ProcessRef;

/// Keys this soon after a dialog opened were meant for what was there before.
pub(crate) const TYPE_AHEAD: Duration = Duration::from_millis(300);

/// Characters that a filter has at most.
const FILTER_CHARACTERS_MAX: usize = 200;

/// Rows that a page key scrolls a text by.
const SCROLL_PAGE: usize = 10;

/// The dialog that is open.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dialog {
    /// The key table.
    Help { scroll: usize },
    /// All that is known of the selected row.
    Details { scroll: usize },
    /// Where to move the process.
    PickNode { process: ProcessRef, nodes: Vec<String>, selected: usize },
    /// Which signal to send.
    PickSignal { process: ProcessRef, selected: usize },
    /// Whether to do it, no by default.
    Confirm { request: Request, yes: bool, opened: Duration },
    /// The filter being typed.
    Filter { text: String },
    /// What the agent says of the process; `None` until it has answered.
    Why { process: ProcessRef, answer: Option<Result<String, String>>, scroll: usize },
}

/// What a key did to a dialog.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The dialog is open, perhaps as another one.
    Open(Dialog),
    /// It is closed without effect.
    Closed,
    /// It is closed and this is to be done.
    Ask(Request),
    /// It is closed and processes are to be filtered so.
    Filter(String),
}

impl Dialog {
    /// Handles a key; `now` is the time since the dashboard began.
    pub(crate) fn key(self, key: Key, now: Duration) -> Outcome {
        if matches!(key, Key::Esc | Key::Interrupt) {
            return Outcome::Closed;
        }
        match self {
            Dialog::Help { scroll } => text_key(key, scroll, |scroll| Dialog::Help { scroll }),
            Dialog::Details { scroll } => text_key(key, scroll, |scroll| Dialog::Details { scroll }),
            Dialog::Why { process, answer, scroll } => {
                text_key(key, scroll, |scroll| Dialog::Why { process, answer, scroll })
            }
            Dialog::PickNode { process, nodes, selected } => pick_node_key(key, process, nodes, selected),
            Dialog::PickSignal { process, selected } => pick_signal_key(key, process, selected, now),
            Dialog::Confirm { request, yes, opened } => confirm_key(key, request, yes, opened, now),
            Dialog::Filter { text } => filter_key(key, text),
        }
    }
}

/// The letter that picks a row directly, if there are that few.
pub(crate) fn letter(index: usize) -> Option<char> {
    ('a'..='z').filter(|letter| !matches!(letter, 'j' | 'k' | 'q')).nth(index)
}

fn text_key(key: Key, scroll: usize, reopen: impl FnOnce(usize) -> Dialog) -> Outcome {
    let scroll = match key {
        Key::Up | Key::Char('k') => scroll.saturating_sub(1),
        Key::Down | Key::Char('j') => scroll.saturating_add(1),
        Key::PageUp => scroll.saturating_sub(SCROLL_PAGE),
        Key::PageDown | Key::Char(' ') => scroll.saturating_add(SCROLL_PAGE),
        Key::Home | Key::Char('g') => 0,
        Key::Enter | Key::Char('q' | '?' | 'w') => return Outcome::Closed,
        _ => scroll,
    };
    Outcome::Open(reopen(scroll))
}

fn pick_node_key(key: Key, process: ProcessRef, nodes: Vec<String>, selected: usize) -> Outcome {
    let selected = match key {
        Key::Enter => {
            return match nodes.into_iter().nth(selected) {
                Some(node) => Outcome::Ask(Request::Move { process, node }),
                None => Outcome::Closed,
            };
        }
        Key::Char('q') => return Outcome::Closed,
        key => stepped(key, selected, nodes.len()),
    };
    Outcome::Open(Dialog::PickNode { process, nodes, selected })
}

fn pick_signal_key(key: Key, process: ProcessRef, selected: usize, now: Duration) -> Outcome {
    let selected = match key {
        Key::Enter => {
            let Some(&signal) = Signal::ALL.get(selected) else { return Outcome::Closed };
            let request = Request::Signal { process, signal };
            return Outcome::Open(Dialog::Confirm { request, yes: false, opened: now });
        }
        Key::Char('q') => return Outcome::Closed,
        key => stepped(key, selected, Signal::ALL.len()),
    };
    Outcome::Open(Dialog::PickSignal { process, selected })
}

fn confirm_key(key: Key, request: Request, yes: bool, opened: Duration, now: Duration) -> Outcome {
    if now.saturating_sub(opened) < TYPE_AHEAD {
        return Outcome::Open(Dialog::Confirm { request, yes, opened });
    }
    match key {
        Key::Char('y') => Outcome::Ask(request),
        Key::Enter if yes => Outcome::Ask(request),
        Key::Enter | Key::Char('n' | 'q') => Outcome::Closed,
        Key::Tab | Key::BackTab | Key::Up | Key::Down => {
            Outcome::Open(Dialog::Confirm { request, yes: !yes, opened })
        }
        _ => Outcome::Open(Dialog::Confirm { request, yes, opened }),
    }
}

fn filter_key(key: Key, mut text: String) -> Outcome {
    match key {
        Key::Enter => return Outcome::Filter(text),
        Key::Backspace => {
            text.pop();
        }
        Key::Char(character) if text.chars().count() < FILTER_CHARACTERS_MAX => text.push(character),
        _ => {}
    }
    Outcome::Open(Dialog::Filter { text })
}

/// The selected row of a menu after a key: arrows step, letters pick.
fn stepped(key: Key, selected: usize, rows: usize) -> usize {
    let last = rows.saturating_sub(1);
    match key {
        Key::Up | Key::Char('k') | Key::BackTab => selected.saturating_sub(1),
        Key::Down | Key::Char('j') | Key::Tab => (selected + 1).min(last),
        Key::Home | Key::PageUp => 0,
        Key::End | Key::PageDown => last,
        Key::Char(character) => (0..rows).find(|&row| letter(row) == Some(character)).unwrap_or(selected),
        _ => selected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> ProcessRef {
        ProcessRef { home: "n1".into(), pid: 7 }
    }

    fn kill() -> Request {
        Request::Signal { process: process(), signal: Signal::Kill }
    }

    #[test]
    fn a_confirmation_says_no_unless_told_and_ignores_keys_typed_ahead() {
        let late = TYPE_AHEAD;
        let early = TYPE_AHEAD - Duration::from_millis(1);
        let open = |yes| Dialog::Confirm { request: kill(), yes, opened: Duration::ZERO };
        for (key, yes, now, expected) in [
            (Key::Enter, false, late, Outcome::Closed),
            (Key::Enter, true, late, Outcome::Ask(kill())),
            (Key::Char('y'), false, late, Outcome::Ask(kill())),
            (Key::Char('n'), true, late, Outcome::Closed),
            (Key::Esc, true, late, Outcome::Closed),
            (Key::Tab, false, late, Outcome::Open(open(true))),
            (Key::Char('y'), false, early, Outcome::Open(open(false))),
            (Key::Enter, true, early, Outcome::Open(open(true))),
            (Key::Esc, true, early, Outcome::Closed),
        ] {
            assert_eq!(open(yes).key(key, now), expected, "{key} at {now:?}, yes {yes}");
        }
    }

    #[test]
    fn letters_pick_a_node_and_enter_moves() {
        let dialog =
            Dialog::PickNode { process: process(), nodes: vec!["n2".into(), "n3".into()], selected: 0 };
        let Outcome::Open(dialog) = dialog.key(Key::Char('b'), Duration::ZERO) else {
            panic!("a letter only selects")
        };
        let expected = Request::Move { process: process(), node: "n3".into() };
        assert_eq!(dialog.key(Key::Enter, Duration::ZERO), Outcome::Ask(expected));
    }

    #[test]
    fn a_signal_is_asked_for_before_it_is_sent() {
        let dialog = Dialog::PickSignal { process: process(), selected: 0 };
        let outcome = dialog.key(Key::Enter, Duration::from_secs(5));
        let request = Request::Signal { process: process(), signal: Signal::Term };
        let expected = Dialog::Confirm { request, yes: false, opened: Duration::from_secs(5) };
        assert_eq!(outcome, Outcome::Open(expected));
    }

    #[test]
    fn a_filter_is_typed_within_its_limit() {
        let mut dialog = Dialog::Filter { text: String::new() };
        for _ in 0..FILTER_CHARACTERS_MAX + 5 {
            let Outcome::Open(next) = dialog.key(Key::Char('ä'), Duration::ZERO) else {
                panic!("typing keeps it open")
            };
            dialog = next;
        }
        let Outcome::Filter(text) = dialog.key(Key::Enter, Duration::ZERO) else { panic!("enter filters") };
        assert_eq!(text.chars().count(), FILTER_CHARACTERS_MAX);
    }
}
