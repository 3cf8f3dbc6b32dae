//! Random histories of the queue, and the rules that none of them may break.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: [NodeId; 3] = [NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32])];
const ANA: u32 = 1000;

fn submission(request: u128, spec: Spec) -> Submission {
    let owner = Owner { uid: ANA, gid: ANA, groups: vec![] };
    Submission { request, owner, origin: NODES[0], spec, at_unix_ms: 1 }
}

fn spec() -> Spec {
    Spec::new(vec![b"/bin/true".to_vec()], b"/".to_vec(), Home::Any)
}

fn root() -> Setting {
    Setting::of(b"/".to_vec())
}

fn submit(queue: &mut Queue, request: u128, spec: Spec) -> Result<u64, Refused> {
    match queue.apply(Command::Submit(Box::new(submission(request, spec))))? {
        Reply::Submitted { job } => Ok(job),
        Reply::Done => panic!("no number"),
    }
}

fn place(queue: &mut Queue, job: u64, index: u32, attempt: u32) -> Result<Reply, Refused> {
    let task = TaskId { job, index };
    queue.apply(Command::Place { task, attempt, node: NODES[0], at_unix_ms: 2 })
}

fn end(queue: &mut Queue, job: u64, index: u32, attempt: u32, end: End) -> Result<Reply, Refused> {
    let task = TaskId { job, index };
    queue.apply(Command::Ended { task, attempt, node: NODES[0], end, at_unix_ms: 3 })
}

fn cancel(queue: &mut Queue, job: u64, index: Option<u32>) -> Result<Reply, Refused> {
    queue.apply(Command::Cancel { job, index, by: ANA, at_unix_ms: 4 })
}

#[test]
fn a_job_runs_once_and_its_status_stays() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 7, spec()).unwrap();
    assert_eq!(submit(&mut queue, 7, spec()), Ok(job), "the same submission");
    place(&mut queue, job, 0, 0).unwrap();
    assert_eq!(place(&mut queue, job, 0, 0), Ok(Reply::Done), "told again");
    let task = TaskId { job, index: 0 };
    let elsewhere = Command::Place { task, attempt: 0, node: NODES[1], at_unix_ms: 2 };
    assert!(matches!(queue.apply(elsewhere), Err(Refused::Stale { .. })));
    end(&mut queue, job, 0, 0, End::Exit(3)).unwrap();
    assert_eq!(end(&mut queue, job, 0, 0, End::Exit(3)), Ok(Reply::Done), "told again");
    assert_eq!(queue.job(job).unwrap().end(), Some(&End::Exit(3)));
    assert!(matches!(place(&mut queue, job, 0, 0), Err(Refused::Stale { .. })));
}

#[test]
fn what_fails_is_tried_again_as_often_as_asked() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 7, Spec { retries: 2, ..spec() }).unwrap();
    for attempt in 0..3 {
        assert_eq!(queue.ready().len(), 1);
        place(&mut queue, job, 0, attempt).unwrap();
        end(&mut queue, job, 0, attempt, End::Exit(1)).unwrap();
        assert_eq!(end(&mut queue, job, 0, attempt, End::Exit(1)), Ok(Reply::Done), "told again");
    }
    assert!(queue.ready().is_empty());
    assert_eq!(queue.job(job).unwrap().end(), Some(&End::Exit(1)));
}

#[test]
fn false_starts_cost_no_attempt_and_do_not_go_on_for_ever() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 7, Spec { retries: 1, ..spec() }).unwrap();
    let mut attempt = 0;
    while queue.job(job).is_some_and(|job| !job.is_over()) {
        place(&mut queue, job, 0, attempt).unwrap();
        end(&mut queue, job, 0, attempt, End::FalseStart).unwrap();
        attempt += 1;
    }
    assert_eq!(attempt, FALSE_STARTS_MAX + 1);
    let job = submit(&mut queue, 8, Spec { retries: 1, ..spec() }).unwrap();
    for (attempt, how) in [End::FalseStart, End::Exit(1), End::Exit(1)].into_iter().enumerate() {
        let attempt = u32::try_from(attempt).unwrap();
        place(&mut queue, job, 0, attempt).unwrap();
        end(&mut queue, job, 0, attempt, how).unwrap();
    }
    assert!(queue.job(job).unwrap().is_over());
}

