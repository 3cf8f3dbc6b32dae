//! Letting new nodes in: the node that holds the cluster's authority redeems tokens and signs certificates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use transport::endpoint::AgentEndpoint;
use transport::identity::{Authority, TokenRecord};
use transport::join::{JoinGrant, JoinRefusal, JoinReply, JoinRequest, answer, grant};

use super::AgentError;
use super::book::{Book, BookError, hex};
use super::state::Event;
use super::welcome::Welcome;
use crate::api::{Response, TokenInfo};
use crate::config::{self, Dirs};
use crate::exit::{ExitCode, Failure};
use crate::members::{Member, Members};

/// Decides who may join. Clones share one book.
#[derive(Clone, Debug)]
pub(super) struct Admitter(Option<Arc<Mutex<Desk>>>);

#[derive(Debug)]
struct Desk {
    authority: Authority,
    book: Book,
    welcome: Welcome,
    me: Member,
}

impl Admitter {
    /// Reads the authority and the book, if this node holds them.
    pub(super) fn load(
        dirs: &Dirs,
        cluster: &str,
        me: Member,
        members: &Members,
    ) -> Result<Admitter, AgentError> {
        if !dirs.authority().exists() {
            return Ok(Admitter(None));
        }
        let authority = Authority::load(&dirs.authority())?;
        let book = Book::load(dirs.tokens_file())?;
        let welcome = Welcome { cluster: cluster.to_owned(), members: Vec::new() };
        let admitter = Admitter(Some(Arc::new(Mutex::new(Desk { authority, book, welcome, me }))));
        admitter.set_members(members);
        Ok(admitter)
    }

    /// Tells whom a joiner can dial.
    pub(super) fn set_members(&self, members: &Members) {
        if let Some(mut desk) = self.desk() {
            let me = desk.me.clone();
            desk.welcome.members = std::iter::once(me).chain(members.iter().cloned()).collect();
        }
    }

    pub(super) fn create_token(&self, ttl: Duration) -> Result<Response, Failure> {
        let mut desk = self.open("cannot make a token")?;
        let pin = desk.authority.pin();
        let token =
            desk.book.create(pin, ttl).map_err(|error| book_failure("cannot make a token", &error))?;
        Ok(Response::Token { token: token.to_string(), addr: desk.me.addr.to_string() })
    }

    pub(super) fn list_tokens(&self) -> Result<Response, Failure> {
        let desk = self.open("cannot list tokens")?;
        let now = unix_s(SystemTime::now());
        let usable = desk.book.tokens.records().filter(|record| !record.used && record.expires_s > now);
        let info = |record: &TokenRecord| TokenInfo { id: hex(record.id), expires_unix_s: record.expires_s };
        Ok(Response::Tokens(usable.map(info).collect()))
    }

    pub(super) fn revoke_token(&self, id: &str) -> Result<Response, Failure> {
        let what = format!("cannot revoke token {id}");
        let mut desk = self.open(&what)?;
        match desk.book.revoke(id) {
            Ok(true) => Ok(Response::Revoked),
            Ok(false) => {
                let why = "there is no such token";
                Err(Failure::new(ExitCode::NotFound, what, why).next("homing token list"))
            }
            Err(error) => Err(book_failure(&what, &BookError::Save(error))),
        }
    }

    fn open(&self, what: &str) -> Result<MutexGuard<'_, Desk>, Failure> {
        self.desk().ok_or_else(|| {
            let why = "this node does not hold the cluster's authority";
            Failure::new(ExitCode::NotAllowed, what, why)
                .next("do it at the node where `homing init` was run")
        })
    }

    fn desk(&self) -> Option<MutexGuard<'_, Desk>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn decide(&self, request: &JoinRequest) -> Result<JoinGrant, JoinRefusal> {
        let Some(mut desk) = self.desk() else {
            return Err(JoinRefusal::Signing("this node does not hold the authority".into()));
        };
        let Desk { authority, book, welcome, .. } = &mut *desk;
        config::node_name(&request.name).map_err(JoinRefusal::Signing)?;
        let taken = welcome.members.iter().any(|member| member.name == request.name);
        if taken || book.names.contains(&request.name) {
            return Err(JoinRefusal::NameTaken(request.name.clone()));
        }
        let granted = grant(request, &mut book.tokens, authority, welcome.lines(), SystemTime::now());
        if granted.is_ok() {
            book.names.insert(request.name.clone());
        }
        // Before the certificate is given out, so that a crash does not make the token good again.
        book.save().map_err(|error| JoinRefusal::Signing(error.to_string()))?;
        granted
    }
}

