//! Letting new nodes in: the node that holds the cluster's authority checks tokens and signs certificates, and the
//! cluster agrees on each newcomer first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use transport::endpoint::AgentEndpoint;
use transport::identity::{Authority, NodeIdentity, TokenError, TokenStore};
use transport::join::{JoinGrant, JoinRefusal, JoinReply, JoinRequest, answer};

use super::AgentError;
use super::agreed::{failure, role};
use super::state::Event;
use super::welcome::Welcome;
use crate::api::{Response, TokenInfo};
use crate::cluster::membership::{self, Membership, Role, Token};
use crate::cluster::{Command, Handle, ProposeError, Refused, State};
use crate::config::{self, Dirs};
use crate::exit::{ExitCode, Failure, chain};
use crate::members::Member;

/// Decides who may join.
#[derive(Clone, Debug)]
pub(super) struct Admitter {
    authority: Option<Arc<Authority>>,
    cluster: String,
    me: Member,
    handle: Handle,
}

impl Admitter {
    /// Reads the authority, if this node holds it.
    pub(super) fn load(
        dirs: &Dirs,
        cluster: &str,
        me: Member,
        handle: Handle,
    ) -> Result<Admitter, AgentError> {
        let held = dirs.authority().exists();
        let authority = held.then(|| Authority::load(&dirs.authority())).transpose()?.map(Arc::new);
        Ok(Admitter { authority, cluster: cluster.to_owned(), me, handle })
    }

    pub(super) async fn create_token(&self, ttl: Duration, server: bool) -> Result<Response, Failure> {
        let what = "cannot make a token";
        let authority = self.authority(what)?;
        let now = SystemTime::now();
        let mut made = TokenStore::default();
        let token = made.create(authority.pin(), ttl, now);
        let token = token.map_err(|error| Failure::from_error(ExitCode::Failed, what, &error))?;
        for record in made.records().cloned() {
            let token = Token { record, role: role(server) };
            self.propose(membership::Command::AddToken { now_s: unix_s(now), token })
                .await
                .map_err(|error| failure(what, &error))?;
        }
        Ok(Response::Token { token: token.to_string(), addr: self.me.addr.to_string() })
    }

    pub(super) fn list_tokens(&self) -> Result<Response, Failure> {
        self.authority("cannot list tokens")?;
        let (state, now) = (self.state(), unix_s(SystemTime::now()));
        let tokens = state.membership.tokens().values().map(|token| &token.record);
        let usable = tokens.filter(|record| !record.used && record.expires_s > now);
        let info = usable.map(|record| TokenInfo { id: hex(record.id), expires_unix_s: record.expires_s });
        Ok(Response::Tokens(info.collect()))
    }

    pub(super) async fn revoke_token(&self, id: &str) -> Result<Response, Failure> {
        let what = format!("cannot revoke token {id}");
        self.authority(&what)?;
        let known = self.state().membership.tokens().keys().copied().find(|known| hex(*known) == id);
        let Some(id) = known else {
            let why = "there is no such token";
            return Err(Failure::new(ExitCode::NotFound, what, why).next("homing token list"));
        };
        self.propose(membership::Command::RevokeToken { id })
            .await
            .map_err(|error| failure(&what, &error))?;
        Ok(Response::Revoked)
    }

    async fn propose(&self, command: membership::Command) -> Result<(), ProposeError> {
        self.handle.propose(Command::Membership(command)).await.map(drop)
    }

    fn state(&self) -> Arc<State> {
        self.handle.state().borrow().clone()
    }

    fn authority(&self, what: &str) -> Result<&Authority, Failure> {
        self.authority.as_deref().ok_or_else(|| {
            let why = "this node does not hold the cluster's authority";
            Failure::new(ExitCode::NotAllowed, what, why)
                .next("do it at the node where `homing init` was run")
        })
    }

    /// Signs first and agrees then: a certificate that is not given out is worth nothing, and one that is given out
    /// is that of a member.
    async fn decide(&self, request: &JoinRequest) -> Result<JoinGrant, JoinRefusal> {
        let Some(authority) = &self.authority else {
            return Err(JoinRefusal::Signing("this node does not hold the authority".into()));
        };
        config::node_name(&request.name).map_err(JoinRefusal::Signing)?;
        let now = SystemTime::now();
        let tokens = tokens(&self.state().membership);
        tokens.check(&request.token, now).map_err(JoinRefusal::Token)?;
        let signing = |error: &dyn std::error::Error| JoinRefusal::Signing(chain(error));
        let certificate_pem =
            authority.sign(&request.request_der, &request.name, now).map_err(|error| signing(&error))?;
        let id = NodeIdentity::certified(&certificate_pem).map_err(|error| signing(&error))?;
        let name = request.name.clone();
        let token = request.token.id();
        self.propose(membership::Command::Admit { token, id, name }).await.map_err(refusal)?;
        let server = self.state().membership.nodes().get(&id).is_some_and(|node| node.role == Role::Server);
        let peers = self.welcome(server).lines();
        Ok(JoinGrant { certificate_pem, authority_pem: authority.certificate_pem().to_owned(), peers })
    }

    /// Whom a joiner can dial.
    fn welcome(&self, server: bool) -> Welcome {
        let state = self.state();
        let others = state.membership.nodes().iter().filter(|(id, _)| **id != self.me.id);
        let known = others
            .filter_map(|(id, node)| Some(Member { id: *id, name: node.name.clone(), addr: node.addr? }));
        let members = std::iter::once(self.me.clone()).chain(known).collect();
        Welcome { cluster: self.cluster.clone(), members, server }
    }
}

fn tokens(membership: &Membership) -> TokenStore {
    TokenStore::from_records(membership.tokens().values().map(|token| token.record.clone()))
}

