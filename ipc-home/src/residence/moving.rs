//! The steps of one move, and how they are undone.

use migration::handoff::{Answer, Ask, Seat};
use transport::Epoch;

use super::{Action, Event, Move, Reason, Residence, State, Step};

impl Residence {
    pub(super) fn order(&mut self, to: Seat) -> Vec<Action> {
        if to == self.seat {
            return vec![Action::NotMoved(Reason::AlreadyThere)];
        }
        let next = self.promised.next();
        self.state = State::Moving(Move { to, next, step: Step::Recording });
        // One for the move, one for undoing it.
        vec![Action::Record(next.next())]
    }

    pub(super) fn moving(&mut self, event: Event, moving: Move) -> Vec<Action> {
        let Move { to, next, step } = moving;
        let (from, present) = (self.seat, self.epoch);
        match (step, event) {
            (Step::Recording, Event::Recorded) => {
                self.recorded = next.next();
                self.promised = next;
                self.ask(moving, Step::Preparing)
            }
            (Step::Recording, Event::NotRecorded) => self.settle(Action::NotMoved(Reason::NotRecorded)),
            (Step::Preparing, Event::Heard(seat, Answer::Prepared(epoch))) if (seat, epoch) == (to, next) => {
                self.ask(moving, Step::Copying)
            }
            (Step::Copying, Event::Heard(seat, Answer::Copied(epoch)))
                if (seat, epoch) == (from, present) =>
            {
                self.ask(moving, Step::Stopping)
            }
            (Step::Stopping, Event::Heard(seat, Answer::Stopped(epoch)))
                if (seat, epoch) == (from, present) =>
            {
                self.ask(moving, Step::Taking)
            }
            (Step::Taking, Event::Heard(seat, Answer::Taken(epoch, digest)))
                if (seat, epoch) == (from, present) =>
            {
                self.ask(moving, Step::Accepting(digest))
            }
            (Step::Accepting(expected), Event::Heard(seat, Answer::Accepted(epoch, digest)))
                if (seat, epoch, digest) == (to, next, expected) =>
            {
                // The commit.
                (self.seat, self.epoch) = (to, next);
                self.ask(moving, Step::Starting { from: Some(from), former: present })
            }
            (Step::Starting { from, former }, Event::Heard(seat, Answer::Runs(epoch)))
                if (seat, epoch) == (to, next) =>
            {
                let mut actions = self.settle(Action::Moved);
                // Before anything else is done for the family here.
                actions.splice(0..0, from.map(|from| Action::Tell(from, Ask::Discard(former))));
                actions
            }
            (_, Event::Heard(seat, Answer::Failed(ask))) if self.question(moving) == Some((seat, ask)) => {
                self.undo(moving, Reason::Failed(seat, ask))
            }
            (_, Event::TimeUp) => {
                let reason = self.question(moving).map_or(Reason::NotRecorded, |(_, ask)| Reason::Late(ask));
                self.undo(moving, reason)
            }
            // Late, or said twice.
            _ => Vec::new(),
        }
    }

    pub(super) fn gone(&mut self, seat: Seat, state: State) -> Vec<Action> {
        match state {
            State::Moving(moving) => match moving.step {
                Step::Starting { from, former } if from == Some(seat) => {
                    // Nobody is left to take the family back.
                    self.state =
                        State::Moving(Move { step: Step::Starting { from: None, former }, ..moving });
                    Vec::new()
                }
                Step::Starting { from: None, .. } if seat == self.seat => self.lose(Reason::Gone(seat)),
                Step::Starting { .. } if seat == self.seat => self.undo(moving, Reason::Gone(seat)),
                _ if seat == self.seat => {
                    let mut actions = self.lose(Reason::Gone(seat));
                    actions.push(Action::Tell(moving.to, Ask::Discard(moving.next)));
                    actions
                }
                _ if seat == moving.to => self.undo(moving, Reason::Gone(seat)),
                _ => Vec::new(),
            },
            State::Settled | State::Resuming { .. } if seat == self.seat => self.lose(Reason::Gone(seat)),
            State::Settled | State::Resuming { .. } | State::Lost => Vec::new(),
        }
    }

    fn ask(&mut self, moving: Move, step: Step) -> Vec<Action> {
        let moving = Move { step, ..moving };
        self.state = State::Moving(moving);
        self.question(moving).map(|(seat, ask)| Action::Tell(seat, ask)).into_iter().collect()
    }

    /// What is being waited for.
    fn question(&self, Move { to, next, step }: Move) -> Option<(Seat, Ask)> {
        Some(match step {
            Step::Recording => return None,
            Step::Preparing => (to, Ask::Prepare(next)),
            Step::Copying => (self.seat, Ask::Copy(self.epoch)),
            Step::Stopping => (self.seat, Ask::Stop(self.epoch)),
            Step::Taking => (self.seat, Ask::Take(self.epoch)),
            Step::Accepting(digest) => (to, Ask::Accept(next, digest)),
            Step::Starting { .. } => (to, Ask::Start(next)),
        })
    }

    /// The family goes on where it was, in an epoch of its own if it was asked for anything.
    fn undo(&mut self, moving: Move, reason: Reason) -> Vec<Action> {
        let Move { to, next, step } = moving;
        let dismissed = Action::Tell(to, Ask::Discard(next));
        match step {
            Step::Recording => self.settle(Action::NotMoved(reason)),
            Step::Preparing => {
                let mut actions = self.settle(Action::NotMoved(reason));
                actions.push(dismissed);
                actions
            }
            // A seat that copies would else go on with that.
            Step::Copying | Step::Stopping | Step::Taking | Step::Accepting(_) => {
                let (seat, former) = (self.seat, self.epoch);
                self.resume(seat, former, reason, dismissed)
            }
            // No call of the new epoch was executed: the first one would have ended this step.
            Step::Starting { from: Some(from), former } => self.resume(from, former, reason, dismissed),
            // There is no way back: it is asked again until it runs, or is gone.
            Step::Starting { from: None, .. } => vec![Action::Tell(to, Ask::Start(next))],
        }
    }

    fn resume(&mut self, seat: Seat, former: Epoch, reason: Reason, dismissed: Action) -> Vec<Action> {
        let epoch: Epoch = self.promised.next();
        assert!(epoch <= self.recorded, "epoch {epoch} is not recorded: {self:?}");
        self.promised = epoch;
        (self.seat, self.epoch) = (seat, epoch);
        self.state = State::Resuming { former, reason };
        vec![Action::Tell(seat, Ask::GoOn { former, epoch }), dismissed]
    }
}
