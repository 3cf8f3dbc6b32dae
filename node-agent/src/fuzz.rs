//! Hostile bytes for an agent: from other agents, from users at its socket, from its wardens, in its files, from
//! `/proc`.

use std::fmt::Debug;
use std::time::Duration;

use fuzzing::{Decoder, Outcome, choice, chosen, codec, target, text};
use serde::Serialize;
use serde::de::DeserializeOwned;
use transport::wire::{self, MESSAGE_BYTES_MAX, WireError};
use transport::{Epoch, KeyHash, NodeId, ProcessId};
use tui::model::{self, EventLevel, FlowKind, LoggedEvent, NodeState, ProcessRef, ProcessState};

use crate::agent::protocol::{BodySample, Hello, Machine, NodeSample, PeerRequest, PeerResponse, Report};
use crate::api::jobs::{JobRequest, NewJob};
use crate::api::{Greeting, MoveRequest, Reason, Request, Response, Target, WhyReport};
use crate::config::{self, NodeFile, Ports};
use crate::dev::keeper::protocol::{FromKeeper, ToKeeper};
use crate::exit::{ExitCode, Failure};
use crate::job::output::Stream;
use crate::members::{Member, Members};
use crate::mover::Refusal;
use crate::queue::{Home, Owner, ResourceLimit, Setting, Spec, TaskId};
use crate::warden::control::{
    Accept, FromWarden, MoveReport, Needs, Offer, ProcessStatus, ToWarden, WardenRole, WardenStatus,
};
use crate::{proc, view};

pub(crate) fn encoded<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes).map(|()| bytes)
}

pub(crate) fn messages<T: Serialize + DeserializeOwned + Debug + 'static>() -> Decoder {
    codec(wire::decode::<T>, encoded)
}

/// Valid inputs of one decoder of a choice.
pub(crate) fn all<T: Serialize>(decoder: u8, name: &str, messages: &[T]) -> Vec<(String, Vec<u8>)> {
    let named = messages.iter().enumerate();
    named.map(|(n, message)| (format!("{name}-{n}"), chosen(decoder, &encoded(message).unwrap()))).collect()
}

pub(crate) fn process() -> ProcessId {
    ProcessId { home: NodeId([3; 32]), pid: 77, start_ticks: 12_345 }
}

fn offer() -> Offer {
    let cpu = migration::cpu::CpuNeeds { flags: vec!["avx2".into()], xsave_bytes: 832, xfeatures: 7 };
    let needs = Needs { memory_bytes: 1 << 20, processes: 1, threads: 2, uid: 1000, cpu };
    let (home_name, command) = ("alpha".into(), "sim".into());
    Offer { process: process(), home_name, command, epoch: Epoch(2), home_key: KeyHash([9; 32]), needs }
}

fn new_job() -> NewJob {
    let spec = Spec {
        array: "0-99%8".parse().ok(),
        setting: Setting {
            limits: vec![ResourceLimit { resource: 7, soft: Some(1024), hard: None }],
            env: vec![(b"MODE".to_vec(), b"fast".to_vec())],
            ..Setting::of(b"/tmp".to_vec())
        },
        ..Spec::new(vec![b"sim".to_vec()], b"/tmp".to_vec(), Home::Node("alpha".into()))
    };
    let owner = Owner { uid: 1000, gid: 1000, groups: vec![44] };
    NewJob { request: 7, owner, spec, after: vec!["71".into()], after_any: vec![] }
}

fn accept() -> Accept {
    Accept { addr: ([10, 0, 0, 2], 7750).into(), key: KeyHash([8; 32]) }
}

fn report() -> Report {
    let shown = model::Process {
        pid: 77,
        command: "sim".into(),
        user: "ana".into(),
        home: "alpha".into(),
        at: "bravo".into(),
        state: ProcessState::Away,
        cpu_percent: Some(50.0),
        threads: 2,
        rss_bytes: Some(4096),
        calls_per_s: 1.0,
        call_bytes_per_s: 2.0,
        epoch: 2,
        last_pause_us: Some(900),
        moves: 1,
    };
    let process_ref = ProcessRef { home: "alpha".into(), pid: 77 };
    let (from, to) = (String::from("alpha"), String::from("bravo"));
    let flow = model::Flow {
        from: to.clone(),
        to: from.clone(),
        kind: FlowKind::Calls,
        calls_per_s: 1.0,
        bytes_per_s: 9.0,
    };
    let event = LoggedEvent {
        at_unix_ms: 5,
        level: EventLevel::Info,
        process: Some(process_ref.clone()),
        node: None,
        text: "moved".into(),
    };
    let under_way = model::MoveInProgress {
        process: process_ref,
        from,
        to,
        round: 1,
        bytes_sent: 7,
        bytes_total: Some(9),
        started_unix_ms: 4,
    };
    Report {
        incarnation: 1,
        sample: NodeSample { cpu_percent: 5.0, cpus: 2, mem_used_bytes: 1, mem_total_bytes: 2 },
        processes: vec![shown],
        bodies: vec![BodySample {
            family: process(),
            pid: 77,
            cpu_percent: 9.0,
            rss_bytes: 4096,
            threads: 2,
        }],
        flows: vec![flow],
        moves: vec![under_way],
        events: vec![(1, event)],
    }
}

