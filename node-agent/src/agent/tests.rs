//! An agent without a network: what it answers, with a warden that is a task of the test.

use std::time::SystemTime;

use migration::cpu::CpuNeeds;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use transport::frame::{Reader, Writer};
use transport::identity::Authority;
use transport::{Epoch, KeyHash, NodeId, ProcessId};

use super::access::Caller;
use super::protocol::{PeerRequest, PeerResponse};
use super::*;
use crate::api::{MoveRequest, Request, Response, Target};
use crate::exit::{ExitCode, Failure};
use crate::mover::Refusal;
use crate::proc;
use crate::warden::control::{
    FromWarden, MoveReport, Needs, Offer, ProcessStatus, ToWarden, WardenRole, WardenStatus,
};

mod hostile;

const ROOT: Caller = Caller { uid: 0, pid: None };

struct Lone {
    agent: Agent,
    queue: mpsc::Receiver<Event>,
    process: proc::Process,
    _dir: tempfile::TempDir,
}

/// The agent of alpha, which knows of bravo but cannot reach it.
fn alpha() -> Lone {
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs { state: dir.path().join("state"), run: dir.path().join("run") };
    dirs.make_run().unwrap();
    dirs.make_state().unwrap();
    let listen = ([127, 0, 0, 1], 7749).into();
    let bravo = Member { id: NodeId([2; 32]), name: "bravo".into(), addr: listen };
    let mut members = Members::default();
    members.learn(bravo);
    members.save(&dirs.members_file()).unwrap();
    let authority = Authority::create("lab", SystemTime::now()).unwrap();
    let identity = authority.issue("alpha", SystemTime::now()).unwrap();
    let options = Options {
        reserve: Reserve::default(),
        versions: Versions::default(),
        socket: dirs.agent_socket(),
        dirs,
        ports: "7750-7760".parse().unwrap(),
        allow_root: true,
        lease_s: crate::config::LEASE_S,
        program: "/bin/false".into(),
    };
    let node = NodeFile { cluster: "lab".into(), name: "alpha".into(), listen };
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let agent = Agent::new(&options, &node, &identity, events).unwrap();
    let process = proc::process(std::process::id()).unwrap();
    Lone { agent, queue, process, _dir: dir }
}

impl Lone {
    /// Puts a warden of this test's process in place that answers by `answers`; it closes when that is `None`.
    fn warden(&self, answers: fn(&Lone, &ToWarden) -> Option<FromWarden>) {
        let (pid, start_ticks) = (self.process.pid, self.process.start_ticks);
        let listener = UnixListener::bind(self.agent.nursery.home_socket(pid, start_ticks)).unwrap();
        let all = [ToWarden::Prepare, ToWarden::Recall, ToWarden::Status];
        let answers: Vec<Option<FromWarden>> = all.iter().map(|message| answers(self, message)).collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, writer) = stream.into_split();
                let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
                let answers = answers.clone();
                tokio::spawn(async move {
                    while let Ok(Some((message, _))) = reader.recv::<ToWarden>().await {
                        let index = match message {
                            ToWarden::Prepare => 0,
                            ToWarden::Recall => 1,
                            ToWarden::Status => 2,
                            ToWarden::Move { .. } | ToWarden::PeerGone { .. } => return,
                        };
                        let Some(answer) = &answers[index] else { return };
                        writer.send(answer, &[]).await.unwrap();
                    }
                });
            }
        });
    }

    fn offer(&self, needs: Needs) -> Offer {
        let (pid, start_ticks) = (self.process.pid, self.process.start_ticks);
        Offer {
            process: ProcessId { home: self.agent.me.id, pid, start_ticks },
            home_name: "alpha".into(),
            command: "sim".into(),
            epoch: Epoch(1),
            home_key: KeyHash([3; 32]),
            needs,
        }
    }

    fn status(&self, at: &str) -> WardenStatus {
        let pid = self.process.pid;
        WardenStatus {
            pid: std::process::id(),
            key: KeyHash([3; 32]),
            role: WardenRole::Home,
            process: self.offer(needs()).process,
            home_name: "alpha".into(),
            at: at.into(),
            epoch: Epoch(1),
            moving: false,
            processes: vec![ProcessStatus { pid, local_pid: pid, command: "sim".into(), threads: 1 }],
            calls: 0,
            call_bytes: 0,
            refused_calls: vec![],
        }
    }

    fn ask(&mut self, request: Request) -> mpsc::Receiver<Response> {
        let (reply, responses) = mpsc::channel(8);
        self.agent.handle(Event::Asked { caller: ROOT, request, reply });
        responses
    }

    fn begin_move(&mut self, to: &str, dry_run: bool) -> mpsc::Receiver<Response> {
        let (pid, to) = (self.process.pid, Target::parse(to));
        self.ask(Request::Move(MoveRequest { pid, to, dry_run, wait: true }))
    }

    /// Lets the agent work until the client has an answer.
    async fn answer(&mut self, responses: &mut mpsc::Receiver<Response>) -> Response {
        let working = async {
            loop {
                tokio::select! {
                    biased;
                    response = responses.recv() => return response.unwrap(),
                    event = self.queue.recv() => self.agent.handle(event.unwrap()),
                }
            }
        };
        timeout(Duration::from_secs(20), working).await.unwrap()
    }

    async fn refused(&mut self, mut responses: mpsc::Receiver<Response>) -> Failure {
        match self.answer(&mut responses).await {
            Response::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// What the agent answers a node that asks about an offer.
    async fn check(&mut self, from: NodeId, offer: Offer) -> Vec<Refusal> {
        let (reply, response) = oneshot::channel();
        let request = PeerRequest::Check(Box::new(offer));
        self.agent.handle(Event::PeerAsked { id: from, request, reply });
        match response.await.unwrap() {
            PeerResponse::Refused(refusals) => refusals,
            other => panic!("{other:?}"),
        }
    }
}

fn needs() -> Needs {
    Needs { memory_bytes: 1 << 20, processes: 1, threads: 1, uid: 0, cpu: CpuNeeds::default() }
}

#[tokio::test]
async fn a_node_that_is_not_there_refuses() {
    let mut alpha = alpha();
    alpha.warden(|alpha, message| match message {
        ToWarden::Prepare => Some(FromWarden::Offer(alpha.offer(needs()))),
        _ => Some(FromWarden::Status(alpha.status("alpha"))),
    });
    let responses = alpha.begin_move("bravo", false);
    let failure = alpha.refused(responses).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.to_string().contains("bravo: it does not answer"), "{failure}");
    assert!(alpha.agent.moves.is_empty());
}