#[test]
fn who_waits_for_a_job_starts_or_is_cancelled_with_it() {
    let mut queue = Queue::default();
    let first = submit(&mut queue, 1, spec()).unwrap();
    let after = |job, any_end| Spec { after: vec![After { job, any_end }], ..spec() };
    let second = submit(&mut queue, 2, after(first, false)).unwrap();
    let third = submit(&mut queue, 3, after(second, false)).unwrap();
    let anyway = submit(&mut queue, 4, after(second, true)).unwrap();
    assert_eq!(queue.ready().iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [first]);
    assert!(matches!(place(&mut queue, second, 0, 0), Err(Refused::Stale { .. })));
    place(&mut queue, first, 0, 0).unwrap();
    end(&mut queue, first, 0, 0, End::Signal(9)).unwrap();
    for job in [second, third] {
        let Some(End::Cancelled { reason }) = queue.job(job).unwrap().end() else { panic!("{queue:?}") };
        assert!(reason.contains("which it waits for"), "{reason}");
    }
    assert_eq!(queue.ready().iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [anyway]);
    assert!(matches!(submit(&mut queue, 5, after(first, false)), Err(Refused::AfterFailed { .. })));
    assert!(matches!(submit(&mut queue, 6, after(99, true)), Err(Refused::NoSuchJob { .. })));
}

#[test]
fn an_array_keeps_to_its_limit() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 1, Spec { array: Some("2-20:2%3".parse().unwrap()), ..spec() }).unwrap();
    let mut seen = BTreeSet::new();
    while let [(ready, count)] = queue.ready().as_slice() {
        let count = usize::try_from(*count).unwrap();
        let now: Vec<u32> = ready.waiting().take(count).map(|(task, _)| task.index).collect();
        now.iter().for_each(|index| drop(place(&mut queue, job, *index, 0).unwrap()));
        assert!(queue.job(job).unwrap().active_count() <= 3);
        let blocked = queue.job(job).unwrap().waiting().next().map(|(task, _)| task.index);
        assert!(blocked.is_none_or(|index| place(&mut queue, job, index, 0).is_err()) || now.len() < 3);
        for index in now {
            assert!(seen.insert(index));
            end(&mut queue, job, index, 0, End::Exit(0)).unwrap();
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (1..=10).map(|n| 2 * n).collect::<Vec<_>>());
    assert!(queue.job(job).unwrap().is_over());
}

#[test]
fn what_runs_is_asked_to_end_and_what_waits_is_ended() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 1, Spec { array: Some("0-9".parse().unwrap()), ..spec() }).unwrap();
    place(&mut queue, job, 0, 0).unwrap();
    cancel(&mut queue, job, Some(4)).unwrap();
    assert!(matches!(cancel(&mut queue, job, Some(4)), Err(Refused::IsOver { .. })));
    assert!(matches!(place(&mut queue, job, 4, 0), Err(Refused::Stale { .. })));
    cancel(&mut queue, job, None).unwrap();
    let known = queue.job(job).unwrap();
    assert_eq!((known.active_count(), known.ended_count(), known.waiting().count()), (1, 9, 0));
    assert!(known.touched(0).unwrap().cancel.is_some() && !known.is_over());
    end(&mut queue, job, 0, 0, End::Signal(15)).unwrap();
    assert!(matches!(queue.job(job).unwrap().end_of(0), Some(End::Cancelled { .. })));
    assert!(queue.job(job).unwrap().is_over());
}

#[test]
fn only_its_owner_and_root_touch_a_job() {
    let mut queue = Queue::default();
    let job = submit(&mut queue, 1, spec()).unwrap();
    for by in [7, ANA, 0] {
        let held = queue.apply(Command::Hold { job, by });
        assert_eq!(held.is_ok(), by != 7, "{held:?}");
        assert!(by == 7 || place(&mut queue, job, 0, 0).is_err(), "it is held");
        let resumed = queue.apply(Command::Resume { job, by });
        assert_eq!(resumed.is_ok(), by != 7, "{resumed:?}");
    }
    assert_eq!(
        queue.apply(Command::Cancel { job, index: None, by: 7, at_unix_ms: 4 }),
        Err(Refused::NotYours { job })
    );
    place(&mut queue, job, 0, 0).unwrap();
    assert_eq!(queue.apply(Command::Hold { job, by: ANA }), Err(Refused::NothingWaits { job }));
}