fn hello() -> Hello {
    let member =
        |id: u8| Member { id: NodeId([id; 32]), name: "alpha".into(), addr: ([10, 0, 0, 1], 7749).into() };
    let machine = Machine { boot_id: "b".into(), network_namespace: 7 };
    Hello { member: member(1), machine, members: vec![member(2), member(3)] }
}

/// What an agent does with a report before anything of it is shown.
fn show(report: &Report) {
    let known = view::Known {
        id: process().home,
        name: "alpha",
        state: NodeState::Lost,
        rtt_ms: None,
        last_seen_unix_ms: None,
        load_history: Vec::new(),
        report: Some(report),
    };
    let shown = view::build("lab", 1, &[known], Vec::new());
    assert!(shown.processes.len() <= view::PROCESSES_MAX);
    let _ = view::add_up(shown.flows);
    assert!(shown.moves.iter().all(|one| one.percent().is_none_or(|percent| percent < 100)));
}

/// Lists whose elements are short on the wire and long in memory, which chance seldom makes long enough.
#[test]
fn the_longest_messages_have_room_when_they_are_decoded() {
    // More of them are not decoded: a number counts as much as it has in memory.
    let refusals = vec![Refusal::NotHome; MESSAGE_BYTES_MAX / 4 - 4];
    let reasons = vec![String::new(); MESSAGE_BYTES_MAX / 8 - 4];
    let refused = encoded(&PeerResponse::Refused(refusals)).unwrap();
    let room = fuzzing::allocated(|| drop(wire::decode::<PeerResponse>(&refused).unwrap()));
    assert!(room < fuzzing::ALLOCATED_MAX, "{room}");
    let refused = encoded(&FromWarden::Refused(reasons)).unwrap();
    let room = fuzzing::allocated(|| drop(wire::decode::<FromWarden>(&refused).unwrap()));
    assert!(room < fuzzing::ALLOCATED_MAX, "{room}");
}

#[test]
fn messages_of_other_agents() {
    let valid = || {
        let asked = [
            PeerRequest::Hello(hello()),
            PeerRequest::Report(Box::new(report())),
            PeerRequest::Place(Box::new(offer())),
            PeerRequest::WardenGone { process: process(), key: KeyHash([1; 32]) },
            PeerRequest::Signal { task: TaskId { job: 71, index: 3 }, attempt: 1, signal: 15, by: 1000 },
        ];
        let refused = Refusal::CpuFlags { missing: vec!["avx512f".into()] };
        let answered = [
            PeerResponse::Hello(hello()),
            PeerResponse::Noted,
            PeerResponse::Accepted(accept()),
            PeerResponse::Refused(vec![refused, Refusal::Memory { needs_bytes: 2, free_bytes: 1 }]),
        ];
        [all(0, "asked", &asked), all(1, "answered", &answered)].concat()
    };
    let mut asked = messages::<PeerRequest>();
    let asked: Decoder = Box::new(move |input| {
        match wire::decode(input) {
            Ok(PeerRequest::Report(report)) => show(&report),
            Ok(PeerRequest::Hello(hello)) => {
                let mut members = Members::default();
                for member in hello.members {
                    members.learn(member);
                }
                assert!(members.iter().count() <= crate::members::MEMBERS_MAX);
            }
            Ok(_) | Err(_) => {}
        }
        asked(input)
    });
    let target = target!("peers").valid(valid).length_max(MESSAGE_BYTES_MAX);
    target.run(choice([asked, messages::<PeerResponse>()]));
}

#[test]
fn job_files_of_users() {
    let valid = || {
        let file = "command = [\"sim\"]\narray = \"0-9%2\"\nafter = [7, \"x\"]\n[env]\nMODE = \"fast\"\n";
        vec![
            ("whole".to_owned(), file.as_bytes().to_vec()),
            ("line".to_owned(), b"command = 'a | b'".to_vec()),
        ]
    };
    let read: Decoder = Box::new(|input| {
        let text = String::from_utf8_lossy(input);
        Outcome::of(&crate::cli::jobs::read_job_file(&text))
    });
    target!("job-files").valid(valid).length_max(64 << 10).run(read);
}