#[tokio::test]
async fn what_the_warden_refuses_is_told_and_nothing_else_happens() {
    let mut alpha = alpha();
    alpha.warden(|alpha, message| match message {
        ToWarden::Prepare => Some(FromWarden::Refused(vec!["7f00-7f10 rw-s is shared".into()])),
        _ => Some(FromWarden::Status(alpha.status("alpha"))),
    });
    let responses = alpha.begin_move("bravo", true);
    let failure = alpha.refused(responses).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.to_string().contains("rw-s"), "{failure}");
    assert!(alpha.agent.log.latest(1).is_empty(), "a dry run is no event");
}

#[tokio::test]
async fn a_family_comes_home_and_is_counted() {
    let mut alpha = alpha();
    alpha.warden(|alpha, message| match message {
        ToWarden::Recall => {
            let report = MoveReport { epoch: Epoch(2), at: "alpha".into(), ..MoveReport::default() };
            Some(FromWarden::Moved(MoveReport { pause_us: 9000, ..report }))
        }
        ToWarden::Status => Some(FromWarden::Status(alpha.status("bravo"))),
        _ => None,
    });
    alpha.agent.ask_wardens();
    while alpha.agent.residence(alpha.process.pid) != "bravo" {
        let event = timeout(Duration::from_secs(20), alpha.queue.recv()).await.unwrap().unwrap();
        alpha.agent.handle(event);
    }
    let mut responses = alpha.begin_move("bravo", false);
    assert!(matches!(alpha.answer(&mut responses).await, Response::AlreadyThere { at } if at == "bravo"));
    let mut responses = alpha.begin_move("home", false);
    let Response::Moved { from, report } = alpha.answer(&mut responses).await else { panic!("not moved") };
    assert_eq!((from.as_str(), report.at.as_str()), ("bravo", "alpha"));
    let cared = alpha.agent.care.get(alpha.process.pid).unwrap();
    assert_eq!((cared.moves, cared.last_pause_us), (1, Some(9000)));
}

#[tokio::test]
async fn a_process_on_the_move_is_busy() {
    let mut alpha = alpha();
    alpha.warden(|_, _| None);
    let first = alpha.begin_move("bravo", false);
    let second = alpha.begin_move("bravo", false);
    let failure = alpha.refused(second).await;
    assert_eq!(failure.code, ExitCode::Refused);
    assert!(failure.to_string().contains("busy: moving"), "{failure}");
    let failure = alpha.refused(first).await;
    assert_eq!(failure.code, ExitCode::Failed);
    assert!(failure.to_string().contains("home warden"), "{failure}");
}

#[tokio::test]
async fn an_offer_is_checked_before_anything_is_started() {
    let mut alpha = alpha();
    let home = alpha.agent.me.id;
    let offer = alpha.offer(needs());
    assert_eq!(alpha.check(home, offer.clone()).await, []);
    assert_eq!(alpha.check(NodeId([2; 32]), offer.clone()).await, [Refusal::NotHome]);
    let huge = Offer { needs: Needs { memory_bytes: 1 << 60, ..needs() }, ..offer };
    assert!(matches!(alpha.check(home, huge).await.as_slice(), [Refusal::Memory { .. }]));
}

#[tokio::test]
async fn the_view_has_a_row_for_each_member() {
    let mut alpha = alpha();
    let mut responses = alpha.ask(Request::View { all: true });
    let Response::View(view) = alpha.answer(&mut responses).await else { panic!("no view") };
    let states: Vec<_> = view.nodes.iter().map(|node| (node.name.as_str(), node.state.word())).collect();
    assert_eq!(states, [("alpha", "ok"), ("bravo", "lost")]);
    assert!(view.processes.iter().any(|process| process.pid == alpha.process.pid));
}
