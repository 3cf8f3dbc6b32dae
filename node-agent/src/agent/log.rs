//! What happened, here and at the other nodes, as far as an agent remembers it.

use std::collections::{BTreeMap, VecDeque};

use transport::NodeId;
use tui::model::{EventLevel, LoggedEvent, ProcessRef};

/// The last events, each with the number under which it came to this agent.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    all: VecDeque<(u64, LoggedEvent)>,
    own: VecDeque<(u64, LoggedEvent)>,
    last: u64,
    last_own: u64,
    /// Per node: the incarnation and the number of its last event that is in the log.
    seen: BTreeMap<NodeId, (u64, u64)>,
}

impl EventLog {
    /// Notes something that happened at this node.
    pub(super) fn note(&mut self, at_unix_ms: u64, level: EventLevel, about: About, text: impl Into<String>) {
        let About { process, node } = about;
        let event = LoggedEvent { at_unix_ms, level, process, node, text: text.into() };
        tracing::info!(target: "event", "{}", event.text);
        self.last_own += 1;
        push(&mut self.own, OWN_EVENTS_MAX, (self.last_own, event.clone()));
        self.append(event);
    }

    /// Takes in another node's latest events; those that came before are left out.
    pub(super) fn merge(&mut self, from: NodeId, incarnation: u64, events: &[(u64, LoggedEvent)]) {
        let (known, last) = self.seen.get(&from).copied().unwrap_or_default();
        let last = if incarnation == known { last } else { 0 };
        for (_, event) in events.iter().filter(|(number, _)| *number > last).take(OWN_EVENTS_MAX) {
            self.append(event.clone());
        }
        let newest = events.last().map_or(last, |(number, _)| (*number).max(last));
        self.seen.insert(from, (incarnation, newest));
    }

    /// The latest events of this node, for its report.
    #[must_use]
    pub(super) fn own(&self) -> Vec<(u64, LoggedEvent)> {
        self.own.iter().cloned().collect()
    }

    /// What came after number `after`, and the number to ask with the next time.
    #[must_use]
    pub(super) fn after(&self, after: u64) -> (Vec<LoggedEvent>, u64) {
        // A number from before a restart of the agent is in the future; then everything is new.
        let after = if after > self.last { 0 } else { after };
        let news = self.all.iter().filter(|(number, _)| *number > after);
        (news.map(|(_, event)| event.clone()).collect(), self.last)
    }

    /// The latest `count` events.
    #[must_use]
    pub(super) fn latest(&self, count: usize) -> Vec<LoggedEvent> {
        self.all.iter().skip(self.all.len().saturating_sub(count)).map(|(_, event)| event.clone()).collect()
    }

    fn append(&mut self, event: LoggedEvent) {
        self.last += 1;
        push(&mut self.all, EVENTS_MAX, (self.last, event));
    }
}

/// What an event is about.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    /// The process, if one.
    pub(super) process: Option<ProcessRef>,
    /// The node, if one.
    pub(super) node: Option<String>,
}

impl About {
    /// A node.
    #[must_use]
    pub(super) fn node(name: &str) -> About {
        About { process: None, node: Some(name.into()) }
    }

    /// A process, by its pid at home.
    #[must_use]
    pub(super) fn process(home: &str, pid: u32) -> About {
        About { process: Some(ProcessRef { home: home.into(), pid }), node: None }
    }
}

fn push<T>(queue: &mut VecDeque<T>, limit: usize, item: T) {
    if queue.len() == limit {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Events that an agent remembers.
const EVENTS_MAX: usize = 1000;

/// Events of its own that an agent repeats in each report.
const OWN_EVENTS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &EventLog, after: u64) -> Vec<String> {
        log.after(after).0.into_iter().map(|event| event.text).collect()
    }

    fn note(log: &mut EventLog, text: &str) {
        log.note(0, EventLevel::Info, About::default(), text);
    }

    #[test]
    fn each_event_is_told_once() {
        let mut log = EventLog::default();
        note(&mut log, "a");
        let (_, next) = log.after(0);
        assert_eq!(texts(&log, next), [""; 0]);
        note(&mut log, "b");
        assert_eq!(texts(&log, next), ["b"]);
        assert_eq!(texts(&log, 99), ["a", "b"], "an agent that restarted begins anew");
    }

    #[test]
    fn repeated_reports_bring_only_news() {
        let (mut here, mut there) = (EventLog::default(), EventLog::default());
        let node = NodeId([1; 32]);
        note(&mut there, "x");
        here.merge(node, 1, &there.own());
        here.merge(node, 1, &there.own());
        note(&mut there, "y");
        here.merge(node, 1, &there.own());
        assert_eq!(texts(&here, 0), ["x", "y"]);
        let mut restarted = EventLog::default();
        note(&mut restarted, "z");
        here.merge(node, 2, &restarted.own());
        assert_eq!(texts(&here, 0), ["x", "y", "z"]);
    }

    #[test]
    fn the_log_forgets_the_oldest() {
        let mut log = EventLog::default();
        (0..EVENTS_MAX + 5).for_each(|number| note(&mut log, &number.to_string()));
        assert_eq!(log.latest(usize::MAX).len(), EVENTS_MAX);
        assert_eq!(log.latest(1)[0].text, (EVENTS_MAX + 4).to_string());
        assert_eq!(log.own().len(), OWN_EVENTS_MAX);
    }
}
