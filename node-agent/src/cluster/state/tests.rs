use transport::NodeId;

use super::*;
use crate::cluster::drain::Drain;
use crate::cluster::request::WINDOW;

fn drain(node: u8) -> Command {
    let drain = Drain { since_unix_s: 1, deadline_unix_s: None };
    Command::Drain(drain::Command::Start { node: NodeId([node; 32]), drain })
}

fn undrain(node: u8) -> Command {
    Command::Drain(drain::Command::Stop { node: NodeId([node; 32]) })
}

fn proposal(number: u128, born: u64, command: Command) -> Proposal {
    Proposal { request: Request::numbered(number, born), command }
}

#[test]
fn a_repetition_changes_nothing_and_gives_what_the_first_gave() {
    let mut state = State::default();
    state.apply(1, proposal(1, 0, drain(1))).unwrap();
    state.apply(2, proposal(2, 0, undrain(1))).unwrap();
    state.apply(3, proposal(1, 0, drain(1))).unwrap();
    assert_eq!(state.drains, Drains::default());
    assert_eq!(state.applied(), 3);
    let gone = Command::Membership(membership::Command::Remove { id: NodeId([9; 32]) });
    let refused = Err(Refused::Membership(membership::Refused::UnknownNode));
    assert_eq!(state.apply(4, proposal(3, 0, gone.clone())), refused);
    assert_eq!(state.apply(5, proposal(3, 0, gone)), refused);
    assert_eq!(state.outcome(&Request::numbered(3, 0)), Some(refused));
}

#[test]
fn what_comes_too_late_to_tell_is_refused() {
    let mut state = State::default();
    state.apply(1, proposal(1, 0, drain(1))).unwrap();
    for index in 2..=WINDOW + 2 {
        state.apply(index, proposal(u128::from(index), index - 1, undrain(1))).unwrap();
    }
    // The result is forgotten, and the copy is refused instead of applied.
    assert_eq!(state.outcome(&Request::numbered(1, 0)), None);
    assert_eq!(state.apply(WINDOW + 3, proposal(1, 0, drain(1))), Err(Refused::Late));
    assert_eq!(state.drains, Drains::default());
}

#[test]
fn a_copy_is_either_remembered_or_too_late() {
    for gap in [WINDOW - 1, WINDOW, WINDOW + 1] {
        let mut state = State::default();
        state.apply(1, proposal(1, 0, drain(1))).unwrap();
        for index in 2..1 + gap {
            state.apply(index, proposal(u128::from(index), index - 1, undrain(1))).unwrap();
        }
        let _ = state.apply(1 + gap, proposal(1, 0, drain(1)));
        assert_eq!(state.drains, Drains::default(), "{gap}");
    }
}
