//! Where a family is, and how that changes: the side of the handoff that decides.
//!
//! Home's record of an epoch lies on disk before any seat hears of it, so that no number is ever used twice; one record
//! covers all that one move may need. The commit itself is a change in here: whoever asks home, asks this.
//!
//! ```text
//!            Ordered        Recorded       Prepared      Copied       Stopped      Taken      Accepted
//! Settled ───────▶ Recording ─────▶ Preparing ────▶ Copying ───▶ Stopping ───▶ Taking ───▶ Accepting ─┐
//!    ▲                  │ nothing to undo │             │            │            │            │       │ commit
//!    │◀─────────────────┴─────────────────┴─────────────┘            └──────┬─────┴────────────┘       ▼
//!    │                            Runs, or a call                    new epoch for the present seat   Starting
//!    │◀───────────────────────────────────────────────────────────── Resuming ◀──────────────────────────┤
//!    │◀──────────────────────────────────────────────────────────────────────────── Runs, or a call ─────┘
//! ```
//! After the commit and before the family has done anything, it can still be taken back to where it came from; its
//! first call at the new seat ends that, as `Runs` does.

mod moving;

use migration::handoff::{Answer, Ask, Digest, Seat};
use transport::Epoch;

/// What happens to a residence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody wants the family there.
    Ordered(Seat),
    /// The record asked for is on disk.
    Recorded,
    /// It cannot be written.
    NotRecorded,
    /// A seat answers; home's own hands speak as [`Seat::Home`].
    Heard(Seat, Answer),
    /// The present step takes too long, or is not wanted any more.
    TimeUp,
    /// A seat's warden is no more, and its bodies with it.
    Gone(Seat),
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Write that every epoch up to this one may be in use, then say [`Event::Recorded`].
    Record(Epoch),
    /// Ask a seat. What was asked last is asked again until it is answered or overtaken.
    Tell(Seat, Ask),
    /// The order is carried out.
    Moved,
    /// The order cannot be carried out; the family goes on where it was.
    NotMoved(Reason),
    /// The family is no more: its job ends with [`Reason`].
    Lost(Reason),
}

/// Why something did not become of an order, or of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Another order is being carried out.
    Busy,
    /// It is there already.
    AlreadyThere,
    /// The epoch cannot be recorded.
    NotRecorded,
    /// This was asked in vain.
    Failed(Seat, Ask),
    /// This step took too long.
    Late(Ask),
    /// A seat's warden is no more.
    Gone(Seat),
    /// The family was lost before.
    Lost,
}

/// What home answers to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It counts.
    Execute,
    /// It comes from a body that does not count any more.
    Fence,
}

/// The state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Residence {
    seat: Seat,
    epoch: Epoch,
    /// The highest epoch that any seat has heard of.
    promised: Epoch,
    /// The highest epoch that the record covers.
    recorded: Epoch,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Settled,
    Moving(Move),
    /// A family that was to leave goes on where it is.
    Resuming {
        former: Epoch,
        reason: Reason,
    },
    Lost,
}

/// An order that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Move {
    to: Seat,
    next: Epoch,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Recording,
    Preparing,
    Copying,
    Stopping,
    Taking,
    Accepting(Digest),
    /// Committed. The seat that it came from keeps what it has until the family has begun.
    Starting {
        from: Option<Seat>,
        former: Epoch,
    },
}

impl Residence {
    /// Of a family at home; `recorded` is what the last record says, 0 if there is none.
    #[must_use]
    pub fn at_home(recorded: Epoch) -> Residence {
        Residence { seat: Seat::Home, epoch: recorded, promised: recorded, recorded, phase: Phase::Settled }
    }

    /// Where the family counts.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// The epoch that counts.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// No order is being carried out.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.phase == Phase::Settled
    }

    /// The family is no more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// The highest epoch that any seat has heard of.
    #[must_use]
    pub fn promised(&self) -> Epoch {
        self.promised
    }

    /// One event; what to do about it, in this order.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        match (event, self.phase) {
            (Event::Ordered(_), Phase::Lost) => vec![Action::NotMoved(Reason::Lost)],
            (Event::Ordered(to), Phase::Settled) => self.order(to),
            (Event::Ordered(_), _) => vec![Action::NotMoved(Reason::Busy)],
            (_, Phase::Lost) => Vec::new(),
            (Event::Gone(seat), phase) => self.gone(seat, phase),
            (_, Phase::Settled) => Vec::new(),
            (event, Phase::Moving(moving)) => self.moving(event, moving),
            (Event::Heard(seat, Answer::Runs(epoch)), Phase::Resuming { reason, .. })
                if seat == self.seat && epoch == self.epoch =>
            {
                self.settle(Action::NotMoved(reason))
            }
            (Event::TimeUp, Phase::Resuming { former, .. }) => {
                vec![Action::Tell(self.seat, Ask::GoOn { former, epoch: self.epoch })]
            }
            (_, Phase::Resuming { .. }) => Vec::new(),
        }
    }

    /// A call has come. The first one of an epoch tells as much as `Runs`: the actions come before its execution.
    ///
    /// A seat is one life of one warden, so whoever calls from the seat that counts is the body that counts, also in a
    /// call that it made before it was asked to leave in vain, in an earlier epoch. No seat knows a later one.
    pub fn called(&mut self, seat: Seat, epoch: Epoch) -> (Verdict, Vec<Action>) {
        if seat != self.seat || epoch > self.epoch || self.phase == Phase::Lost {
            return (Verdict::Fence, Vec::new());
        }
        let is_unsettled = matches!(
            self.phase,
            Phase::Resuming { .. } | Phase::Moving(Move { step: Step::Starting { .. }, .. })
        );
        let began = is_unsettled && epoch == self.epoch;
        let actions = if began { self.step(Event::Heard(seat, Answer::Runs(epoch))) } else { Vec::new() };
        (Verdict::Execute, actions)
    }

    fn settle(&mut self, last: Action) -> Vec<Action> {
        self.phase = Phase::Settled;
        vec![last]
    }

    fn lose(&mut self, reason: Reason) -> Vec<Action> {
        self.phase = Phase::Lost;
        vec![Action::Lost(reason)]
    }
}

#[cfg(test)]
mod tests;
