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

/// Every pair was reached, or stands in the list of those that cannot be; not both.
pub(crate) fn check() {
    let (home, guests) = seen();
    let events: Vec<_> = EVENTS.into_iter().flatten().chain(["fenced"]).collect();
    compare(&PHASES, &HEARD, &home, HOME_NEVER);
    compare(&STATES, &events, &guests, GUESTS_NEVER);
}

fn compare(states: &[&'static str], events: &[&'static str], seen: &BTreeSet<Pair>, never: &[Row]) {
    let (mut reached, mut listed) = (0, 0);
    for state in states {
        for event in events {
            let row =
                never.iter().find(|(states, events, _)| states.contains(state) && events.contains(event));
            match (row, seen.contains(&(*state, *event))) {
                (Some((.., reason)), true) => panic!("{event} in {state} was reached, though {reason}"),
                (None, false) => panic!("{event} in {state} was not reached, and nothing says why"),
                (Some(_), false) => listed += 1,
                (None, true) => reached += 1,
            }
        }
    }
    println!("{reached} pairs of state and event reached, {listed} listed as unreachable");
}

/// States, events that never find them, and why.
type Row = (&'static [&'static str], &'static [&'static str], &'static str);

const HOME_NEVER: &[Row] = &[
    (&["Settled"], &["time up"], "no step is under way"),
    (
        &["Recording"],
        &["Copied", "Stopped", "Taken", "call that counts", "call of another body"],
        "a record takes time in the bounded searches only, which do not get to a second order that far",
    ),
    (
        &["Preparing", "Copying", "Stopping", "Taking", "Accepting", "Starting", "Bound", "Resuming"],
        &["recorded", "not recorded"],
        "whatever leaves Recording has its record, or needs none",
    ),
    (
        &["Bound"],
        &["order home", "order away", "Failed"],
        "rivals and failures are in the bounded searches only, which do not get there",
    ),
    (
        &["Lost"],
        &["Taken"],
        "what is heard in vain is told in the bounded searches only, which do not get there",
    ),
    (&["Lost"], &["call that counts"], "no call counts any more"),
];

const GUESTS_NEVER: &[Row] = &[
    (&STATES, &["did Discard", "could not Discard"], "the end is no deed of the hands"),
    (&STATES, &["could not Start", "could not GoOn"], "both are done when they are begun"),
    (
        &["Empty", "Prepared", "Accepted", "Stopped", "Taken", "Ended"],
        &["did Start", "did GoOn"],
        "both are done when they are begun, and then it runs",
    ),
    (
        &["Prepared", "Accepted", "Runs", "Stopped", "Taken", "Ended"],
        &["did Prepare", "could not Prepare"],
        "hands are at it where nothing was asked before",
    ),
    (
        &["Empty", "Prepared", "Accepted", "Stopped", "Taken", "Ended"],
        &["did Copy", "could not Copy", "did Stop", "could not Stop"],
        "hands are at it while it runs; what comes next puts an end to it",
    ),
    (
        &["Empty", "Prepared", "Accepted", "Runs", "Taken", "Ended"],
        &["did Take", "could not Take"],
        "hands are at it while it stands still",
    ),
    (
        &["Empty", "Accepted", "Runs", "Stopped", "Taken", "Ended"],
        &["did Accept", "could not Accept"],
        "hands are at it where there is room",
    ),
    (
        &["Empty", "Prepared", "Accepted"],
        &["Copy", "Stop", "Take", "GoOn"],
        "home asks this of the seat that counts, which has run",
    ),
    (&["Empty"], &["Accept"], "home asks it of whoever has room"),
    (&["Empty", "Prepared"], &["Start"], "home asks it of whoever has accepted"),
    (&["Empty", "Prepared", "Accepted"], &["fenced"], "it has made no call"),
    (&["Stopped"], &["Discard", "fenced"], "it counts until all of it was taken"),
    (
        &["Ended"],
        &["Copy", "Stop", "Take", "GoOn"],
        "a warden that has ended hears only what was on its way when the bounded searches got there",
    ),
];