/// Answers joiners, each in a task of its own, if this node holds the authority.
pub(super) async fn serve(endpoint: Arc<AgentEndpoint>, admitter: Admitter, events: mpsc::Sender<Event>) {
    if admitter.0.is_none() {
        return;
    }
    let mut joins = endpoint.joins();
    while let Some(connection) = joins.accept().await {
        let (admitter, events) = (admitter.clone(), events.clone());
        tokio::spawn(async move {
            let (from, mut name) = (connection.remote_address(), String::new());
            let decide = |request: &JoinRequest| {
                name.clone_from(&request.name);
                admitter.decide(request)
            };
            let result = match answer(connection, decide).await {
                Ok(JoinReply::Granted(_)) => Ok(()),
                Ok(JoinReply::Refused(refusal)) => Err(refusal.to_string()),
                Err(error) => Err(error.to_string()),
            };
            // Without an agent there is nobody to tell.
            let _ = events.send(Event::JoinerAnswered { name, from, result }).await;
        });
    }
}

fn book_failure(what: &str, error: &BookError) -> Failure {
    Failure::from_error(ExitCode::Failed, what, error)
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use transport::NodeId;
    use transport::identity::{NodeIdentity, TokenError};

    use super::*;

    fn admitter(dir: &std::path::Path) -> Admitter {
        let dirs = Dirs { state: dir.to_owned(), run: dir.to_owned() };
        Authority::create("lab", SystemTime::now()).unwrap().save(&dirs.authority()).unwrap();
        let me = Member { id: NodeId([1; 32]), name: "alpha".into(), addr: ([127, 0, 0, 1], 1).into() };
        Admitter::load(&dirs, "lab", me, &Members::default()).unwrap()
    }

    fn request(admitter: &Admitter, name: &str) -> JoinRequest {
        let Response::Token { token, .. } = admitter.create_token(Duration::from_secs(60)).unwrap() else {
            panic!("no token")
        };
        let (_, request_der) = NodeIdentity::for_joiner().unwrap();
        JoinRequest { token: token.parse().unwrap(), name: name.into(), request_der }
    }

    fn tokens(admitter: &Admitter) -> Vec<TokenInfo> {
        let Response::Tokens(tokens) = admitter.list_tokens().unwrap() else { panic!("no list") };
        tokens
    }

    #[test]
    fn a_joiner_hears_whom_to_dial() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let grant = admitter.decide(&request(&admitter, "bravo")).unwrap();
        let welcome = Welcome::parse(&grant.peers);
        assert_eq!(welcome.cluster, "lab");
        assert_eq!(welcome.members.len(), 1);
        assert_eq!(welcome.members[0].name, "alpha");
    }

    #[test]
    fn a_token_holds_once_also_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let request = request(&admitter, "bravo");
        admitter.decide(&request).unwrap();
        let book = Book::load(dir.path().join("tokens.json")).unwrap();
        admitter.desk().unwrap().book = book;
        let again = JoinRequest { name: "charlie".into(), ..request };
        assert_eq!(admitter.decide(&again), Err(JoinRefusal::Token(TokenError::Used)));
        assert!(tokens(&admitter).is_empty());
    }

    #[test]
    fn names_are_given_once_and_a_bad_one_costs_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        admitter.decide(&request(&admitter, "bravo")).unwrap();
        for name in ["alpha", "bravo"] {
            let refused = admitter.decide(&request(&admitter, name));
            assert_eq!(refused, Err(JoinRefusal::NameTaken(name.into())));
        }
        assert!(matches!(admitter.decide(&request(&admitter, "home")), Err(JoinRefusal::Signing(_))));
        assert_eq!(tokens(&admitter).len(), 3);
    }

    #[test]
    fn a_revoked_token_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let admitter = admitter(dir.path());
        let request = request(&admitter, "bravo");
        let id = tokens(&admitter)[0].id.clone();
        assert_eq!(admitter.revoke_token("00").unwrap_err().code, ExitCode::NotFound);
        admitter.revoke_token(&id).unwrap();
        assert_eq!(admitter.decide(&request), Err(JoinRefusal::Token(TokenError::Unknown)));
    }

    #[test]
    fn only_the_authority_makes_tokens() {
        let failure = Admitter(None).create_token(Duration::from_secs(1)).unwrap_err();
        assert_eq!(failure.code, ExitCode::NotAllowed);
    }
}
