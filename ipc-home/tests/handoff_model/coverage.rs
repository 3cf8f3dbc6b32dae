//! Which events have found the machines in which state.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ipc_home::residence::{Event, Phase, Verdict};
use migration::handoff::{self, Answer, Ask, Seat, State};

/// A state and an event, by name.
pub(crate) type Pair = (&'static str, &'static str);

/// What home hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    Event(Event),
    Call(Verdict),
}

thread_local! {
    static SEEN: RefCell<(BTreeSet<Pair>, BTreeSet<Pair>)> = RefCell::default();
}

/// What this thread's searches have met since it was asked last: of home, and of the guests.
pub(crate) fn seen() -> (BTreeSet<Pair>, BTreeSet<Pair>) {
    SEEN.take()
}

pub(crate) fn decided(phase: Phase, heard: Heard) {
    SEEN.with_borrow_mut(|(home, _)| home.insert((phase_name(phase), heard_name(heard))));
}

pub(crate) fn kept(state: State, event: handoff::Event) {
    SEEN.with_borrow_mut(|(_, guests)| guests.insert((state_name(state), event_name(event))));
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Settled => "Settled",
        Phase::Recording => "Recording",
        Phase::Preparing => "Preparing",
        Phase::Copying => "Copying",
        Phase::Stopping => "Stopping",
        Phase::Taking => "Taking",
        Phase::Accepting => "Accepting",
        Phase::Starting => "Starting",
        Phase::Bound => "Bound",
        Phase::Resuming => "Resuming",
        Phase::Lost => "Lost",
    }
}

pub(crate) const PHASES: [&str; 11] = [
    "Settled",
    "Recording",
    "Preparing",
    "Copying",
    "Stopping",
    "Taking",
    "Accepting",
    "Starting",
    "Bound",
    "Resuming",
    "Lost",
];

fn heard_name(heard: Heard) -> &'static str {
    match heard {
        Heard::Event(Event::Ordered(Seat::Home)) => "order home",
        Heard::Event(Event::Ordered(Seat::Guest(_))) => "order away",
        Heard::Event(Event::Recorded) => "recorded",
        Heard::Event(Event::NotRecorded) => "not recorded",
        Heard::Event(Event::TimeUp) => "time up",
        Heard::Event(Event::Gone(_)) => "gone",
        Heard::Event(Event::Heard(_, answer)) => match answer {
            Answer::Prepared(_) => "Prepared",
            Answer::Copied(_) => "Copied",
            Answer::Stopped(_) => "Stopped",
            Answer::Taken(..) => "Taken",
            Answer::Accepted(..) => "Accepted",
            Answer::Runs(_) => "Runs",
            Answer::Failed(_) => "Failed",
        },
        Heard::Call(Verdict::Execute) => "call that counts",
        Heard::Call(Verdict::Fence) => "call of another body",
    }
}

pub(crate) const HEARD: [&str; 15] = [
    "order home",
    "order away",
    "recorded",
    "not recorded",
    "time up",
    "gone",
    "Prepared",
    "Copied",
    "Stopped",
    "Taken",
    "Accepted",
    "Runs",
    "Failed",
    "call that counts",
    "call of another body",
];

fn state_name(state: State) -> &'static str {
    match state {
        State::Empty => "Empty",
        State::Prepared(_) => "Prepared",
        State::Accepted(..) => "Accepted",
        State::Runs(_) => "Runs",
        State::Stopped(_) => "Stopped",
        State::Taken(..) => "Taken",
        State::Ended => "Ended",
    }
}

pub(crate) const STATES: [&str; 7] = ["Empty", "Prepared", "Accepted", "Runs", "Stopped", "Taken", "Ended"];

fn event_name(event: handoff::Event) -> &'static str {
    let [asked, did, could_not] = match event {
        handoff::Event::Fenced(_) => return "fenced",
        handoff::Event::Asked(ask) | handoff::Event::Did(ask, _) | handoff::Event::CouldNot(ask) => {
            EVENTS[match ask {
                Ask::Prepare(_) => 0,
                Ask::Copy(_) => 1,
                Ask::Stop(_) => 2,
                Ask::Take(_) => 3,
                Ask::Accept(..) => 4,
                Ask::Start(_) => 5,
                Ask::GoOn { .. } => 6,
                Ask::Discard(_) => 7,
            }]
        }
    };
    match event {
        handoff::Event::Asked(_) => asked,
        handoff::Event::Did(..) => did,
        handoff::Event::CouldNot(_) | handoff::Event::Fenced(_) => could_not,
    }
}

/// Of each ask: it is heard, it is done, it could not be done.
pub(crate) const EVENTS: [[&str; 3]; 8] = [
    ["Prepare", "did Prepare", "could not Prepare"],
    ["Copy", "did Copy", "could not Copy"],
    ["Stop", "did Stop", "could not Stop"],
    ["Take", "did Take", "could not Take"],
    ["Accept", "did Accept", "could not Accept"],
    ["Start", "did Start", "could not Start"],
    ["GoOn", "did GoOn", "could not GoOn"],
    ["Discard", "did Discard", "could not Discard"],
];

/// Every pair was reached, or stands in a list of those that cannot be; not both.
pub(crate) fn check() {
    let (home, guests) = seen();
    let events: Vec<_> = EVENTS.into_iter().flatten().chain(["fenced"]).collect();
    let missing = |states: &[&'static str], events: &[&'static str], seen: &BTreeSet<Pair>| {
        for state in states {
            let none: Vec<_> = events.iter().filter(|event| !seen.contains(&(*state, *event))).collect();
            println!("{state}: {none:?}");
        }
    };
    missing(&PHASES, &HEARD, &home);
    missing(&STATES, &events, &guests);
}
