//! What a guest warden does with a family, and when: the side of the handoff that obeys.

use transport::Epoch;

use super::{Answer, Ask, Digest};

/// How far the family is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was asked yet.
    Empty,
    /// There is room for it.
    Prepared(Epoch),
    /// It is complete and has never run here.
    Accepted(Epoch, Digest),
    /// It runs, and its calls are of this epoch.
    Runs(Epoch),
    /// It stands still.
    Stopped(Epoch),
    /// It stands still, and all of it is on its way.
    Taken(Epoch, Digest),
    /// It is not here any more, and never will be again.
    Ended,
}

/// What happens to a guest warden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Home asks for something.
    Asked(Ask),
    /// Its hands have done it. Of [`Ask::Take`] and [`Ask::Accept`], what came of it.
    Did(Ask, Option<Digest>),
    /// They could not.
    CouldNot(Ask),
    /// Home refuses the calls of this epoch: another one counts. (A home warden says so by [`Ask::Discard`], or by the end
    /// of its connection.)
    Fenced(Epoch),
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Its hands begin with this. [`Ask::GoOn`] puts an end to whatever they are at.
    Do(Ask),
    /// Home is answered.
    Say(Answer),
    /// The family here ends, and the warden with it.
    End,
}

/// The state machine of one guest warden.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keeper {
    state: State,
    /// What its hands are at.
    busy: Option<Ask>,
}

impl Default for Keeper {
    fn default() -> Keeper {
        Keeper { state: State::Empty, busy: None }
    }
}

impl Keeper {
    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The epoch of its calls; `None` unless the family runs.
    #[must_use]
    pub fn runs_in(&self) -> Option<Epoch> {
        match self.state {
            State::Runs(epoch) => Some(epoch),
            _ => None,
        }
    }

    /// The epoch of what is here; `None` before there is room for anything, and after its end.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.state.epoch()
    }

    /// Whether the family has run here, or does.
    #[must_use]
    pub fn has_run(&self) -> bool {
        matches!(self.state, State::Runs(_) | State::Stopped(_) | State::Taken(..))
    }

    /// One event; what to do about it, in this order.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Asked(ask) => self.asked(ask),
            Event::Did(ask, result) if self.busy == Some(ask) => {
                self.busy = None;
                self.did(ask, result)
            }
            Event::CouldNot(ask) if self.busy == Some(ask) => {
                self.busy = None;
                vec![Action::Say(Answer::Failed(ask))]
            }
            // Of something that was called off.
            Event::Did(..) | Event::CouldNot(_) => Vec::new(),
            Event::Fenced(epoch) if self.runs_in() == Some(epoch) => self.end(),
            Event::Fenced(_) => Vec::new(),
        }
    }

    fn asked(&mut self, ask: Ask) -> Vec<Action> {
        match (ask, self.state) {
            (Ask::Prepare(_), State::Empty) => self.begin(ask),
            (Ask::Prepare(asked), State::Prepared(epoch)) if asked == epoch => say(Answer::Prepared(epoch)),
            (Ask::Copy(asked), State::Runs(epoch)) if asked == epoch => self.begin(ask),
            (Ask::Stop(asked), State::Runs(epoch)) if asked == epoch => self.begin(ask),
            (Ask::Stop(asked), State::Stopped(epoch) | State::Taken(epoch, _)) if asked == epoch => {
                say(Answer::Stopped(epoch))
            }
            (Ask::Take(asked), State::Stopped(epoch)) if asked == epoch => self.begin(ask),
            (Ask::Take(asked), State::Taken(epoch, digest)) if asked == epoch => {
                say(Answer::Taken(epoch, digest))
            }
            (Ask::Accept(asked, _), State::Prepared(epoch)) if asked == epoch => self.begin(ask),
            (Ask::Accept(asked, _), State::Accepted(epoch, digest)) if asked == epoch => {
                say(Answer::Accepted(epoch, digest))
            }
            (Ask::Start(asked), State::Accepted(epoch, _)) if asked == epoch => self.run(ask, epoch),
            (Ask::Start(asked), State::Runs(epoch)) if asked == epoch => say(Answer::Runs(epoch)),
            // Of a stop that has not come yet, nothing is to be seen: it will find another epoch.
            (
                Ask::GoOn { former, epoch },
                State::Runs(present) | State::Stopped(present) | State::Taken(present, _),
            ) if former == present => self.run(ask, epoch),
            (Ask::GoOn { epoch, .. }, State::Runs(present)) if epoch == present => say(Answer::Runs(epoch)),
            (Ask::Discard(epoch), state) if state.epoch().is_none_or(|present| present <= epoch) => {
                self.end()
            }
            // Late, or of a life that is over.
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, ask: Ask) -> Vec<Action> {
        if self.busy == Some(ask) {
            return Vec::new();
        }
        self.busy = Some(ask);
        vec![Action::Do(ask)]
    }

    fn run(&mut self, ask: Ask, epoch: Epoch) -> Vec<Action> {
        self.busy = None;
        self.state = State::Runs(epoch);
        vec![Action::Do(ask), Action::Say(Answer::Runs(epoch))]
    }

    fn did(&mut self, ask: Ask, result: Option<Digest>) -> Vec<Action> {
        match (ask, result) {
            (Ask::Prepare(epoch), _) => {
                self.state = State::Prepared(epoch);
                say(Answer::Prepared(epoch))
            }
            (Ask::Copy(epoch), _) => say(Answer::Copied(epoch)),
            (Ask::Stop(epoch), _) => {
                self.state = State::Stopped(epoch);
                say(Answer::Stopped(epoch))
            }
            (Ask::Take(epoch), Some(digest)) => {
                self.state = State::Taken(epoch, digest);
                say(Answer::Taken(epoch, digest))
            }
            (Ask::Accept(epoch, expected), Some(digest)) if digest == expected => {
                self.state = State::Accepted(epoch, digest);
                say(Answer::Accepted(epoch, digest))
            }
            // It came to something else than was sent: it must not run.
            (Ask::Accept(..) | Ask::Take(_), _) => say(Answer::Failed(ask)),
            // These are done by the time they are begun.
            (Ask::Start(_) | Ask::GoOn { .. } | Ask::Discard(_), _) => Vec::new(),
        }
    }

    fn end(&mut self) -> Vec<Action> {
        if self.state == State::Ended {
            return Vec::new();
        }
        *self = Keeper { state: State::Ended, busy: None };
        vec![Action::End]
    }
}

