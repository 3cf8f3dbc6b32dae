//! The mover in virtual time: every path from order to outcome.

use migration::cpu::CpuNeeds;
use transport::{Epoch, KeyHash, NodeId, ProcessId};

use super::*;
use crate::warden::control::Needs;

const T0: Duration = Duration::from_secs(100);

fn order(to: &str, dry_run: bool) -> Order {
    Order { pid: 71, home: "alpha".into(), from: "alpha".into(), to: to.into(), dry_run }
}

fn offer() -> Offer {
    Offer {
        process: ProcessId { home: NodeId([1; 32]), pid: 71, start_ticks: 5 },
        home_name: "alpha".into(),
        command: "sim".into(),
        epoch: Epoch(1),
        home_key: KeyHash([2; 32]),
        needs: Needs { memory_bytes: 1 << 20, processes: 1, threads: 3, uid: 1000, cpu: CpuNeeds::default() },
    }
}

fn accept() -> Accept {
    Accept { addr: ([10, 0, 0, 2], 7750).into(), key: KeyHash([3; 32]) }
}

fn said(said: FromWarden) -> Event {
    Event::WardenSaid(said)
}

/// Feeds the events, all at the beginning, and returns the actions in short words.
fn drive(order: Order, events: Vec<Event>) -> Vec<String> {
    let (mut mover, mut actions) = Mover::begin(order, T0);
    actions.extend(events.into_iter().flat_map(|event| mover.step(T0, event)));
    actions.iter().map(word).collect()
}

fn word(action: &Action) -> String {
    match action {
        Action::FindWarden => "find".into(),
        Action::Tell(ToWarden::Prepare) => "prepare".into(),
        Action::Tell(ToWarden::Move { node, .. }) => format!("move {node}"),
        Action::Tell(ToWarden::Recall) => "recall".into(),
        Action::Tell(ToWarden::Status) => "status".into(),
        Action::Tell(ToWarden::PeerGone { .. } | ToWarden::NodeGone { .. }) => "gone".into(),
        Action::Place { node, .. } => format!("place {node}"),
        Action::Check { node, .. } => format!("check {node}"),
        Action::Progress { round, bytes_sent } => format!("round {round} {bytes_sent}"),
        Action::Finish(Outcome::Moved(report)) => format!("moved {}", report.at),
        Action::Finish(Outcome::Possible(plan)) => format!("possible {} to {}", plan.from, plan.to),
        Action::Finish(Outcome::Failed(failure)) => format!("{:?}: {}", failure.code, failure.why.join("; ")),
    }
}

#[test]
fn a_move_asks_both_sides_and_then_lets_the_wardens_work() {
    let report = MoveReport { at: "bravo".into(), ..MoveReport::default() };
    let actions = drive(
        order("bravo", false),
        vec![
            Event::WardenFound,
            said(FromWarden::Offer(offer())),
            Event::Placed(accept()),
            said(FromWarden::Progress { round: 1, bytes: 9 }),
            said(FromWarden::Moved(report)),
        ],
    );
    assert_eq!(actions, ["find", "prepare", "place bravo", "move bravo", "round 1 9", "moved bravo"]);
}

#[test]
fn a_recall_asks_nobody_else() {
    let report = MoveReport { at: "alpha".into(), ..MoveReport::default() };
    let order = Order { from: "bravo".into(), ..order("alpha", false) };
    let actions = drive(order, vec![Event::WardenFound, said(FromWarden::Moved(report))]);
    assert_eq!(actions, ["find", "recall", "moved alpha"]);
}

#[test]
fn a_dry_run_changes_nothing() {
    let events = || vec![Event::WardenFound, said(FromWarden::Offer(offer())), Event::Checked(vec![])];
    let actions = drive(order("bravo", true), events());
    assert_eq!(actions, ["find", "prepare", "check bravo", "possible alpha to bravo"]);
    let home = Order { from: "bravo".into(), ..order("alpha", true) };
    assert_eq!(drive(home, events()), ["find", "possible bravo to alpha"]);
}

#[test]
fn what_cannot_move_is_refused_with_every_reason() {
    let reasons = vec!["a shared map".into(), "a device".into()];
    let actions = drive(order("bravo", false), vec![Event::WardenFound, said(FromWarden::Refused(reasons))]);
    assert_eq!(actions.last().unwrap(), "Refused: a shared map; a device");
}

