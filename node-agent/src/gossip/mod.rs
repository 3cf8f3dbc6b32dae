//! What nodes tell each other of their load: a state machine without clock, socket or chance of its own.
//!
//! Once an interval each node sends the freshest entries that it knows to a few of its *active view*, a bounded number
//! of peers that it keeps connections to. Nobody gets a complete picture, and nobody needs one: a decision takes a
//! random sample of fresh entries, and how old those are does not depend on how many nodes there are.
//!
//! ```text
//!   Tick ──▶ own entry, age 0 ──┐                        ┌──▶ Send to 3 of the view, once an interval
//!   Received ──▶ newer ones ────┴──▶ table (256) ──▶ 32 freshest
//!   Urgent ──▶ own entry ───────────────────────────────────▶ Send at once
//! ```
//!
//! Entries carry ages and never timestamps: a node adds to the age that an entry had when it came the time that it
//! spent here, by its own monotonic clock, so no two clocks have to agree. A node counts incarnations of itself, and
//! an entry of a later incarnation beats every entry of an earlier one.

pub mod entry;
pub mod message;
pub mod table;

use std::time::Duration;

use crate::balance::{NodeNumber, Random};

pub use entry::{Flags, LoadEntry};
pub use message::{MESSAGE_BYTES, Message, UPDATE_BYTES_MAX};
pub use table::Table;

/// The numbers that gossip is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which cluster: messages of another one are not heard.
    pub cluster: u32,
    /// Time between two rounds, give or take a tenth.
    pub interval: Duration,
    /// Peers that a round is sent to.
    pub fan_out: usize,
    /// Peers that a node keeps connections to; all of them if there are no more than one above.
    pub view: usize,
    /// Time after which one of them is replaced.
    pub replace: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cluster: 0,
            interval: Duration::from_secs(1),
            fan_out: 3,
            view: 24,
            replace: Duration::from_secs(30),
        }
    }
}

/// What happened; `now` is the node's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Time has passed.
    Tick {
        /// The time.
        now: Duration,
        /// This node's load; its age and incarnation are set here.
        own: LoadEntry,
        /// All nodes that may be talked to; this one may be among them.
        members: &'a [NodeNumber],
    },
    /// The load has changed so that all should know at once.
    Urgent {
        /// The time.
        now: Duration,
        /// This node's load.
        own: LoadEntry,
    },
    /// A message came.
    Received {
        /// The time.
        now: Duration,
        /// The message.
        message: &'a Message,
    },
    /// A node answered a question about its load.
    Answered {
        /// The time.
        now: Duration,
        /// Its answer.
        entry: LoadEntry,
    },
    /// A node is no member any longer.
    Left(NodeNumber),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this as a datagram to each of these; losing it does no harm.
    Send {
        /// The peers.
        to: Vec<NodeNumber>,
        /// What they get.
        message: Message,
    },
    /// Keep a connection to this peer.
    Connect(NodeNumber),
    /// No connection to this peer is needed here.
    Disconnect(NodeNumber),
}

/// One node's part in the gossip.
#[derive(Clone, Debug)]
pub struct Gossip {
    settings: Settings,
    me: NodeNumber,
    incarnation: u32,
    number: u32,
    random: Random,
    table: Table,
    view: Vec<NodeNumber>,
    next_round: Option<Duration>,
    next_replacement: Duration,
    last_urgent: Option<Duration>,
}

impl Gossip {
    /// A node that knows nobody. Its incarnation is higher than at its last start.
    #[must_use]
    pub fn new(settings: Settings, me: NodeNumber, incarnation: u32, seed: u64) -> Gossip {
        Gossip {
            settings,
            me,
            incarnation,
            number: 0,
            random: Random::new(seed),
            table: Table::default(),
            view: Vec::new(),
            next_round: None,
            next_replacement: Duration::ZERO,
            last_urgent: None,
        }
    }

    /// What is known of other nodes.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The peers that this node keeps connections to.
    #[must_use]
    pub fn view(&self) -> &[NodeNumber] {
        &self.view
    }

    /// When the next round is due: the caller ticks then, or whenever it likes.
    #[must_use]
    pub fn next_round(&self) -> Option<Duration> {
        self.next_round
    }

