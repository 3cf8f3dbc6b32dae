use migration::handoff::Incarnation;

use super::*;

const B: Seat = Seat::Guest(Incarnation(1));
const C: Seat = Seat::Guest(Incarnation(2));
const WHOLE: Digest = Digest(7);

/// Answers every question at once, up to `until`.
fn move_until(residence: &mut Residence, to: Seat, until: Option<fn(&Ask) -> bool>) -> Vec<Action> {
    let mut actions = residence.step(Event::Ordered(to));
    let mut all = Vec::new();
    while !actions.is_empty() {
        let mut next = Vec::new();
        for action in actions {
            all.push(action);
            match action {
                Action::Record(_) => next.extend(residence.step(Event::Recorded)),
                Action::Tell(_, ask) if until.is_some_and(|is_it| is_it(&ask)) => return all,
                Action::Tell(seat, ask) => {
                    if let Some(answer) = answer(ask) {
                        next.extend(residence.step(Event::Heard(seat, answer)));
                    }
                }
                Action::Moved | Action::NotMoved(_) | Action::Lost(_) => {}
            }
        }
        actions = next;
    }
    all
}

fn answer(ask: Ask) -> Option<Answer> {
    Some(match ask {
        Ask::Prepare(epoch) => Answer::Prepared(epoch),
        Ask::Copy(epoch) => Answer::Copied(epoch),
        Ask::Stop(epoch) => Answer::Stopped(epoch),
        Ask::Take(epoch) => Answer::Taken(epoch, WHOLE),
        Ask::Accept(epoch, digest) => Answer::Accepted(epoch, digest),
        Ask::Start(epoch) | Ask::GoOn { epoch, .. } => Answer::Runs(epoch),
        Ask::Discard(_) => return None,
    })
}

#[test]
fn out_on_and_home_again() {
    let mut residence = Residence::at_home(Epoch(0));
    for (to, epoch) in [(B, 1), (C, 2), (Seat::Home, 3)] {
        let actions = move_until(&mut residence, to, None);
        assert_eq!(actions.last(), Some(&Action::Moved), "{actions:?}");
        assert_eq!((residence.seat(), residence.epoch()), (to, Epoch(epoch)));
        assert!(residence.is_settled());
    }
}

#[test]
fn the_record_comes_first_and_covers_the_way_back() {
    let mut residence = Residence::at_home(Epoch(4));
    assert_eq!(residence.step(Event::Ordered(B)), [Action::Record(Epoch(6))]);
    assert_eq!(residence.step(Event::Recorded), [Action::Tell(B, Ask::Prepare(Epoch(5)))]);
}

#[test]
fn without_a_record_nobody_is_told() {
    let mut residence = Residence::at_home(Epoch(0));
    residence.step(Event::Ordered(B));
    assert_eq!(residence.step(Event::NotRecorded), [Action::NotMoved(Reason::NotRecorded)]);
    assert!(residence.is_settled());
}

#[test]
fn before_it_is_asked_for_anything_there_is_nothing_to_undo() {
    let mut residence = Residence::at_home(Epoch(0));
    move_until(&mut residence, B, Some(|ask| matches!(ask, Ask::Prepare(_))));
    let late = Reason::Late(Ask::Prepare(Epoch(1)));
    assert_eq!(
        residence.step(Event::TimeUp),
        [Action::NotMoved(late), Action::Tell(B, Ask::Discard(Epoch(1)))]
    );
    assert_eq!(move_until(&mut residence, B, None).last(), Some(&Action::Moved));
}

