//! Agents: nodes of the cluster and of others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::{LOOPBACK, soon};
use crate::endpoint::{AgentEndpoint, Distrust, EndpointError, Profile, config, dial, tls};
use crate::identity::{Authority, AuthorityPin, NodeIdentity};
use crate::version::{Protocol, Versions};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn authority() -> Authority {
    Authority::create("lab", SystemTime::now()).unwrap()
}

fn agent(identity: &NodeIdentity) -> AgentEndpoint {
    AgentEndpoint::bind(identity, SocketAddr::new(LOOPBACK, 0)).unwrap()
}

/// An agent with a fresh certificate.
fn node(authority: &Authority, name: &str) -> AgentEndpoint {
    agent(&authority.issue(name, SystemTime::now()).unwrap())
}

/// Dials a cluster as someone who trusts it, and shows whatever he has.
async fn dial_as(
    shown: Option<&NodeIdentity>,
    addr: SocketAddr,
    trusted: AuthorityPin,
) -> Result<(quinn::Connection, u16), EndpointError> {
    let versions = Versions::default();
    let credentials = shown.map(|node| tls::Credentials { chain: node.chain(), key: node.private_key() });
    let verifier = tls::ClusterNode::new(tls::Anchor::Pin(trusted), None);
    let tls = tls::client(credentials, Arc::new(verifier), versions.offers(&[Protocol::Agent])).unwrap();
    let client =
        config::client(tls, Profile::Latency, config::Limits::AGENT, config::Pulse::default()).unwrap();
    let endpoint = quinn::Endpoint::client(SocketAddr::new(LOOPBACK, 0)).unwrap();
    soon(dial::dial(&endpoint, client, addr, &versions)).await
}

#[tokio::test]
async fn another_node_than_the_expected_one_is_refused() {
    let authority = authority();
    let (first, second) = (node(&authority, "n1"), authority.issue("n2", SystemTime::now()).unwrap());
    let mistaken = soon(agent(&second).connect(first.local_addr(), Some(second.id()))).await;
    assert!(matches!(mistaken, Err(EndpointError::WrongPeer { why: Distrust::Key, .. })), "{mistaken:?}");
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_by_either_side() {
    let [authority, other] = [(); 2].map(|()| authority());
    let (first, stranger) = (node(&authority, "n1"), other.issue("n9", SystemTime::now()).unwrap());
    let error = soon(agent(&stranger).connect(first.local_addr(), None)).await.unwrap_err();
    assert!(matches!(error, EndpointError::WrongPeer { why: Distrust::Authority, .. }), "{error:?}");

    let error = dial_as(Some(&stranger), first.local_addr(), authority.pin()).await.unwrap_err();
    assert!(matches!(error, EndpointError::Refused { why: Distrust::Authority, .. }), "{error:?}");
    assert!(timeout(Duration::from_millis(50), first.accept()).await.is_err());
}

#[tokio::test]
async fn without_a_certificate_there_is_only_joining() {
    let authority = authority();
    let first = node(&authority, "n1");
    let error = dial_as(None, first.local_addr(), authority.pin()).await.unwrap_err();
    assert!(matches!(error, EndpointError::Refused { why: Distrust::Missing, .. }), "{error:?}");
    assert!(timeout(Duration::from_millis(50), first.accept()).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let authority = authority();
    let first = node(&authority, "n1");
    let stale = agent(&authority.issue("n2", SystemTime::now() - 31 * DAY).unwrap());
    let refused = soon(stale.connect(first.local_addr(), None)).await;
    assert!(matches!(refused, Err(EndpointError::Refused { why: Distrust::Expired, .. })), "{refused:?}");
    let refused = soon(first.connect(stale.local_addr(), None)).await;
    assert!(matches!(refused, Err(EndpointError::WrongPeer { why: Distrust::Expired, .. })), "{refused:?}");
}
