//! A node is emptied: for its owner, at once and with the guests throttled, or for a drain.
//!
//! ```text
//!   [open] ──begin──▶ [leaving] ──nobody left──▶ [empty]
//!                       │    ▲
//!             4 at a time    └── a move failed: tried again, home in the end
//! ```

use std::time::Duration;

use super::decision::Cause;
use super::load::{NodeLoad, NodeNumber};
use super::ties::{Distance, Ties};
use super::tunables::Tunables;

/// A body that has to leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leaving<'a> {
    /// The caller's number for it.
    pub number: u64,
    /// Processors it asks for.
    pub demand: f64,
    /// Its memory, in MiB.
    pub mem_mib: f64,
    /// Home and peers.
    pub ties: Ties<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Time has passed: these bodies are here, and these nodes are there.
    Tick {
        /// The bodies that have to leave and are not on their way.
        here: &'a [Leaving<'a>],
        /// The other nodes, homes among them.
        nodes: &'a [NodeLoad],
    },
    /// A body is gone.
    Gone(u64),
    /// A body could not be moved.
    Failed(u64),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The guests get the least share of the processors that there is, or stand still.
    Throttle,
    /// This body goes to that node.
    Move {
        /// The body.
        number: u64,
        /// Its target; its home if no other node has room.
        to: NodeNumber,
    },
    /// There is no place for this body, not even its home: it stands still until there is.
    Freeze(u64),
    /// No body is here.
    Empty,
}

/// One emptying of a node.
#[derive(Clone, Debug)]
pub struct Eviction {
    cause: Cause,
    node: NodeNumber,
    throttled: bool,
    on_their_way: Vec<u64>,
    /// Bodies whose move failed: they go straight home.
    homesick: Vec<u64>,
    frozen: Vec<u64>,
    empty: bool,
}

impl Eviction {
    /// Begins to empty `node`; the caller has closed its doors and says so to all.
    #[must_use]
    pub fn new(node: NodeNumber, cause: Cause) -> Eviction {
        let lists = (Vec::new(), Vec::new(), Vec::new());
        let (on_their_way, homesick, frozen) = lists;
        Eviction { cause, node, throttled: false, on_their_way, homesick, frozen, empty: false }
    }

    /// The bodies that are moved at the time.
    #[must_use]
    pub fn on_their_way(&self) -> &[u64] {
        &self.on_their_way
    }

    /// The one place where the state changes.
    pub fn step(&mut self, event: Event<'_>, distance: &impl Distance, tunables: &Tunables) -> Vec<Action> {
        match event {
            Event::Tick { here, nodes } => self.tick(here, nodes, distance, tunables),
            Event::Gone(number) => {
                self.on_their_way.retain(|one| *one != number);
                Vec::new()
            }
            Event::Failed(number) => {
                self.on_their_way.retain(|one| *one != number);
                if !self.homesick.contains(&number) && self.homesick.len() < BODIES_MAX {
                    self.homesick.push(number);
                }
                Vec::new()
            }
        }
    }

    fn tick(
        &mut self,
        here: &[Leaving<'_>],
        nodes: &[NodeLoad],
        distance: &impl Distance,
        tunables: &Tunables,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.cause == Cause::Owner && !self.throttled {
            self.throttled = true;
            actions.push(Action::Throttle);
        }
        let waiting = |body: &&Leaving<'_>| !self.on_their_way.contains(&body.number);
        let mut waiting: Vec<&Leaving<'_>> = here.iter().filter(waiting).collect();
        waiting.sort_by(|a, b| a.mem_mib.total_cmp(&b.mem_mib).then(a.number.cmp(&b.number)));
        // What is sent in this very step counts at its target.
        let mut nodes = nodes.to_vec();
        for body in waiting {
            if self.on_their_way.len() >= STREAMS {
                break;
            }
            if let Some(place) = self.target(body, &nodes, distance, tunables) {
                nodes[place] = nodes[place].with(body.demand, body.mem_mib);
                self.on_their_way.push(body.number);
                self.frozen.retain(|one| *one != body.number);
                actions.push(Action::Move { number: body.number, to: nodes[place].node });
            } else if self.cause == Cause::Owner
                && !self.frozen.contains(&body.number)
                && self.frozen.len() < BODIES_MAX
            {
                self.frozen.push(body.number);
                actions.push(Action::Freeze(body.number));
            }
        }
        let empty = here.is_empty() && self.on_their_way.is_empty();
        if empty && !self.empty {
            actions.push(Action::Empty);
        }
        self.empty = empty;
        actions
    }

    /// Where a body goes: where it fares best among those that have room, else home, which always takes its own.
    fn target(
        &self,
        body: &Leaving<'_>,
        nodes: &[NodeLoad],
        distance: &impl Distance,
        tunables: &Tunables,
    ) -> Option<usize> {
        let home = nodes.iter().position(|node| node.node == body.ties.home && node.node != self.node);
        if self.homesick.contains(&body.number) && home.is_some() {
            return home;
        }
        let seconds = |node: &NodeLoad| {
            let after = node.with(body.demand, body.mem_mib);
            after.stretch() * body.ties.slowdown_at(node.node, distance)
        };
        let fits = |node: &NodeLoad| {
            let share = node.with(body.demand, body.mem_mib).memory_share();
            node.node != self.node && node.doors.open() && share <= tunables.memory_hard
        };
        let best = nodes.iter().enumerate().filter(|(_, node)| fits(node));
        best.min_by(|a, b| seconds(a.1).total_cmp(&seconds(b.1))).map(|(place, _)| place).or(home)
    }
}

/// Bodies that leave at the same time.
pub const STREAMS: usize = 4;

/// Within what time after the flag the owner has the processors.
pub const THROTTLED_WITHIN: Duration = Duration::from_secs(1);

/// Bodies that are remembered, as many as a node holds.
const BODIES_MAX: usize = 1024;
