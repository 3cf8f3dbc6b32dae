//! The key table: one row per action. The keys, the help page and the hint line all derive from it.

use crate::app::Pane;
use crate::event::Key;

/// What a key means while no dialog is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    NextPane,
    PreviousPane,
    Focus(Pane),
    Back,
    Details,
    Move,
    Home,
    Why,
    Signal,
    Filter,
    Sort,
    Reverse,
    Pause,
    Faster,
    Slower,
    Theme,
    Help,
    Quit,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Any of these keys.
    pub(crate) keys: &'static [Key],
    /// Does this.
    pub(crate) action: Action,
    /// In the words of the help page.
    pub(crate) help: &'static str,
    /// In one word for the hint line; rows without one are found in the help only.
    pub(crate) hint: Option<&'static str>,
}

/// The action of a key, if it has one.
pub(crate) fn action(key: Key) -> Option<Action> {
    TABLE.iter().find(|binding| binding.keys.contains(&key)).map(|binding| binding.action)
}

/// The table, in the order of the help page.
pub(crate) const TABLE: &[Binding] = &[
    row(&[Key::Up, Key::Char('k')], Action::Up, "one row up", None),
    row(&[Key::Down, Key::Char('j')], Action::Down, "one row down", None),
    row(&[Key::PageUp], Action::PageUp, "one page up", None),
    row(&[Key::PageDown], Action::PageDown, "one page down", None),
    row(&[Key::Home, Key::Char('g')], Action::First, "first row", None),
    row(&[Key::End, Key::Char('G')], Action::Last, "last row", None),
    row(&[Key::Tab], Action::NextPane, "next pane", Some("pane")),
    row(&[Key::BackTab], Action::PreviousPane, "previous pane", None),
    row(&[Key::Char('1')], Action::Focus(Pane::Nodes), "nodes; again: nodes only", None),
    row(&[Key::Char('2')], Action::Focus(Pane::Processes), "processes; again: processes only", None),
    row(&[Key::Char('3')], Action::Focus(Pane::Flows), "flows; again: flows only", None),
    row(&[Key::Char('4')], Action::Focus(Pane::Events), "events; again: events only", None),
    row(&[Key::Esc], Action::Back, "back: whole screen, then without filter", None),
    row(&[Key::Enter], Action::Details, "details of the node or process", None),
    row(&[Key::Char('m')], Action::Move, "move the process to another node", Some("move")),
    row(&[Key::Char('h')], Action::Home, "bring the process home", Some("home")),
    row(&[Key::Char('w')], Action::Why, "why does it move, or not?", Some("why")),
    row(&[Key::Char('x')], Action::Signal, "send the process a signal (asks first)", Some("signal")),
    row(&[Key::Char('/')], Action::Filter, "filter: user=ana at=n2 state=away, or a word", Some("filter")),
    row(&[Key::Char('s')], Action::Sort, "sort by the next column", Some("sort")),
    row(&[Key::Char('r')], Action::Reverse, "sort the other way round", None),
    row(&[Key::Char(' ')], Action::Pause, "hold the picture, or let it run", Some("pause")),
    row(&[Key::Char('+')], Action::Faster, "refresh more often", None),
    row(&[Key::Char('-')], Action::Slower, "refresh less often", None),
    row(&[Key::Char('t')], Action::Theme, "next theme", None),
    row(&[Key::Char('?')], Action::Help, "this page", Some("help")),
    row(&[Key::Char('q'), Key::Interrupt], Action::Quit, "quit", Some("quit")),
];

const fn row(
    keys: &'static [Key],
    action: Action,
    help: &'static str,
    hint: Option<&'static str>,
) -> Binding {
    Binding { keys, action, help, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let all: Vec<Key> = TABLE.iter().flat_map(|binding| binding.keys).copied().collect();
        for (index, key) in all.iter().enumerate() {
            assert!(!all[..index].contains(key), "{key} stands in the table twice");
        }
    }
}
