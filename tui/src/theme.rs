//! Colours by role. Plain text keeps the terminal's own colours, no background is ever set, and every state has a
//! word or a sign as well, so a theme only adds emphasis.

use ratatui::style::{Color, Modifier, Style};

use crate::model::{EventLevel, NodeState, ProcessState};

/// A choice of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// The terminal's own colours and the six plain ANSI ones.
    Default,
    /// No colour: bold and reverse only.
    Mono,
}

impl Theme {
    /// The theme for a user who set `NO_COLOR` to a non-empty value, or did not.
    #[must_use]
    pub fn from_environment() -> Theme {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Theme::Mono,
            _ => Theme::Default,
        }
    }

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Theme {
        match self {
            Theme::Default => Theme::Mono,
            Theme::Mono => Theme::Default,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Theme::Default => "default",
            Theme::Mono => "mono",
        }
    }

    /// Text that needs no emphasis.
    pub(crate) fn plain(self) -> Style {
        Style::new()
    }

    /// Column titles and names of fields.
    pub(crate) fn heading(self) -> Style {
        self.tinted(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The title of a pane.
    pub(crate) fn title(self, focused: bool) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if focused { bold.add_modifier(Modifier::REVERSED) } else { bold }
    }

    /// The frame of a pane.
    pub(crate) fn frame(self, focused: bool) -> Style {
        if focused { self.tinted(Color::Cyan) } else { self.plain() }
    }

    /// The selected row of the pane that has the keys.
    pub(crate) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What must not be overlooked.
    pub(crate) fn alarm(self) -> Style {
        self.tinted(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A graph.
    pub(crate) fn graph(self) -> Style {
        self.tinted(Color::Blue)
    }

    /// A key in the hint line.
    pub(crate) fn key(self) -> Style {
        self.tinted(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// A node's state.
    pub(crate) fn node(self, state: NodeState) -> Style {
        match state {
            NodeState::Ok => self.tinted(Color::Green),
            NodeState::Suspect => self.tinted(Color::Magenta).add_modifier(Modifier::BOLD),
            NodeState::Lost => self.alarm(),
        }
    }

    /// A process's state.
    pub(crate) fn process(self, state: ProcessState) -> Style {
        match state {
            ProcessState::Home => self.plain(),
            ProcessState::Away => self.tinted(Color::Cyan),
            ProcessState::Moving => self.tinted(Color::Magenta).add_modifier(Modifier::BOLD),
            ProcessState::Frozen => self.alarm(),
        }
    }

    /// An event.
    pub(crate) fn event(self, level: EventLevel) -> Style {
        match level {
            EventLevel::Info => self.plain(),
            EventLevel::Warning => self.tinted(Color::Magenta),
            EventLevel::Error => self.alarm(),
        }
    }

    fn tinted(self, color: Color) -> Style {
        match self {
            Theme::Default => Style::new().fg(color),
            Theme::Mono => Style::new(),
        }
    }
}