impl State {
    fn epoch(self) -> Option<Epoch> {
        match self {
            State::Empty | State::Ended => None,
            State::Prepared(epoch)
            | State::Accepted(epoch, _)
            | State::Runs(epoch)
            | State::Stopped(epoch)
            | State::Taken(epoch, _) => Some(epoch),
        }
    }
}

fn say(answer: Answer) -> Vec<Action> {
    vec![Action::Say(answer)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const E1: Epoch = Epoch(1);
    const E2: Epoch = Epoch(2);
    const WHOLE: Digest = Digest(7);

    /// Asks, and lets the hands do at once what they are told.
    fn ask(keeper: &mut Keeper, ask: Ask) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut actions = keeper.step(Event::Asked(ask));
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    Action::Do(ask) => next.extend(keeper.step(Event::Did(ask, Some(WHOLE)))),
                    Action::Say(answer) => answers.push(answer),
                    Action::End => {}
                }
            }
            actions = next;
        }
        answers
    }

    fn running(epoch: Epoch) -> Keeper {
        let mut keeper = Keeper::default();
        for step in [Ask::Prepare(epoch), Ask::Accept(epoch, WHOLE), Ask::Start(epoch)] {
            ask(&mut keeper, step);
        }
        assert_eq!(keeper.runs_in(), Some(epoch));
        keeper
    }

    #[test]
    fn it_does_at_most_once_what_it_is_asked_twice() {
        let mut keeper = Keeper::default();
        assert_eq!(ask(&mut keeper, Ask::Prepare(E1)), [Answer::Prepared(E1)]);
        assert_eq!(keeper.step(Event::Asked(Ask::Prepare(E1))), [Action::Say(Answer::Prepared(E1))]);
        assert_eq!(ask(&mut keeper, Ask::Accept(E1, WHOLE)), [Answer::Accepted(E1, WHOLE)]);
        assert_eq!(ask(&mut keeper, Ask::Start(E1)), [Answer::Runs(E1)]);
        assert_eq!(keeper.step(Event::Asked(Ask::Start(E1))), [Action::Say(Answer::Runs(E1))]);
    }

    #[test]
    fn what_its_hands_are_at_is_not_begun_again() {
        let mut keeper = running(E1);
        assert_eq!(keeper.step(Event::Asked(Ask::Stop(E1))), [Action::Do(Ask::Stop(E1))]);
        assert_eq!(keeper.step(Event::Asked(Ask::Stop(E1))), []);
    }

    #[test]
    fn a_family_that_came_to_something_else_never_runs() {
        let mut keeper = Keeper::default();
        ask(&mut keeper, Ask::Prepare(E1));
        keeper.step(Event::Asked(Ask::Accept(E1, Digest(8))));
        let answers = keeper.step(Event::Did(Ask::Accept(E1, Digest(8)), Some(WHOLE)));
        assert_eq!(answers, [Action::Say(Answer::Failed(Ask::Accept(E1, Digest(8))))]);
        assert_eq!(ask(&mut keeper, Ask::Start(E1)), []);
        assert_eq!(keeper.runs_in(), None);
    }

    #[test]
    fn a_late_stop_finds_another_epoch() {
        let mut keeper = running(E1);
        assert_eq!(ask(&mut keeper, Ask::GoOn { former: E1, epoch: E2 }), [Answer::Runs(E2)]);
        assert_eq!(ask(&mut keeper, Ask::Stop(E1)), []);
        assert_eq!(keeper.runs_in(), Some(E2));
    }

    #[test]
    fn going_on_puts_an_end_to_a_stop_that_is_under_way() {
        let mut keeper = running(E1);
        keeper.step(Event::Asked(Ask::Stop(E1)));
        ask(&mut keeper, Ask::GoOn { former: E1, epoch: E2 });
        assert_eq!(keeper.step(Event::Did(Ask::Stop(E1), None)), []);
        assert_eq!(keeper.runs_in(), Some(E2));
    }

    #[test]
    fn a_discard_that_overtakes_everything_is_final() {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.step(Event::Asked(Ask::Discard(E1))), [Action::End]);
        assert_eq!(ask(&mut keeper, Ask::Prepare(E1)), []);
        assert_eq!(keeper.state(), State::Ended);
    }

    #[test]
    fn only_what_is_meant_is_ended() {
        let mut keeper = running(E2);
        assert_eq!(keeper.step(Event::Asked(Ask::Discard(E1))), []);
        assert_eq!(keeper.step(Event::Fenced(E1)), []);
        assert_eq!(keeper.step(Event::Fenced(E2)), [Action::End]);
    }
}