#[test]
fn messages_of_users_and_answers_to_them() {
    let valid = || {
        let movement = MoveRequest { pid: 7, to: Target::Node("bravo".into()), dry_run: false, wait: true };
        let requests = [
            Request::View { all: true },
            Request::Register,
            Request::Move(movement),
            Request::Why { pid: 7, node: Some("bravo".into()) },
            Request::Events { after: 1 },
            Request::Job(JobRequest::Submit(Box::new(new_job()))),
            Request::Job(JobRequest::Output { job: "71_3".into(), stream: Stream::Err, offset: 9 }),
            Request::TokenCreate { ttl: Duration::from_secs(60) },
            Request::TokenRevoke { id: "0a0b0c0d".into() },
        ];
        let why = WhyReport {
            pid: 7,
            command: "sim".into(),
            home: "alpha".into(),
            at: "alpha".into(),
            holds: vec![Reason { text: "shared memory".into(), fix: None }],
            nodes: Vec::new(),
            refused_calls: vec![("shmget".into(), 2)],
        };
        let responses = [
            Response::View(Box::default()),
            Response::Progress { round: 1, bytes_sent: 2 },
            Response::Moved { from: "alpha".into(), report: MoveReport::default() },
            Response::Why(why),
            Response::Failed(Failure::new(ExitCode::Failed, "cannot", "because").next("try")),
        ];
        let keeper = [FromKeeper::Held { by: 7 }, FromKeeper::Said("up".into()), FromKeeper::Stopped];
        [
            all(0, "greeting", &[Greeting::ours()]),
            all(1, "request", &requests),
            all(2, "response", &responses),
            all(3, "keeper", &keeper),
            all(4, "front", &[ToKeeper::Stop]),
        ]
        .concat()
    };
    target!("users").valid(valid).length_max(MESSAGE_BYTES_MAX).run(choice([
        messages::<Greeting>(),
        messages::<Request>(),
        messages::<Response>(),
        messages::<FromKeeper>(),
        messages::<ToKeeper>(),
    ]));
}

#[test]
fn messages_between_agent_and_warden() {
    let valid = || {
        let status = WardenStatus {
            pid: 5,
            key: KeyHash([1; 32]),
            role: WardenRole::Guest,
            process: process(),
            home_name: "alpha".into(),
            at: "bravo".into(),
            epoch: Epoch(2),
            moving: false,
            processes: vec![ProcessStatus { pid: 77, local_pid: 5, command: "sim".into(), threads: 2 }],
            calls: 9,
            call_bytes: 99,
            refused_calls: vec![("shmget".into(), 1)],
        };
        let asked = [
            ToWarden::Prepare,
            ToWarden::Move { node: "bravo".into(), accept: accept() },
            ToWarden::PeerGone { key: KeyHash([1; 32]) },
        ];
        let said = [
            FromWarden::Offer(offer()),
            FromWarden::Refused(vec!["a reason".into()]),
            FromWarden::Progress { round: 1, bytes: 2 },
            FromWarden::Moved(MoveReport::default()),
            FromWarden::Failed { reason: "no".into(), goes_on: true },
            FromWarden::Status(status),
        ];
        [
            all(0, "asked", &asked),
            all(1, "said", &said),
            all(2, "offer", &[offer()]),
            all(3, "accept", &[accept()]),
        ]
        .concat()
    };
    target!("control").valid(valid).length_max(MESSAGE_BYTES_MAX).run(choice([
        messages::<ToWarden>(),
        messages::<FromWarden>(),
        messages::<Offer>(),
        messages::<Accept>(),
    ]));
}

#[test]
fn texts_of_files_and_command_lines() {
    let valid = || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("members.json");
        let node =
            NodeFile { cluster: "lab".into(), name: "alpha".into(), listen: ([10, 0, 0, 1], 7749).into() };
        let mut members = Members::default();
        members.learn(hello().member);
        members.save(&path).unwrap();
        let status = "Name:\tx\nUid:\t1000\t1001\t1002\t1000\nVmSize:\t9 kB\nVmRSS:\t 12 kB\n";
        let stat = "7 (a) R 9 (\n) S 1 7 7 0 -1 0 1 2 3 4 50 60 0 0 20 0 3 0 12345 1000 10 0";
        vec![
            ("node", chosen(0, &serde_json::to_vec(&node).unwrap())),
            ("members", chosen(1, &std::fs::read(&path).unwrap())),
            ("ports", chosen(2, b"7750-8749")),
            ("name", chosen(3, b"alpha-2")),
            ("proc", chosen(4, format!("{stat}\0{status}").as_bytes())),
        ]
    };
    let words: &[&[u8]] =
        &[b"\"", b"[", b"{", b"null", b"1e999", b"\\u0000", b") Z ", b"\nUid:\t", b"VmRSS:"];
    let target = target!("texts").valid(valid).words(words);
    let members: Decoder = Box::new(|input| {
        // What errors say has words of the input in it.
        let rows = serde_json::from_slice(input).map_err(|error| error.classify());
        Outcome::of(&rows.map(|rows| Members::of(rows).iter().count().min(3)))
    });
    target.run(choice([
        text(
            |text| serde_json::from_str::<NodeFile>(text).map_err(|error| error.classify()),
            |file| serde_json::to_string(file).unwrap(),
        ),
        members,
        text(|text| text.parse::<Ports>().map_err(drop), Ports::to_string),
        text(|text| config::node_name(text).map_err(drop), String::clone),
        Box::new(|input| {
            let text = String::from_utf8_lossy(input);
            let (stat, status) = text.split_once('\0').unwrap_or((&text, ""));
            Outcome::of(&proc::parse(7, stat, status).ok_or("no process"))
        }),
    ]));
}