    /// The one place where the state changes.
    pub fn step(&mut self, event: Event<'_>) -> Vec<Action> {
        match event {
            Event::Tick { now, own, members } => self.tick(now, own, members),
            Event::Urgent { now, own } => self.urgent(now, own),
            Event::Received { now, message } => {
                if message.cluster == self.settings.cluster && message.sender != self.me.0 {
                    let me = self.me;
                    let others = message.entries.iter().filter(|entry| entry.node != me.0);
                    self.table.merge(others, now);
                }
                Vec::new()
            }
            Event::Answered { now, entry } => {
                if entry.node != self.me.0 {
                    self.table.merge(std::iter::once(&entry), now);
                }
                Vec::new()
            }
            Event::Left(node) => {
                self.table.forget(node);
                let before = self.view.len();
                self.view.retain(|peer| *peer != node);
                if self.view.len() < before { vec![Action::Disconnect(node)] } else { Vec::new() }
            }
        }
    }

    fn tick(&mut self, now: Duration, own: LoadEntry, members: &[NodeNumber]) -> Vec<Action> {
        let mut actions = Vec::new();
        self.table.expire(now);
        self.mend_view(now, members, &mut actions);
        let due = *self.next_round.get_or_insert_with(|| {
            // The first round at any time of the interval: nodes that start together do not talk together.
            now + self.settings.interval.mul_f64(self.random.unit())
        });
        if now >= due {
            let jitter = 1.0 + JITTER * (2.0 * self.random.unit() - 1.0);
            self.next_round = Some(now + self.settings.interval.mul_f64(jitter));
            actions.extend(self.round(now, own));
        }
        actions
    }

    fn urgent(&mut self, now: Duration, own: LoadEntry) -> Vec<Action> {
        if self.last_urgent.is_some_and(|last| now.saturating_sub(last) < URGENT_SPACING) {
            return Vec::new();
        }
        self.last_urgent = Some(now);
        self.round(now, own).into_iter().collect()
    }

    fn round(&mut self, now: Duration, own: LoadEntry) -> Option<Action> {
        if self.view.is_empty() {
            return None;
        }
        let fan_out = self.settings.fan_out;
        self.random.draw(&mut self.view, fan_out);
        let to = self.view.iter().take(fan_out).copied().collect();
        self.number = self.number.wrapping_add(1);
        let mut entries = Vec::with_capacity(message::ENTRIES_MAX);
        entries.push(LoadEntry { node: self.me.0, incarnation: self.incarnation, age_10ms: 0, ..own });
        entries.extend(self.table.freshest(now, message::ENTRIES_MAX - 1));
        let message = Message {
            version: message::VERSION,
            cluster: self.settings.cluster,
            sender: self.me.0,
            incarnation: self.incarnation,
            number: self.number,
            flags: 0,
            entries,
            updates: Vec::new(),
        };
        Some(Action::Send { to, message })
    }

    /// Fills the view up, and replaces one peer from time to time, so that no part of the cluster stays by itself.
    fn mend_view(&mut self, now: Duration, members: &[NodeNumber], actions: &mut Vec<Action>) {
        let others = members.len().saturating_sub(usize::from(members.contains(&self.me)));
        // A view that is one short of everybody may as well hold everybody.
        let wanted = if others <= self.settings.view + 1 { others } else { self.settings.view };
        if now >= self.next_replacement {
            self.next_replacement = now + self.settings.replace;
            if self.view.len() == wanted && wanted < others {
                let gone = self.view.swap_remove(self.random.below(self.view.len()));
                actions.push(Action::Disconnect(gone));
            }
        }
        if self.view.len() >= wanted {
            return;
        }
        if wanted == others {
            for peer in members {
                if *peer != self.me && !self.view.contains(peer) {
                    self.view.push(*peer);
                    actions.push(Action::Connect(*peer));
                }
            }
            return;
        }
        for _ in 0..DRAWS_MAX {
            if self.view.len() == wanted {
                break;
            }
            let peer = members[self.random.below(members.len())];
            if peer != self.me && !self.view.contains(&peer) {
                self.view.push(peer);
                actions.push(Action::Connect(peer));
            }
        }
    }
}

/// Rounds come earlier or later by up to this part of the interval.
const JITTER: f64 = 0.1;

/// Least time between two urgent rounds.
const URGENT_SPACING: Duration = Duration::from_millis(100);

/// Draws for new peers in one step; what is missing then is drawn in the next one.
const DRAWS_MAX: usize = 256;

#[cfg(test)]
mod tests;
