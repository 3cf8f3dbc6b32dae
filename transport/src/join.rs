//! Joining a cluster: one question and one answer on a connection of its own.
//!
//! ```text
//! joiner                                        node with the authority
//!   | dials; the node's certificate must lead        |
//!   |   to the authority that the token names        |
//!   |--- JoinRequest: token, name, request --------->|  decide: redeem the token, sign
//!   |<-- JoinReply: certificates and peers, or why --|
//! ```
//!
//! The joiner knows the node by the pin in its token before it sends anything, and the node knows the joiner by the
//! token's secret.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::channel::Channel;
use crate::endpoint::{CODE_DONE, Connection, EndpointError, dial_to_join};
use crate::frame::FrameError;
use crate::identity::{Authority, IdentityError, JoinToken, NodeIdentity, TokenError, TokenStore};
use crate::version::Versions;

/// What a joiner sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The right to join.
    pub token: JoinToken,
    /// The name that it wants.
    pub name: String,
    /// Its certificate signing request, DER.
    pub request_der: Vec<u8>,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// It is a node now.
    Granted(JoinGrant),
    /// It is not.
    Refused(JoinRefusal),
}

/// What makes a joiner a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGrant {
    /// Its certificate, PEM.
    pub certificate_pem: String,
    /// The authority's certificate, PEM.
    pub authority_pem: String,
    /// Addresses of other nodes, as the cluster writes them.
    pub peers: Vec<String>,
}

/// Why a joiner is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum JoinRefusal {
    /// The token is not good.
    #[error(transparent)]
    Token(TokenError),
    /// Another node has the name.
    #[error("the cluster has a node named {0} already: choose another name")]
    NameTaken(String),
    /// The name or the signing request is not good, or the authority cannot sign.
    #[error("the cluster's authority does not sign: {0}")]
    Signing(String),
    /// The cluster could not agree on it in time; the token is still good.
    #[error("the cluster cannot take anybody in now: {0}")]
    NoQuorum(String),
}

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The node could not be reached, or is not of the cluster that the token names.
    #[error("cannot reach the cluster")]
    Endpoint(#[from] EndpointError),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Frame(#[from] FrameError),
    /// The other side said nothing or went away.
    #[error("the other side gave no answer within {} s", JOIN_TIME_MAX.as_secs())]
    Silent,
    /// The node says no.
    #[error("the node refuses: {0}")]
    Refused(JoinRefusal),
    /// The key or certificate is not good.
    #[error("bad identity")]
    Identity(#[from] IdentityError),
}

/// A new node: who it is now, and whom it may talk to.
#[derive(Debug)]
pub struct Joined {
    /// Who it is now.
    pub identity: NodeIdentity,
    /// Addresses of other nodes, as the cluster writes them.
    pub peers: Vec<String>,
}

/// Joins the cluster of the node at `addr` under `name`.
///
/// # Errors
/// See [`JoinError`]. Only [`JoinError::Frame`] and [`JoinError::Silent`] leave open whether the token is used.
pub async fn join(addr: SocketAddr, token: &JoinToken, name: &str) -> Result<Joined, JoinError> {
    let (key, request_der) = NodeIdentity::for_joiner()?;
    let connection = dial_to_join(addr, token.pin(), &Versions::default()).await?;
    let request = JoinRequest { token: token.clone(), name: name.to_owned(), request_der };
    let reply = timeout(JOIN_TIME_MAX, ask(&connection, &request)).await.map_err(|_| JoinError::Silent)??;
    connection.close(CODE_DONE, "joined");
    match reply {
        JoinReply::Granted(JoinGrant { certificate_pem, authority_pem, peers }) => {
            Ok(Joined { identity: key.complete(certificate_pem, authority_pem)?, peers })
        }
        JoinReply::Refused(refusal) => Err(JoinError::Refused(refusal)),
    }
}

/// Answers one joiner on a connection from [`Joins`](crate::endpoint::Joins) with what `decide` says, and returns
/// that. `decide` must have saved the redeemed token before it grants; [`grant`] is its usual body.
///
/// # Errors
/// [`JoinError::Frame`] and [`JoinError::Silent`]; the joiner may have been granted and not know it.
pub async fn answer(
    connection: Connection,
    decide: impl AsyncFnOnce(JoinRequest) -> Result<JoinGrant, JoinRefusal>,
) -> Result<JoinReply, JoinError> {
    let exchange = async {
        let asked = async {
            let (_, sender, mut receiver) = connection.accept().await.ok_or(JoinError::Silent)?;
            let (request, _) = receiver.recv::<JoinRequest>().await?.ok_or(JoinError::Silent)?;
            Ok::<_, JoinError>((sender, request))
        };
        let (mut sender, request) = timeout(QUESTION_MAX, asked).await.map_err(|_| JoinError::Silent)??;
        let reply = decide(request).await.map_or_else(JoinReply::Refused, JoinReply::Granted);
        sender.send(&reply, &[]).await?;
        sender.finish();
        // The joiner closes the connection when it has the answer; closing here could overtake it.
        connection.closed().await;
        Ok(reply)
    };
    let result = timeout(JOIN_TIME_MAX, exchange).await;
    connection.close(CODE_DONE, "joining is over");
    result.map_err(|_| JoinError::Silent)?
}

/// Signs the request and redeems the token, in this order, so that a mistyped name does not cost the token. Only
/// those who have a good token learn whether a name is `taken`.
///
/// # Errors
/// See [`JoinRefusal`].
pub fn grant(
    request: &JoinRequest,
    tokens: &mut TokenStore,
    authority: &Authority,
    taken: impl FnOnce(&str) -> bool,
    peers: Vec<String>,
    now: SystemTime,
) -> Result<JoinGrant, JoinRefusal> {
    tokens.check(&request.token, now).map_err(JoinRefusal::Token)?;
    if taken(&request.name) {
        return Err(JoinRefusal::NameTaken(request.name.clone()));
    }
    let certificate_pem = authority
        .sign(&request.request_der, &request.name, now)
        .map_err(|error| JoinRefusal::Signing(error.to_string()))?;
    tokens.redeem(&request.token, now).map_err(JoinRefusal::Token)?;
    Ok(JoinGrant { certificate_pem, authority_pem: authority.certificate_pem().to_owned(), peers })
}

async fn ask(connection: &Connection, request: &JoinRequest) -> Result<JoinReply, JoinError> {
    let (mut sender, mut receiver) = connection.open(Channel::Agent).await?;
    sender.send(request, &[]).await?;
    sender.finish();
    let (reply, _) = receiver.recv::<JoinReply>().await?.ok_or(JoinError::Silent)?;
    Ok(reply)
}

/// Longest that a joiner takes to ask.
const QUESTION_MAX: Duration = Duration::from_secs(5);

/// Longest that either side waits for the exchange, in which the cluster has to agree.
const JOIN_TIME_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests;