#[test]
fn a_name_is_free_again_when_its_job_is_over() {
    let mut queue = Queue::default();
    let named = || Spec { name: Some("render".into()), ..spec() };
    let job = submit(&mut queue, 1, named()).unwrap();
    let taken = submit(&mut queue, 2, named()).unwrap_err();
    assert_eq!(taken, Refused::NameTaken { name: "render".into(), job });
    cancel(&mut queue, job, None).unwrap();
    let next = submit(&mut queue, 2, named()).unwrap();
    assert_eq!(queue.named("render", ANA).unwrap().id, next);
    assert!(queue.named("render", 7).is_none());
}

#[test]
fn senseless_jobs_are_refused() {
    let array = || Some("0-9".parse().unwrap());
    let bad = [
        Spec { name: Some("7".into()), ..spec() },
        Spec { name: Some("a b".into()), ..spec() },
        Spec { program: ProgramSpec::Command(vec![]), ..spec() },
        Spec { program: ProgramSpec::Lines(vec![vec![]]), ..spec() },
        Spec { program: ProgramSpec::Command(vec![b"a\0b".to_vec()]), ..spec() },
        Spec { priority: PRIORITY_MAX + 1, ..spec() },
        Spec { cpus: 0, ..spec() },
        Spec { time_limit_ms: Some(0), ..spec() },
        Spec { retries: RETRIES_MAX + 1, ..spec() },
        Spec { nodes: vec!["n1".into()], not_nodes: vec!["n1".into()], ..spec() },
        Spec { home: Home::Node("n1".into()), not_nodes: vec!["n1".into()], ..spec() },
        Spec { setting: Setting::of(b"relative".to_vec()), ..spec() },
        Spec { array: array(), setting: Setting { stdout: Some(b"/tmp/out".to_vec()), ..root() }, ..spec() },
        Spec { setting: Setting { env: vec![(b"A=B".to_vec(), vec![])], ..root() }, ..spec() },
        Spec { after: vec![After { job: 1, any_end: true }; AFTER_MAX + 1], ..spec() },
    ];
    for bad in bad {
        let mut queue = Queue::default();
        assert!(matches!(submit(&mut queue, 1, bad.clone()), Err(Refused::Senseless(_))), "{bad:?}");
        assert_eq!(queue, Queue::default());
    }
    assert!(spec().check().is_ok());
    assert!(
        Spec { array: array(), setting: Setting { stdout: Some(b"out.%a".to_vec()), ..root() }, ..spec() }
            .check()
            .is_ok()
    );
}

#[test]
fn the_limits_hold() {
    let mut queue = Queue::default();
    let long = Spec { program: ProgramSpec::Command(vec![vec![b'x'; SPEC_BYTES_MAX + 1]]), ..spec() };
    assert!(matches!(submit(&mut queue, 1, long), Err(Refused::TooLong { .. })));
    for request in 0..QUEUED_PER_UID_MAX {
        submit(&mut queue, request as u128, spec()).unwrap();
    }
    assert_eq!(submit(&mut queue, u128::MAX, spec()), Err(Refused::TooMany));
    let mut other = submission(u128::MAX, spec());
    other.owner.uid = 7;
    assert!(queue.apply(Command::Submit(Box::new(other))).is_ok(), "one user does not stop another");
}

#[test]
fn what_is_over_is_forgotten_when_there_is_too_much_of_it() {
    let mut queue = Queue::default();
    for number in 0..OVER_PER_UID_MAX + 10 {
        let mut new = submission(number as u128, spec());
        new.at_unix_ms = number as u64 * OVER_KEPT_MIN_MS;
        let Ok(Reply::Submitted { job }) = queue.apply(Command::Submit(Box::new(new))) else {
            panic!("refused")
        };
        cancel(&mut queue, job, None).unwrap();
    }
    assert_eq!(queue.jobs().count(), OVER_PER_UID_MAX);
    assert!(queue.job(1).is_none() && queue.has_given(1) && !queue.has_given(99_999));
}