#[test]
fn each_refusal_of_the_target_has_its_exit_code() {
    for (refusal, expected) in [
        (Refusal::Root, "NotAllowed: bravo: it takes no processes of uid 0"),
        (
            Refusal::CpuFlags { missing: vec!["avx512f".into()] },
            "Refused: bravo: its processor lacks avx512f",
        ),
        (Refusal::Version { reason: "x".into() }, "Version: bravo: it speaks another version: x"),
        (Refusal::Unreachable { reason: "lost".into() }, "Refused: bravo: it does not answer: lost"),
        (Refusal::Warden { reason: "y".into() }, "Failed: bravo: its warden did not start: y"),
    ] {
        for dry_run in [false, true] {
            let events = vec![
                Event::WardenFound,
                said(FromWarden::Offer(offer())),
                Event::Checked(vec![refusal.clone()]),
            ];
            assert_eq!(drive(order("bravo", dry_run), events).last().unwrap(), expected);
        }
    }
}

#[test]
fn a_lost_warden_ends_the_move_in_any_state() {
    let lost = || Event::WardenLost("gone".into());
    let steps = [Event::WardenFound, said(FromWarden::Offer(offer())), Event::Placed(accept())];
    for done in 0..=steps.len() {
        let mut events = steps[..done].to_vec();
        events.extend([lost(), lost(), Event::Tick]);
        let actions = drive(order("bravo", false), events);
        assert_eq!(actions.len(), done + 2, "told once: {actions:?}");
        assert!(actions.last().unwrap().starts_with("Failed: its home warden"), "{actions:?}");
    }
}

#[test]
fn silence_ends_the_waiting_not_before_its_deadline() {
    let steps = [Event::WardenFound, said(FromWarden::Offer(offer())), Event::Placed(accept())];
    for (done, code) in
        [ExitCode::Failed, ExitCode::Failed, ExitCode::Refused, ExitCode::UnderWay].into_iter().enumerate()
    {
        let (mut mover, _) = Mover::begin(order("bravo", false), T0);
        steps[..done].iter().for_each(|event| drop(mover.step(T0, event.clone())));
        let deadline = mover.deadline();
        assert!(deadline > T0);
        assert!(mover.step(deadline - Duration::from_millis(1), Event::Tick).is_empty());
        let last = mover.step(deadline, Event::Tick);
        let [Action::Finish(Outcome::Failed(failure))] = last.as_slice() else { panic!("{last:?}") };
        assert_eq!(failure.code, code);
        assert!(mover.is_over() && mover.step(deadline, Event::Tick).is_empty());
    }
}

#[test]
fn progress_pushes_the_deadline_on() {
    let (mut mover, _) = Mover::begin(order("bravo", false), T0);
    for event in [Event::WardenFound, said(FromWarden::Offer(offer())), Event::Placed(accept())] {
        mover.step(T0, event);
    }
    let before = mover.deadline();
    mover.step(T0 + Duration::from_secs(30), said(FromWarden::Progress { round: 2, bytes: 7 }));
    assert_eq!(mover.deadline(), before + Duration::from_secs(30));
}

#[test]
fn what_comes_late_or_twice_changes_nothing() {
    let actions = drive(
        order("bravo", false),
        vec![
            Event::Placed(accept()),
            Event::WardenFound,
            Event::WardenFound,
            said(FromWarden::Offer(offer())),
            said(FromWarden::Offer(offer())),
            Event::Placed(accept()),
            Event::Placed(accept()),
            Event::Checked(vec![Refusal::Root]),
            said(FromWarden::Moved(MoveReport::default())),
            said(FromWarden::Moved(MoveReport::default())),
        ],
    );
    assert_eq!(actions, ["find", "prepare", "place bravo", "move bravo", "moved "]);
}

#[test]
fn a_warden_that_fails_early_names_the_phase() {
    let failed = || said(FromWarden::Failed { reason: "no memory".into(), goes_on: true });
    let actions = drive(order("bravo", false), vec![Event::WardenFound, failed()]);
    assert_eq!(
        actions.last().unwrap(),
        "Failed: while looking at the process: no memory; the program goes on at alpha"
    );
    let events =
        vec![Event::WardenFound, said(FromWarden::Offer(offer())), Event::Placed(accept()), failed()];
    let actions = drive(order("bravo", false), events);
    assert_eq!(actions.last().unwrap(), "Failed: during the move: no memory; the program goes on at alpha");
}

#[test]
fn nobody_is_told_that_a_program_goes_on_that_has_ended() {
    let ended = said(FromWarden::Failed { reason: "process 7 ended (exit 0)".into(), goes_on: false });
    let actions = drive(order("bravo", false), vec![Event::WardenFound, ended]);
    assert_eq!(actions.last().unwrap(), "Failed: while looking at the process: process 7 ended (exit 0)");
}