fn refusal(error: ProposeError) -> JoinRefusal {
    match error {
        ProposeError::Refused(Refused::Membership(membership::Refused::NameTaken(name))) => {
            JoinRefusal::NameTaken(name)
        }
        ProposeError::Refused(Refused::Membership(membership::Refused::TokenUsed)) => {
            JoinRefusal::Token(TokenError::Used)
        }
        ProposeError::Refused(Refused::Membership(membership::Refused::UnknownToken)) => {
            JoinRefusal::Token(TokenError::Unknown)
        }
        ProposeError::NoQuorum { .. } => JoinRefusal::NoQuorum(error.to_string()),
        other => JoinRefusal::Signing(other.to_string()),
    }
}

/// Answers joiners, each in a task of its own, if this node holds the authority.
pub(super) async fn serve(endpoint: Arc<AgentEndpoint>, admitter: Admitter, events: mpsc::Sender<Event>) {
    if admitter.authority.is_none() {
        return;
    }
    let mut joins = endpoint.joins();
    while let Some(connection) = joins.accept().await {
        let (admitter, events) = (admitter.clone(), events.clone());
        tokio::spawn(async move {
            let from = connection.remote_address();
            let (mut name, mut granted) = (String::new(), false);
            let answered = answer(connection, async |request| {
                name.clone_from(&request.name);
                let decision = admitter.decide(&request).await;
                granted = decision.is_ok();
                decision
            });
            let reason = match answered.await {
                Ok(JoinReply::Refused(refusal)) => Some(refusal.to_string()),
                Err(error) => Some(chain(&error)),
                Ok(JoinReply::Granted(_)) => None,
            };
            // A joiner that has its certificate is in, however the exchange ended.
            let result = reason.filter(|_| !granted).map_or(Ok(()), Err);
            // Without an agent there is nobody to tell.
            let _ = events.send(Event::JoinerAnswered { name, from, result }).await;
        });
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The digits of a token's id.
fn hex(id: [u8; 4]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use transport::NodeId;

    use super::*;
    use crate::cluster::alone::alone;
    use crate::cluster::membership::Node;

    fn admitter(dir: &std::path::Path) -> Admitter {
        let dirs = Dirs { state: dir.to_owned(), run: dir.to_owned() };
        Authority::create("lab", SystemTime::now()).unwrap().save(&dirs.authority()).unwrap();
        let me = Member { id: NodeId([1; 32]), name: "alpha".into(), addr: ([127, 0, 0, 1], 1).into() };
        let node = Node { name: me.name.clone(), addr: Some(me.addr), role: Role::Server };
        let state = State::founded(vec![(me.id, node)], Vec::new());
        Admitter::load(&dirs, "lab", me, alone(state)).unwrap()
    }

    async fn request(admitter: &Admitter, name: &str, server: bool) -> JoinRequest {
        let made = admitter.create_token(Duration::from_secs(60), server).await.unwrap();
        let Response::Token { token, .. } = made else { panic!("no token") };
        let (_, request_der) = NodeIdentity::for_joiner().unwrap();
        JoinRequest { token: token.parse().unwrap(), name: name.into(), request_der }
    }

    fn tokens(admitter: &Admitter) -> Vec<TokenInfo> {
        let Response::Tokens(tokens) = admitter.list_tokens().unwrap() else { panic!("no list") };
        tokens
    }

    #[tokio::test]
    async fn a_joiner_hears_whom_to_dial_and_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let grant = admitter.decide(&request(&admitter, "bravo", false).await).await.unwrap();
        let welcome = Welcome::parse(&grant.peers);
        assert_eq!((welcome.cluster.as_str(), welcome.server), ("lab", false));
        assert_eq!(welcome.members.len(), 1);
        assert_eq!(welcome.members[0].name, "alpha");
        let grant = admitter.decide(&request(&admitter, "charlie", true).await).await.unwrap();
        assert!(Welcome::parse(&grant.peers).server);
        assert_eq!(admitter.state().membership.servers().count(), 2);
    }

    #[tokio::test]
    async fn a_token_holds_once() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let request = request(&admitter, "bravo", false).await;
        admitter.decide(&request).await.unwrap();
        let again = JoinRequest { name: "charlie".into(), ..request };
        assert_eq!(admitter.decide(&again).await, Err(JoinRefusal::Token(TokenError::Used)));
        assert!(tokens(&admitter).is_empty());
    }

    #[tokio::test]
    async fn names_are_given_once_and_a_bad_one_costs_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        admitter.decide(&request(&admitter, "bravo", false).await).await.unwrap();
        for name in ["alpha", "bravo"] {
            let refused = admitter.decide(&request(&admitter, name, false).await).await;
            assert_eq!(refused, Err(JoinRefusal::NameTaken(name.into())));
        }
        let refused = admitter.decide(&request(&admitter, "home", false).await).await;
        assert!(matches!(refused, Err(JoinRefusal::Signing(_))));
        assert_eq!(tokens(&admitter).len(), 3);
    }

    #[tokio::test]
    async fn a_revoked_token_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let request = request(&admitter, "bravo", false).await;
        let id = tokens(&admitter)[0].id.clone();
        assert_eq!(admitter.revoke_token("00").await.unwrap_err().code, ExitCode::NotFound);
        admitter.revoke_token(&id).await.unwrap();
        assert_eq!(admitter.decide(&request).await, Err(JoinRefusal::Token(TokenError::Unknown)));
    }

    #[tokio::test]
    async fn only_the_authority_makes_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = Admitter { authority: None, ..admitter(dir.path()) };
        let failure = admitter.create_token(Duration::from_secs(1), false).await.unwrap_err();
        assert_eq!(failure.code, ExitCode::NotAllowed);
    }
}