#[test]
fn a_node_that_is_gone_loses_what_it_ran() {
    let mut queue = Queue::default();
    let lost = submit(&mut queue, 1, spec()).unwrap();
    let again = submit(&mut queue, 2, Spec { retries: 1, ..spec() }).unwrap();
    place(&mut queue, lost, 0, 0).unwrap();
    place(&mut queue, again, 0, 0).unwrap();
    queue.apply(Command::NodeGone { node: NODES[0], at_unix_ms: 9 }).unwrap();
    assert_eq!(queue.job(lost).unwrap().end().map(End::code), Some(75));
    assert_eq!(queue.ready().iter().map(|(job, _)| job.id).collect::<Vec<_>>(), [again]);
}

/// What a client or an agent may say at any time, sensible or not.
fn commands() -> impl Strategy<Value = Command> {
    let node = prop::sample::select(NODES.to_vec());
    let uid = prop::sample::select(vec![0, ANA, 7]);
    let task = (1_u64..8, 0_u32..4).prop_map(|(job, index)| TaskId { job, index });
    let array = prop::sample::select(vec!["0-3", "0-3%1", "0-3%2", "1-3:2"]);
    let end = prop::sample::select(vec![
        End::Exit(0),
        End::Exit(1),
        End::Signal(9),
        End::TimeLimit,
        End::FalseStart,
        End::Lost { reason: String::new() },
    ]);
    let after = prop::collection::vec((1_u64..8, any::<bool>()), 0..2);
    let spec = (prop::option::of(array), 0_u32..2, after, any::<bool>(), 0_u8..3).prop_map(
        |(array, retries, after, named, priority)| Spec {
            array: array.map(|text| text.parse().unwrap()),
            retries,
            priority,
            after: after.into_iter().map(|(job, any_end)| After { job, any_end }).collect(),
            name: named.then(|| "same".into()),
            ..self::spec()
        },
    );
    prop_oneof![
        4 => (0_u128..12, spec, uid.clone()).prop_map(|(request, spec, uid)| {
            let mut submission = submission(request, spec);
            submission.owner.uid = uid;
            Command::Submit(Box::new(submission))
        }),
        8 => (task.clone(), 0_u32..4, node.clone())
            .prop_map(|(task, attempt, node)| Command::Place { task, attempt, node, at_unix_ms: 2 }),
        4 => (task.clone(), 0_u32..4, node.clone())
            .prop_map(|(task, attempt, node)| Command::Started { task, attempt, node, pid: 5, at_unix_ms: 3 }),
        8 => (task.clone(), 0_u32..4, node.clone(), end)
            .prop_map(|(task, attempt, node, end)| Command::Ended { task, attempt, node, end, at_unix_ms: 4 }),
        1 => (1_u64..8, uid.clone()).prop_map(|(job, by)| Command::Hold { job, by }),
        1 => (1_u64..8, uid.clone()).prop_map(|(job, by)| Command::Resume { job, by }),
        1 => (task, any::<bool>(), uid).prop_map(|(task, whole, by)| {
            Command::Cancel { job: task.job, index: (!whole).then_some(task.index), by, at_unix_ms: 5 }
        }),
        1 => node.prop_map(|node| Command::NodeGone { node, at_unix_ms: 6 }),
    ]
}

/// The states of all tasks of all jobs, and where they are.
fn states(queue: &Queue) -> BTreeMap<TaskId, (u32, State)> {
    let mut states = BTreeMap::new();
    for job in queue.jobs() {
        let first = job.spec.array.map_or(0, |array| array.first());
        let next = |index: &u32| job.spec.array.and_then(|array| array.next(*index));
        for index in std::iter::successors(Some(first), next) {
            let state = match (job.touched(index), job.end_of(index)) {
                (Some(task), _) => (task.attempt, task.state.clone()),
                (None, Some(end)) => (0, State::Ended { node: None, end: end.clone(), at_unix_ms: 0 }),
                (None, None) => (0, State::Waiting),
            };
            states.insert(TaskId { job: job.id, index }, state);
        }
    }
    states
}

