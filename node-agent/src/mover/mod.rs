//! One move as home's agent drives it: a state machine without clock or socket.
//!
//! ```text
//!                 Find          Prepare           Place             Move
//!   [new] ───────▶ Finding ────▶ Preparing ──────▶ Placing ────────▶ Moving ────▶ [over]
//!     │                              │ Refused        │ refused         │ Failed
//!     │ home          Recall         ▼                ▼                 ▼
//!     └──────────────────────▶    [over]           [over]            [over]
//! ```
//!
//! Nothing is frozen before `Moving`, so up to there any answer that stays out ends the move without a trace.
//! Afterwards home's warden alone knows the outcome: the mover only waits for its word.

use std::time::Duration;

use crate::api::Plan;
use crate::exit::{ExitCode, Failure};
use crate::warden::control::{Accept, FromWarden, MoveReport, Offer, ToWarden};

pub mod place;

pub use place::Refusal;

/// What is to be moved where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The pid at home.
    pub pid: u32,
    /// The home node.
    pub home: String,
    /// Where the body is.
    pub from: String,
    /// Where it shall go; equal to `home` for a recall.
    pub to: String,
    /// Only find out whether it would work.
    pub dry_run: bool,
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// The warden of the process can be asked.
    WardenFound,
    /// The warden says something.
    WardenSaid(FromWarden),
    /// The warden could not be started or reached, or its socket closed.
    WardenLost(String),
    /// The target's agent started a warden of its own.
    Placed(Accept),
    /// The target's agent answered a dry run, or will not take the body.
    Checked(Vec<Refusal>),
    /// Time has passed.
    Tick,
}

/// What is to be done outside.
#[derive(Clone, Debug)]
pub enum Action {
    /// Start the home warden, or find the one that already keeps the process.
    FindWarden,
    /// Say this to the home warden.
    Tell(ToWarden),
    /// Ask the agent of `node` for a warden.
    Place {
        /// The target.
        node: String,
        /// What it is to hold.
        offer: Box<Offer>,
    },
    /// Ask the agent of `node` whether it would take the body.
    Check {
        /// The target.
        node: String,
        /// What it would hold.
        offer: Box<Offer>,
    },
    /// Tell whoever waits.
    Progress {
        /// Pre-copy round, from 1; 0 before the first.
        round: u32,
        /// Bytes sent so far.
        bytes_sent: u64,
    },
    /// Tell whoever waits that it is over.
    Finish(Outcome),
}

/// How a move ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The body runs there.
    Moved(MoveReport),
    /// It could.
    Possible(Plan),
    /// The program goes on where it was.
    Failed(Failure),
}

/// One move from order to outcome.
#[derive(Debug)]
pub struct Mover {
    order: Order,
    state: State,
    deadline: Duration,
}

#[derive(Debug)]
enum State {
    /// The warden is being started.
    Finding,
    /// It looks at the process.
    Preparing,
    /// The target's agent looks at the offer.
    Placing { plan: Plan },
    /// The wardens do it between themselves.
    Moving,
    /// The outcome is told.
    Over,
}

impl Mover {
    /// Begins; times are since any fixed instant.
    #[must_use]
    pub fn begin(order: Order, now: Duration) -> (Mover, Vec<Action>) {
        let mover = Mover { order, state: State::Finding, deadline: now + PREPARE_MAX };
        (mover, vec![Action::FindWarden])
    }

