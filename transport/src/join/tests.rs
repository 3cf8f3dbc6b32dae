//! A cluster of two over loopback, and everyone who is not let in.

use std::net::{Ipv4Addr, UdpSocket};

use proptest::prelude::*;

use super::*;
use crate::endpoint::{AgentEndpoint, Closed, Distrust, Joins, Peer};
use crate::identity::AuthorityPin;
use crate::wire;

const HOUR: Duration = Duration::from_secs(3600);

/// The node where a cluster is founded.
struct Founder {
    authority: Authority,
    endpoint: AgentEndpoint,
    joins: Joins,
    tokens: TokenStore,
}

impl Founder {
    fn new() -> Founder {
        Founder::with_versions(Versions::default())
    }

    fn with_versions(versions: Versions) -> Founder {
        let authority = Authority::create("lab", SystemTime::now()).unwrap();
        let identity = authority.issue("n1", SystemTime::now()).unwrap();
        let endpoint = AgentEndpoint::bind_with(&identity, loopback(), versions).unwrap();
        let joins = endpoint.joins();
        Founder { authority, endpoint, joins, tokens: TokenStore::default() }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    fn token(&mut self) -> JoinToken {
        self.tokens.create(self.authority.pin(), HOUR, SystemTime::now()).unwrap()
    }

    /// Lets one joiner try, at this time.
    async fn serve(&mut self, token: &JoinToken, name: &str, now: SystemTime) -> Result<Joined, JoinError> {
        let addr = self.addr();
        let Founder { authority, joins, tokens, .. } = self;
        let serving = async {
            let connection = joins.accept().await.unwrap();
            assert_eq!(*connection.peer(), Peer::Joiner);
            let peers = vec![addr.to_string()];
            let taken = |name: &str| name == "n1";
            answer(connection, async |request| grant(&request, tokens, authority, taken, peers, now)).await
        };
        let (joined, answered) = soon(async { tokio::join!(join(addr, token, name), serving) }).await;
        assert_eq!(joined.is_ok(), matches!(answered, Ok(JoinReply::Granted(_))));
        joined
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(20), future).await.expect("it happens within the deadline")
}

async fn refused(founder: &mut Founder, token: &JoinToken, name: &str, now: SystemTime) -> JoinRefusal {
    match founder.serve(token, name, now).await {
        Err(JoinError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_bytes_of_the_messages_never_change() {
    let bytes = |message: &JoinReply| {
        let mut bytes = Vec::new();
        wire::encode(message, &mut bytes).unwrap();
        bytes
    };
    let grant = JoinGrant { certificate_pem: "c".into(), authority_pem: "a".into(), peers: vec!["p".into()] };
    assert_eq!(bytes(&JoinReply::Granted(grant)), b"\0\x01c\x01a\x01\x01p");
    let refused = |refusal| bytes(&JoinReply::Refused(refusal));
    assert_eq!(refused(JoinRefusal::Token(TokenError::Malformed)), [1, 0, 0]);
    assert_eq!(refused(JoinRefusal::Token(TokenError::NoRandomness)), [1, 0, 5]);
    assert_eq!(refused(JoinRefusal::NameTaken("n".into())), [1, 1, 1, b'n']);
    assert_eq!(refused(JoinRefusal::Signing("s".into())), [1, 2, 1, b's']);

    let token: JoinToken =
        format!("HM1-{}-{}-{}", "01".repeat(4), "02".repeat(16), "03".repeat(16)).parse().unwrap();
    let mut request = Vec::new();
    wire::encode(&JoinRequest { token, name: "n".into(), request_der: vec![9] }, &mut request).unwrap();
    assert_eq!(request, [&[1; 4][..], &[2; 16], &[3; 16], &[1, b'n'], &[1, 9]].concat());
}

proptest! {
    #[test]
    fn any_bytes_are_a_join_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = wire::decode::<JoinRequest>(&bytes);
        let _ = wire::decode::<JoinReply>(&bytes);
    }
}

#[tokio::test]
async fn a_joined_node_is_known_by_name_and_id() {
    let mut founder = Founder::new();
    let token = founder.token();
    let joined = founder.serve(&token, "n2", SystemTime::now()).await.unwrap();
    assert_eq!(joined.peers, [founder.addr().to_string()]);

    let id = joined.identity.id();
    let second = AgentEndpoint::bind(&joined.identity, loopback()).unwrap();
    let (dialled, accepted) =
        soon(async { tokio::join!(second.connect(founder.addr(), None), founder.endpoint.accept()) }).await;
    assert_eq!(*accepted.unwrap().peer(), Peer::Node { id, name: "n2".into() });
    assert!(matches!(dialled.unwrap().peer(), Peer::Node { name, .. } if name == "n1"));

    let (back, _accepted) = soon(async {
        tokio::join!(founder.endpoint.connect(second.local_addr(), Some(id)), second.accept())
    })
    .await;
    assert_eq!(*back.unwrap().peer(), Peer::Node { id, name: "n2".into() });
}

#[tokio::test]
async fn a_token_lets_in_once_and_in_time() {
    let mut founder = Founder::new();
    let (token, now) = (founder.token(), SystemTime::now());
    founder.serve(&token, "n2", now).await.unwrap();
    let used = refused(&mut founder, &token, "n3", now).await;
    assert_eq!(used, JoinRefusal::Token(TokenError::Used));

    let token = founder.token();
    let expired = refused(&mut founder, &token, "n3", now + 2 * HOUR).await;
    assert_eq!(expired, JoinRefusal::Token(TokenError::Expired));
}

#[tokio::test]
async fn a_token_that_was_not_made_here_does_not_let_in() {
    let mut founder = Founder::new();
    let pin = founder.authority.pin();
    let stray = TokenStore::default().create(pin, HOUR, SystemTime::now()).unwrap();
    let unknown = refused(&mut founder, &stray, "n2", SystemTime::now()).await;
    assert_eq!(unknown, JoinRefusal::Token(TokenError::Unknown));
}

#[tokio::test]
async fn a_bad_or_taken_name_does_not_cost_the_token() {
    let mut founder = Founder::new();
    let (token, now) = (founder.token(), SystemTime::now());
    let bad = refused(&mut founder, &token, "n 2", now).await;
    assert!(bad.to_string().contains("letters, digits"), "{bad}");
    assert_eq!(refused(&mut founder, &token, "n1", now).await, JoinRefusal::NameTaken("n1".into()));
    founder.serve(&token, "n2", now).await.unwrap();
    // Without a good token nobody learns which names there are.
    assert_eq!(refused(&mut founder, &token, "n1", now).await, JoinRefusal::Token(TokenError::Used));
}

#[tokio::test]
async fn a_joiner_tells_its_secret_only_to_the_cluster_of_its_token() {
    let mut impostor = Founder::new();
    let other = TokenStore::default().create(AuthorityPin([7; 16]), HOUR, SystemTime::now()).unwrap();
    let error = join(impostor.addr(), &other, "n2").await.unwrap_err();
    assert!(
        matches!(error, JoinError::Endpoint(EndpointError::WrongPeer { why: Distrust::Authority, .. })),
        "{error:?}"
    );
    assert!(timeout(Duration::from_millis(50), impostor.joins.accept()).await.is_err());
}

#[tokio::test]
async fn without_a_common_version_the_refusal_names_both() {
    let mut founder = Founder::with_versions(Versions::announcing(3));
    let token = founder.token();
    let text = match join(founder.addr(), &token, "n2").await {
        Err(JoinError::Endpoint(error)) => error.to_string(),
        other => panic!("joined: {other:?}"),
    };
    assert!(text.contains("speaks version 3, 2 of the protocol and this side 1"), "{text}");
}

#[tokio::test]
async fn a_node_without_the_authority_takes_no_joiners() {
    let mut founder = Founder::new();
    let token = founder.token();
    let Founder { endpoint, joins, .. } = founder;
    drop(joins);
    let error = join(endpoint.local_addr(), &token, "n2").await.unwrap_err();
    assert!(matches!(error, JoinError::Endpoint(EndpointError::Busy { .. })), "{error:?}");
}

#[tokio::test]
async fn the_eleventh_attempt_in_a_row_is_refused() {
    let mut founder = Founder::new();
    let stray = TokenStore::default().create(founder.authority.pin(), HOUR, SystemTime::now()).unwrap();
    for _ in 0..10 {
        refused(&mut founder, &stray, "n2", SystemTime::now()).await;
    }
    let error = join(founder.addr(), &stray, "n2").await.unwrap_err();
    assert!(error_text(&error).contains("too many attempts"), "{error:?}");

    // Those who belong to the cluster do not notice.
    let identity = founder.authority.issue("n2", SystemTime::now()).unwrap();
    let second = AgentEndpoint::bind(&identity, loopback()).unwrap();
    soon(second.connect(founder.addr(), None)).await.unwrap();
}

fn error_text(error: &JoinError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let mut founder = Founder::new();
    let vandal = UdpSocket::bind(loopback()).unwrap();
    for first in (0..=u8::MAX).cycle().take(2000) {
        vandal.send_to(&[first, 0, 0, 0, 1, 8, 1, 2, 3, 4], founder.addr()).unwrap();
    }
    let token = founder.token();
    founder.serve(&token, "n2", SystemTime::now()).await.unwrap();
}

#[tokio::test]
async fn a_joiner_that_says_nothing_is_dropped() {
    let mut founder = Founder::new();
    let silent = dial_to_join(founder.addr(), founder.authority.pin(), &Versions::default()).await.unwrap();
    let connection = founder.joins.accept().await.unwrap();
    let answered = soon(answer(connection, async |_| panic!("nothing was asked"))).await;
    assert!(matches!(answered, Err(JoinError::Silent)));
    assert!(matches!(soon(silent.closed()).await, Closed::Peer { .. }));
}