#[test]
fn what_was_asked_to_stop_goes_on_in_a_new_epoch() {
    let mut residence = Residence::at_home(Epoch(0));
    move_until(&mut residence, B, None);
    move_until(&mut residence, C, Some(|ask| matches!(ask, Ask::Stop(_))));
    let actions = residence.step(Event::TimeUp);
    let go_on = Ask::GoOn { former: Epoch(1), epoch: Epoch(3) };
    assert_eq!(actions, [Action::Tell(B, go_on), Action::Tell(C, Ask::Discard(Epoch(2)))]);
    // A call that was made before the stop is its body's, and does not tell whether that goes on.
    assert_eq!(residence.called(B, Epoch(1)), (Verdict::Execute, Vec::new()));
    assert_eq!(residence.called(B, Epoch(4)).0, Verdict::Fence);
    let late = Reason::Late(Ask::Stop(Epoch(1)));
    assert_eq!(residence.step(Event::Heard(B, Answer::Runs(Epoch(3)))), [Action::NotMoved(late)]);
    assert_eq!(residence.called(B, Epoch(3)).0, Verdict::Execute);
}

#[test]
fn nothing_is_committed_without_the_right_digest() {
    let mut residence = Residence::at_home(Epoch(0));
    move_until(&mut residence, B, Some(|ask| matches!(ask, Ask::Accept(..))));
    assert_eq!(residence.step(Event::Heard(B, Answer::Accepted(Epoch(1), Digest(8)))), []);
    assert_eq!(residence.seat(), Seat::Home);
}

#[test]
fn after_the_commit_it_is_taken_back_only_if_it_has_done_nothing() {
    let begin = |residence: &mut Residence| {
        move_until(residence, B, None);
        move_until(residence, C, Some(|ask| matches!(ask, Ask::Start(_))));
        assert_eq!(residence.seat(), C);
    };
    let mut idle = Residence::at_home(Epoch(0));
    begin(&mut idle);
    let go_on = Ask::GoOn { former: Epoch(1), epoch: Epoch(3) };
    assert_eq!(idle.step(Event::Gone(C))[0], Action::Tell(B, go_on));
    assert_eq!(idle.called(C, Epoch(2)).0, Verdict::Fence);

    let mut active = Residence::at_home(Epoch(0));
    begin(&mut active);
    let (verdict, actions) = active.called(C, Epoch(2));
    assert_eq!(verdict, Verdict::Execute);
    assert_eq!(actions, [Action::Tell(B, Ask::Discard(Epoch(1))), Action::Moved]);
    assert_eq!(active.step(Event::Gone(C)), [Action::Lost(Reason::Gone(C))]);
}

#[test]
fn with_nobody_to_take_it_back_the_next_seat_is_asked_again() {
    let mut residence = Residence::at_home(Epoch(0));
    move_until(&mut residence, B, None);
    move_until(&mut residence, C, Some(|ask| matches!(ask, Ask::Start(_))));
    assert_eq!(residence.step(Event::Gone(B)), []);
    assert_eq!(residence.step(Event::TimeUp), [Action::Tell(C, Ask::Start(Epoch(2)))]);
    assert_eq!(residence.step(Event::Heard(C, Answer::Runs(Epoch(2)))), [Action::Moved]);
}

#[test]
fn orders_that_cannot_be_carried_out_change_nothing() {
    let mut residence = Residence::at_home(Epoch(0));
    assert_eq!(residence.step(Event::Ordered(Seat::Home)), [Action::NotMoved(Reason::AlreadyThere)]);
    residence.step(Event::Ordered(B));
    assert_eq!(residence.step(Event::Ordered(C)), [Action::NotMoved(Reason::Busy)]);
    residence.step(Event::Recorded);
    assert_eq!(residence.step(Event::Gone(C)), []);
    assert!(matches!(residence.step(Event::Gone(B))[0], Action::NotMoved(Reason::Gone(_))));
}

#[test]
fn a_lost_family_stays_lost() {
    let mut residence = Residence::at_home(Epoch(0));
    move_until(&mut residence, B, None);
    assert_eq!(residence.step(Event::Gone(B)), [Action::Lost(Reason::Gone(B))]);
    assert_eq!(residence.called(B, Epoch(1)).0, Verdict::Fence);
    assert_eq!(residence.step(Event::Ordered(C)), [Action::NotMoved(Reason::Lost)]);
}
