//! What the dashboard knows and how each event changes it: no terminal, no clock, no connection.

mod act;
mod cursor;
pub(crate) mod dialog;
mod filter;
mod sort;

use std::time::Duration;

use crate::app::cursor::Cursor;
use crate::app::dialog::Dialog;
use crate::app::filter::Filter;
use crate::app::sort::Sort;
use crate::event::{Event, Request};
use crate::model::{Node, Process, ProcessRef, VIEW_VERSION, View};
use crate::theme::Theme;

/// How long a message stays in the status line.
const NOTICE_TIME: Duration = Duration::from_secs(10);

/// Views shown per second at most, by choice of the user.
const RATES_HZ: [f32; 5] = [0.2, 0.5, 1.0, 2.0, 4.0];

/// Index of the rate to begin with: 2 Hz.
const RATE_AT_START: usize = 3;

/// The dashboard's whole state; only [`update`] changes it.
#[derive(Debug)]
pub struct App {
    pub(crate) theme: Theme,
    pub(crate) utc_offset_s: i32,
    pub(crate) view: Option<View>,
    /// The newest view while the picture is held.
    held_back: Option<View>,
    pub(crate) paused: bool,
    /// Why the agent does not answer.
    pub(crate) unreachable: Option<String>,
    pub(crate) pane: Pane,
    /// Which of flows and events was looked at last, where there is room for one.
    pub(crate) lower: Pane,
    pub(crate) zoomed: bool,
    pub(crate) sort: Sort,
    pub(crate) filter: Filter,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) notice: Option<Notice>,
    node: Cursor<String>,
    process: Cursor<ProcessRef>,
    /// Rows that flows and events are scrolled by; events count from the newest.
    pub(crate) flow_scroll: usize,
    pub(crate) event_scroll: usize,
    rate: usize,
    page_rows: usize,
    now: Duration,
}

/// A part of the screen that can have the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pane {
    Nodes,
    Processes,
    Flows,
    Events,
}

/// A message in the status line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) is_error: bool,
    until: Duration,
}

/// Changes the state by one event and returns what the caller is to do, if anything.
pub fn update(app: &mut App, event: Event) -> Option<Request> {
    match event {
        Event::Key(key) => app.key(key),
        Event::Resize { rows, .. } => {
            app.page_rows = usize::from(rows / 3).max(1);
            None
        }
        Event::View(view) => {
            app.receive(view);
            None
        }
        Event::Tick(now) => {
            app.now = now;
            app.notice.take_if(|notice| notice.until <= now);
            None
        }
        Event::Disconnected(reason) => {
            app.unreachable = Some(reason);
            None
        }
        Event::RequestDone(request, result) => {
            app.request_done(&request, result);
            None
        }
        Event::Stop => Some(Request::Quit),
    }
}

impl App {
    /// A dashboard that has seen nothing yet. Times are shown `utc_offset_s` seconds east of UTC.
    #[must_use]
    pub fn new(theme: Theme, utc_offset_s: i32) -> App {
        App {
            theme,
            utc_offset_s,
            view: None,
            held_back: None,
            paused: false,
            unreachable: None,
            pane: Pane::Processes,
            lower: Pane::Events,
            zoomed: false,
            sort: Sort::default(),
            filter: Filter::default(),
            dialog: None,
            notice: None,
            node: Cursor::default(),
            process: Cursor::default(),
            flow_scroll: 0,
            event_scroll: 0,
            rate: RATE_AT_START,
            page_rows: 8,
            now: Duration::ZERO,
        }
    }

    /// Views to show per second at most.
    pub(crate) fn rate_hz(&self) -> f32 {
        RATES_HZ[self.rate]
    }

    /// The processes that the filter admits, in the chosen order.
    pub(crate) fn processes(&self) -> Vec<&Process> {
        let all = self.view.iter().flat_map(|view| &view.processes);
        let mut processes: Vec<&Process> = all.filter(|process| self.filter.admits(process)).collect();
        self.sort.apply(&mut processes);
        processes
    }

    /// The index of the selected one in [`App::processes`].
    pub(crate) fn selected_process_index(&self) -> Option<usize> {
        self.process.index(&self.process_rows())
    }

    /// The selected process.
    pub(crate) fn selected_process(&self) -> Option<&Process> {
        self.processes().get(self.selected_process_index()?).copied()
    }

    /// The index of the selected node.
    pub(crate) fn selected_node_index(&self) -> Option<usize> {
        self.node.index(&self.node_rows())
    }

    /// The selected node.
    pub(crate) fn selected_node(&self) -> Option<&Node> {
        self.view.as_ref()?.nodes.get(self.selected_node_index()?)
    }

    fn process_rows(&self) -> Vec<ProcessRef> {
        self.processes().into_iter().map(Process::id).collect()
    }

    fn node_rows(&self) -> Vec<String> {
        self.view.iter().flat_map(|view| &view.nodes).map(|node| node.name.clone()).collect()
    }

    fn receive(&mut self, view: View) {
        if view.v != VIEW_VERSION {
            let theirs = view.v;
            self.unreachable = Some(format!(
                "it speaks version {theirs} of the view and this dashboard version {VIEW_VERSION}; \
                 use the same release on both sides"
            ));
            return;
        }
        self.unreachable = None;
        if self.paused {
            self.held_back = Some(view);
        } else {
            self.show(view);
        }
    }

    fn show(&mut self, view: View) {
        // Whoever reads old events keeps them in sight while new ones arrive below.
        let newest = self.view.as_ref().and_then(|old| old.events.last());
        if self.event_scroll > 0
            && let Some(before) = newest.and_then(|last| view.events.iter().rposition(|event| event == last))
        {
            self.event_scroll += view.events.len() - 1 - before;
        }
        self.event_scroll = self.event_scroll.min(view.events.len().saturating_sub(1));
        self.flow_scroll = self.flow_scroll.min(view.flows.len().saturating_sub(1));
        self.view = Some(view);
        self.process.settle(&self.process_rows());
        self.node.settle(&self.node_rows());
    }

    fn request_done(&mut self, request: &Request, result: Result<String, String>) {
        if let (Request::Why { process: asked }, Some(Dialog::Why { process, answer, .. })) =
            (request, self.dialog.as_mut())
            && asked == process
        {
            *answer = Some(result);
            return;
        }
        match result {
            Ok(text) => self.tell(text),
            Err(reason) => self.warn(format!("{request}: {reason}")),
        }
    }

    fn tell(&mut self, text: String) {
        self.notice = Some(Notice { text, is_error: false, until: self.now + NOTICE_TIME });
    }

    fn warn(&mut self, text: String) {
        self.notice = Some(Notice { text, is_error: true, until: self.now + NOTICE_TIME });
    }
}

impl Pane {
    fn next(self) -> Pane {
        match self {
            Pane::Nodes => Pane::Processes,
            Pane::Processes => Pane::Flows,
            Pane::Flows => Pane::Events,
            Pane::Events => Pane::Nodes,
        }
    }

    fn previous(self) -> Pane {
        self.next().next().next()
    }
}