    /// What it was told to do.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// True once the outcome was told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When to send a `Tick` if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Takes in what happened and says what to do; the only place where a move's state changes.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        if let Event::WardenLost(reason) = event {
            return self.on_warden_lost(&reason);
        }
        if matches!(event, Event::Tick) {
            return if now < self.deadline { Vec::new() } else { self.on_deadline() };
        }
        match (std::mem::replace(&mut self.state, State::Over), event) {
            (State::Over, _) => Vec::new(),
            (State::Finding, Event::WardenFound) if self.order.to == self.order.home => self.on_way_home(now),
            (State::Finding, Event::WardenFound) => {
                self.state = State::Preparing;
                vec![Action::Tell(ToWarden::Prepare)]
            }
            (State::Preparing, Event::WardenSaid(FromWarden::Offer(offer))) => self.on_offer(now, offer),
            (State::Preparing, Event::WardenSaid(FromWarden::Refused(reasons))) => {
                self.fail(ExitCode::Refused, reasons, &format!("homing why {}", self.order.pid))
            }
            (State::Placing { .. }, Event::Placed(accept)) => {
                self.state = State::Moving;
                self.deadline = now + SILENCE_MAX;
                vec![Action::Tell(ToWarden::Move { node: self.order.to.clone(), accept })]
            }
            (State::Placing { plan }, Event::Checked(refusals)) => self.on_checked(plan, &refusals),
            (State::Moving, Event::WardenSaid(said)) => self.on_moving(now, said),
            (state, Event::WardenSaid(FromWarden::Failed { reason, goes_on })) => {
                self.on_trouble(&state, &reason, goes_on)
            }
            // What comes late or twice belongs to a step that is over.
            (state, _) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    fn on_way_home(&mut self, now: Duration) -> Vec<Action> {
        if self.order.dry_run {
            let (from, to) = (self.order.from.clone(), self.order.to.clone());
            let plan = Plan { from, to, memory_bytes: None, processes: None, threads: None };
            return vec![Action::Finish(Outcome::Possible(plan))];
        }
        self.state = State::Moving;
        self.deadline = now + SILENCE_MAX;
        vec![Action::Tell(ToWarden::Recall)]
    }

    fn on_offer(&mut self, now: Duration, offer: Offer) -> Vec<Action> {
        let plan = Plan {
            from: self.order.from.clone(),
            to: self.order.to.clone(),
            memory_bytes: Some(offer.needs.memory_bytes),
            processes: Some(offer.needs.processes),
            threads: Some(offer.needs.threads),
        };
        self.state = State::Placing { plan };
        self.deadline = now + PLACE_MAX;
        let (node, offer) = (self.order.to.clone(), Box::new(offer));
        vec![if self.order.dry_run { Action::Check { node, offer } } else { Action::Place { node, offer } }]
    }

    fn on_checked(&mut self, plan: Plan, refusals: &[Refusal]) -> Vec<Action> {
        match refusals.first() {
            None if self.order.dry_run => vec![Action::Finish(Outcome::Possible(plan))],
            None => self.fail(ExitCode::Failed, vec!["the node answered without a warden".into()], ""),
            Some(first) => {
                let next = first.reason().fix.unwrap_or_default();
                let reasons =
                    refusals.iter().map(|refusal| format!("{}: {refusal}", self.order.to)).collect();
                self.fail(first.code(), reasons, &next)
            }
        }
    }

    fn on_moving(&mut self, now: Duration, said: FromWarden) -> Vec<Action> {
        match said {
            FromWarden::Moved(report) => vec![Action::Finish(Outcome::Moved(report))],
            FromWarden::Failed { reason, goes_on } => self.on_trouble(&State::Moving, &reason, goes_on),
            FromWarden::Progress { round, bytes } => {
                self.state = State::Moving;
                self.deadline = now + SILENCE_MAX;
                vec![Action::Progress { round, bytes_sent: bytes }]
            }
            FromWarden::Offer(_) | FromWarden::Refused(_) | FromWarden::Status(_) => {
                self.state = State::Moving;
                Vec::new()
            }
        }
    }

    fn on_trouble(&mut self, state: &State, reason: &str, goes_on: bool) -> Vec<Action> {
        let phase = match state {
            State::Finding | State::Preparing => "while looking at the process",
            State::Placing { .. } => "while waiting for the target",
            State::Moving | State::Over => "during the move",
        };
        let reason = format!("{phase}: {reason}");
        if !goes_on {
            return self.fail(ExitCode::Failed, vec![reason], "see what became of it: homing ps");
        }
        let reason = format!("{reason}; the program goes on at {}", self.order.from);
        self.fail(ExitCode::Failed, vec![reason], "try again, or ask `homing why`")
    }

    fn on_warden_lost(&mut self, reason: &str) -> Vec<Action> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => Vec::new(),
            State::Moving => {
                let reason = format!("its home warden ended during the move: {reason}");
                self.fail(ExitCode::Failed, vec![reason], "see where it is: homing ps")
            }
            _ => {
                let reason = format!("its home warden at {} is not there: {reason}", self.order.home);
                self.fail(ExitCode::Failed, vec![reason], "homing doctor")
            }
        }
    }

    fn on_deadline(&mut self) -> Vec<Action> {
        let home = &self.order.home;
        let (code, reason) = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Vec::new(),
            State::Finding | State::Preparing => {
                let limit = PREPARE_MAX.as_secs();
                (ExitCode::Failed, format!("its home warden at {home} gave no answer for {limit} s"))
            }
            State::Placing { .. } => {
                let limit = PLACE_MAX.as_secs();
                (ExitCode::Refused, format!("{} gave no answer for {limit} s", self.order.to))
            }
            State::Moving => {
                let limit = SILENCE_MAX.as_secs();
                (ExitCode::UnderWay, format!("no word of its home warden at {home} for {limit} s"))
            }
        };
        self.fail(code, vec![reason], "see where it is: homing ps")
    }

    fn fail(&self, code: ExitCode, why: Vec<String>, next: &str) -> Vec<Action> {
        let Order { pid, from, to, .. } = &self.order;
        let next = (!next.is_empty()).then(|| next.to_owned());
        let what = format!("cannot move {pid} from {from} to {to}");
        vec![Action::Finish(Outcome::Failed(Failure { code, what, why, next }))]
    }
}

/// Time for finding the warden and for its look at the process.
pub const PREPARE_MAX: Duration = Duration::from_secs(5);

/// Time for the target's answer, which includes the start of its warden.
pub const PLACE_MAX: Duration = Duration::from_secs(5);

/// Silence of the warden during a move after which nobody waits any longer; the move itself is not ended by it.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
