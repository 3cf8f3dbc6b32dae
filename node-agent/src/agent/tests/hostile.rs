//! A member with a valid certificate that says what is not its business.

use std::net::{SocketAddr, UdpSocket};

use tokio::task::JoinHandle;
use transport::channel::Channel;
use transport::endpoint::Connection;

use super::super::peers::ask;
use super::super::protocol::Hello;
use super::*;
use crate::api::client::Client;
use crate::config::write_json;

/// An agent that serves, and the connection of a member that no agent of ours runs.
struct Attacked {
    alpha: Member,
    mallory: Member,
    endpoint: AgentEndpoint,
    socket: PathBuf,
    serving: JoinHandle<Result<(), AgentError>>,
    _dir: tempfile::TempDir,
}

impl Attacked {
    async fn start() -> (Attacked, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs { state: dir.path().join("state"), run: dir.path().join("run") };
        dirs.make_state().unwrap();
        let authority = Authority::create("lab", SystemTime::now()).unwrap();
        let identity = authority.issue("alpha", SystemTime::now()).unwrap();
        identity.save(&dirs.identity()).unwrap();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listen = free.local_addr().unwrap();
        write_json(&dirs.node_file(), &NodeFile { cluster: "lab".into(), name: "alpha".into(), listen })
            .unwrap();
        drop(free);
        let socket = dirs.agent_socket();
        let options = Options {
            reserve: Reserve::default(),
            versions: Versions::default(),
            socket: socket.clone(),
            dirs,
            ports: "7750-7760".parse().unwrap(),
            allow_root: false,
            lease_s: crate::config::LEASE_S,
            program: "/bin/false".into(),
        };
        let serving = tokio::spawn(serve(options));
        let own = authority.issue("mallory", SystemTime::now()).unwrap();
        let anywhere: SocketAddr = ([127, 0, 0, 1], 0).into();
        let endpoint = AgentEndpoint::bind(&own, anywhere).unwrap();
        let mallory = Member { id: own.id(), name: "mallory".into(), addr: endpoint.local_addr() };
        let alpha = Member { id: identity.id(), name: "alpha".into(), addr: listen };
        let attacked = Attacked { alpha, mallory, endpoint, socket, serving, _dir: dir };
        let connection = attacked.dial().await;
        (attacked, connection)
    }

    async fn dial(&self) -> Connection {
        let dialling = async {
            loop {
                if let Ok(connection) = self.endpoint.connect(self.alpha.addr, Some(self.alpha.id)).await {
                    return connection;
                }
            }
        };
        timeout(LIMIT, dialling).await.unwrap()
    }

    fn offer(&self, home: NodeId, needs: Needs) -> Box<Offer> {
        Box::new(Offer {
            process: ProcessId { home, pid: 4711, start_ticks: 7 },
            home_name: "mallory".into(),
            command: "sim".into(),
            epoch: Epoch(1),
            home_key: KeyHash([3; 32]),
            needs,
        })
    }

    /// What the agent's own users see: the names of the nodes, and how many processes of other nodes.
    async fn view(&self) -> (Vec<String>, usize) {
        let mut client = Client::connect(&self.socket).await.unwrap();
        let asked = client.ask(&Request::View { all: false }, |_, _| {}).await.unwrap();
        let Response::View(view) = asked else { panic!("no view") };
        (view.nodes.into_iter().map(|node| node.name).collect(), view.processes.len())
    }
}

impl Drop for Attacked {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What is not its own it neither offers nor takes.
#[tokio::test]
async fn a_member_has_a_say_about_its_own_families_only() {
    let (attacked, connection) = Attacked::start().await;
    let (alpha, mallory, third) = (attacked.alpha.id, attacked.mallory.id, NodeId([9; 32]));
    let user = Needs { uid: 1000, ..needs() };
    let huge = Needs { memory_bytes: 1 << 60, ..user.clone() };
    let crowd = Needs { threads: u32::MAX, ..user.clone() };
    let table = [
        (alpha, user.clone(), "does not come from the home"),
        (third, user, "does not come from the home"),
        (mallory, needs(), "no processes of uid 0"),
        (mallory, huge, "the program needs"),
        (mallory, crowd, "threads, more than"),
    ];
    for (home, needs, words) in table {
        for place in [false, true] {
            let offer = attacked.offer(home, needs.clone());
            let request = if place { PeerRequest::Place(offer) } else { PeerRequest::Check(offer) };
            let Ok(PeerResponse::Refused(refusals)) = ask(&connection, &request).await else {
                panic!("{request:?} was not refused")
            };
            let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
            assert!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {reasons:?}");
        }
    }
}

/// Neither another name nor another node's rows nor the death of another node's wardens.
#[tokio::test]
async fn a_member_speaks_for_itself_only() {
    let (attacked, connection) = Attacked::start().await;
    let machine = Machine::of_this_process().unwrap();
    let lies = [
        Member { name: "bravo".into(), ..attacked.mallory.clone() },
        Member { id: attacked.alpha.id, ..attacked.mallory.clone() },
        Member { id: NodeId([7; 32]), name: "charlie".into(), ..attacked.mallory.clone() },
    ];
    for member in lies {
        let hello = Hello { member, machine: machine.clone(), members: Vec::new() };
        assert!(matches!(ask(&connection, &PeerRequest::Hello(hello)).await, Ok(PeerResponse::Hello(_))));
    }
    let foreign = ProcessId { home: NodeId([9; 32]), pid: 1, start_ticks: 1 };
    let gone = PeerRequest::WardenGone { process: foreign, key: KeyHash([1; 32]) };
    assert!(matches!(ask(&connection, &gone).await, Ok(PeerResponse::Noted)));
    assert_eq!(attacked.view().await, (vec!["alpha".to_owned()], 0));
}

/// Requests that there are not, more streams than there may be, and connection upon connection: the agent answers its
/// users all the while.
#[tokio::test]
async fn a_member_cannot_exhaust_an_agent() {
    let (attacked, first) = Attacked::start().await;
    let (mut sender, mut receiver) = first.open(Channel::Agent).await.unwrap();
    sender.send(&(99u32, "token create"), &[]).await.unwrap();
    let answered = timeout(LIMIT, receiver.recv::<PeerResponse>()).await.unwrap();
    assert!(!matches!(answered, Ok(Some(_))), "{answered:?}");

    let mut last = first.clone();
    for _ in 0..8 {
        last = attacked.dial().await;
    }
    timeout(LIMIT, first.closed()).await.unwrap();

    let mut open = Vec::new();
    while let Ok(stream) = timeout(QUIET, last.open(Channel::Agent)).await {
        open.push(stream.unwrap());
        assert!(open.len() <= STREAMS_MAX, "no limit to streams");
    }
    assert!(open.len() > STREAMS_MAX / 2, "{} streams", open.len());
    assert_eq!(attacked.view().await.0, ["alpha"]);
}

/// `Limits::AGENT` of the transport.
const STREAMS_MAX: usize = 1_024;

const LIMIT: Duration = Duration::from_secs(20);

/// A stream that may be opened is opened at once.
const QUIET: Duration = Duration::from_secs(1);