/// The arrows of the diagram, with the attempt numbers that go with them.
fn is_legal(before: &(u32, State), now: &(u32, State)) -> bool {
    let ((old, from), (new, to)) = (before, now);
    match (from, to) {
        (State::Waiting, State::Starting { .. } | State::Ended { node: None, .. }) => old == new,
        (State::Starting { node, .. }, State::Running { node: home, .. }) => old == new && node == home,
        (State::Starting { node, .. } | State::Running { node, .. }, State::Ended { node: home, .. }) => {
            old == new && Some(*node) == *home
        }
        (State::Starting { .. } | State::Running { .. }, State::Waiting) => old + 1 == *new,
        _ => false,
    }
}

fn check(queue: &Queue) {
    let states = states(queue);
    for job in queue.jobs() {
        let of = |is_it: fn(&State) -> bool| {
            let all = states.iter().filter(|(id, _)| id.job == job.id);
            u32::try_from(all.filter(|(_, (_, state))| is_it(state)).count()).unwrap()
        };
        let active = of(|state| state.node().is_some());
        assert_eq!(job.active_count(), active);
        assert_eq!(job.ended_count(), of(|state| state.end().is_some()));
        assert_eq!(job.failed_count(), of(|state| state.end().is_some_and(|end| !end.is_success())));
        assert!(job.spec.array.and_then(|array| array.at_once()).is_none_or(|most| active <= most));
        let waiting: BTreeSet<u32> = job.waiting().map(|(task, _)| task.index).collect();
        let expected = states.iter().filter(|(id, (_, state))| id.job == job.id && *state == State::Waiting);
        assert_eq!(waiting, expected.map(|(id, _)| id.index).collect(), "none is lost, none waits twice");
        assert_eq!(job.waiting().count(), waiting.len());
        assert_eq!(job.is_over(), !queue.live.contains(&job.id));
        assert_eq!(job.is_over(), job.over_at_unix_ms.is_some());
        assert!(job.waits_for.iter().all(|after| queue.live.contains(after)));
        for after in &job.waits_for {
            assert!(queue.waiting_for[after].contains(&job.id));
        }
        if let Some(name) = &job.spec.name {
            let same =
                |other: &&Job| other.spec.name.as_ref() == Some(name) && other.owner.uid == job.owner.uid;
            assert!(queue.live().filter(same).count() <= 1);
        }
    }
    let active: Vec<TaskId> = queue.active().map(|(id, _, _)| id).collect();
    let expected = states.iter().filter(|(_, (_, state))| state.node().is_some()).map(|(id, _)| *id);
    assert_eq!(active, expected.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_history_loses_a_job_or_runs_it_twice(history in prop::collection::vec(commands(), 1..120)) {
        let (mut queue, mut twin) = (Queue::default(), Queue::default());
        let mut acknowledged: BTreeMap<u128, u64> = BTreeMap::new();
        for command in history {
            let before = queue.clone();
            let result = queue.apply(command.clone());
            prop_assert_eq!(&result, &twin.apply(command.clone()), "it is deterministic");
            let (old, new) = (states(&before), states(&queue));
            for (id, state) in &new {
                let was = old.get(id);
                prop_assert!(was.is_none_or(|was| was == state || is_legal(was, state)), "{:?} -> {:?}", was, state);
            }
            prop_assert!(old.keys().all(|id| new.contains_key(id)), "no task vanishes");
            match (&command, &result) {
                (_, Err(_)) => prop_assert_eq!(&queue, &before, "a refused command changes nothing"),
                (Command::Submit(submission), Ok(Reply::Submitted { job })) => {
                    let known = *acknowledged.entry(submission.request).or_insert(*job);
                    prop_assert_eq!(known, *job, "one submission is one job");
                }
                _ => {}
            }
            check(&queue);
        }
        let jobs: BTreeSet<u64> = queue.jobs().map(|job| job.id).collect();
        prop_assert_eq!(jobs, acknowledged.values().copied().collect::<BTreeSet<_>>());
        let mut bytes = Vec::new();
        transport::wire::encode(&queue, &mut bytes).unwrap();
        prop_assert_eq!(&transport::wire::decode::<Queue>(&bytes).unwrap(), &queue);
    }
}
