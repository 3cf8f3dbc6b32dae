//! What each action does.

use crate::app::cursor::Step;
use crate::app::dialog::{Dialog, Outcome};
use crate::app::filter::Filter;
use crate::app::{App, Pane, RATES_HZ};
use crate::event::{Key, Request};
use crate::keys::{self, Action};
use crate::model::{NodeState, Process, ProcessRef, ProcessState};

impl App {
    /// Handles a key: the open dialog has it, or else the key table.
    pub(super) fn key(&mut self, key: Key) -> Option<Request> {
        let Some(dialog) = self.dialog.take() else { return self.act(keys::action(key)?) };
        match dialog.key(key, self.now) {
            Outcome::Open(dialog) => self.dialog = Some(dialog),
            Outcome::Closed => {}
            Outcome::Ask(request) => return Some(self.ask(request)),
            Outcome::Filter(text) => match Filter::parse(&text) {
                Ok(filter) => {
                    self.filter = filter;
                    self.process.settle(&self.process_rows());
                }
                Err(error) => self.warn(error.to_string()),
            },
        }
        None
    }

    fn act(&mut self, action: Action) -> Option<Request> {
        match action {
            Action::Up => self.step(Step::By(-1)),
            Action::Down => self.step(Step::By(1)),
            Action::PageUp => self.step(Step::By(-self.page())),
            Action::PageDown => self.step(Step::By(self.page())),
            Action::First => self.step(Step::First),
            Action::Last => self.step(Step::Last),
            Action::NextPane => self.focus(self.pane.next()),
            Action::PreviousPane => self.focus(self.pane.previous()),
            Action::Focus(pane) if pane == self.pane => self.zoomed = !self.zoomed,
            Action::Focus(pane) => self.focus(pane),
            Action::Back if self.zoomed => self.zoomed = false,
            Action::Back => self.filter = Filter::default(),
            Action::Details => self.dialog = Some(Dialog::Details { scroll: 0 }),
            Action::Move => self.pick_node(),
            Action::Home => return self.send_home(),
            Action::Why => return self.ask_why(),
            Action::Signal => {
                let process = self.target()?;
                self.dialog = Some(Dialog::PickSignal { process, selected: 0 });
            }
            Action::Filter => self.dialog = Some(Dialog::Filter { text: self.filter.text().to_owned() }),
            Action::Sort => self.sort.by = self.sort.by.next(),
            Action::Reverse => self.sort.reversed = !self.sort.reversed,
            Action::Pause => self.pause(),
            Action::Faster => self.rate = (self.rate + 1).min(RATES_HZ.len() - 1),
            Action::Slower => self.rate = self.rate.saturating_sub(1),
            Action::Theme => {
                self.theme = self.theme.next();
                self.tell(format!("theme {}", self.theme.name()));
            }
            Action::Help => self.dialog = Some(Dialog::Help { scroll: 0 }),
            Action::Quit => return Some(Request::Quit),
        }
        None
    }

    fn step(&mut self, step: Step) {
        match self.pane {
            Pane::Nodes => self.node.step(&self.node_rows(), step),
            Pane::Processes => self.process.step(&self.process_rows(), step),
            Pane::Flows => {
                let rows = self.view.as_ref().map_or(0, |view| view.flows.len());
                self.flow_scroll = scrolled(self.flow_scroll, step, rows);
            }
            Pane::Events => {
                let rows = self.view.as_ref().map_or(0, |view| view.events.len());
                self.event_scroll = scrolled(self.event_scroll, step, rows);
            }
        }
    }

    fn page(&self) -> isize {
        isize::try_from(self.page_rows).unwrap_or(isize::MAX)
    }

    fn focus(&mut self, pane: Pane) {
        self.pane = pane;
        if matches!(pane, Pane::Flows | Pane::Events) {
            self.lower = pane;
        }
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        if let Some(view) = self.held_back.take() {
            self.show(view);
        }
    }

    /// The process that an action is for; tells the user if there is none.
    fn target(&mut self) -> Option<ProcessRef> {
        let target = self.selected_process().map(Process::id);
        if target.is_none() {
            self.warn("no process is selected".to_owned());
        }
        target
    }

    fn pick_node(&mut self) {
        let Some(process) = self.target() else { return };
        let at = self.selected_process().map(|process| process.at.clone());
        let nodes: Vec<String> = self
            .view
            .iter()
            .flat_map(|view| &view.nodes)
            .filter(|node| node.state != NodeState::Lost && Some(&node.name) != at.as_ref())
            .map(|node| node.name.clone())
            .collect();
        if nodes.is_empty() {
            self.warn(format!("no other node answers, so {} stays where it is", process.pid));
        } else {
            self.dialog = Some(Dialog::PickNode { process, nodes, selected: 0 });
        }
    }

    fn send_home(&mut self) -> Option<Request> {
        let process = self.target()?;
        if self.selected_process().is_some_and(|selected| selected.state == ProcessState::Home) {
            self.tell(format!("{} is at home at {}", process.pid, process.home));
            return None;
        }
        Some(self.ask(Request::Home { process }))
    }

    fn ask_why(&mut self) -> Option<Request> {
        let process = self.target()?;
        self.dialog = Some(Dialog::Why { process: process.clone(), answer: None, scroll: 0 });
        Some(Request::Why { process })
    }

    fn ask(&mut self, request: Request) -> Request {
        self.tell(format!("asked: {request}"));
        request
    }
}

fn scrolled(scroll: usize, step: Step, rows: usize) -> usize {
    let last = rows.saturating_sub(1);
    match step {
        Step::By(distance) => scroll.saturating_add_signed(distance).min(last),
        Step::First => 0,
        Step::Last => last,
    }
}
