//! Who belongs to the cluster, as it is agreed: nodes, their roles and addresses, join tokens, and who never returns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use transport::NodeId;
use transport::identity::TokenRecord;

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It runs programs and follows what is agreed.
    #[default]
    Node,
    /// It also keeps the agreed log, and may vote on it.
    Server,
}

/// A node that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique among all that belong to it now.
    pub name: String,
    /// Where its agent listens (UDP); unknown until the agent has been started once.
    pub addr: Option<SocketAddr>,
    /// What it is.
    pub role: Role,
}

/// A join token and what its user becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Without the secret.
    pub record: TokenRecord,
    /// What its user becomes.
    pub role: Role,
}

/// Everything about membership that is agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    nodes: BTreeMap<NodeId, Node>,
    tokens: BTreeMap<[u8; 4], Token>,
    /// An id comes from a key and is never taken back, so a node that was removed can only return under another key.
    gone: BTreeSet<NodeId>,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of a cluster: its first server.
    Found {
        /// From its key.
        id: NodeId,
        /// As in its certificate.
        node: Node,
        /// Those that were made before the cluster agreed on anything.
        tokens: Vec<Token>,
    },
    /// A join token was made.
    AddToken {
        /// Now, in seconds since 1970-01-01 UTC: what expired long ago is forgotten.
        now_s: u64,
        /// The token.
        token: Token,
    },
    /// A join token is no good any more.
    RevokeToken {
        /// Which.
        id: [u8; 4],
    },
    /// Somebody showed a good token; it is used, and its user belongs to the cluster under this name.
    Admit {
        /// Which token.
        token: [u8; 4],
        /// From the key that the authority is about to certify.
        id: NodeId,
        /// As it will stand in the certificate.
        name: String,
    },
    /// A node's agent listens here now.
    Listen {
        /// Which node.
        id: NodeId,
        /// Where.
        addr: SocketAddr,
    },
    /// A node leaves, or is made to, for good.
    Remove {
        /// Which.
        id: NodeId,
    },
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refused {
    /// The cluster has its first server already.
    #[error("the cluster was founded already")]
    Founded,
    /// No such node belongs to the cluster.
    #[error("no such node belongs to the cluster")]
    UnknownNode,
    /// The name is taken.
    #[error("the cluster has a node named {0} already")]
    NameTaken(String),
    /// The node was removed, or its number in the log is that of another.
    #[error("this key belonged to a node that was removed; join again to get another")]
    Gone,
    /// There is no such token.
    #[error("there is no such join token")]
    UnknownToken,
    /// The token was used.
    #[error("the join token was used already")]
    TokenUsed,
    /// There are too many tokens.
    #[error("{TOKENS_MAX} join tokens wait to be used: let some of them expire")]
    TooManyTokens,
    /// There are too many nodes.
    #[error("the cluster has {NODES_MAX} nodes, and takes no more")]
    TooManyNodes,
    /// Without it nothing could be agreed any more.
    #[error("it is the only server: make another one first (homing token create --role server)")]
    LastServer,
}

impl Membership {
    /// The nodes that belong to the cluster.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// The join tokens that are remembered, also those that were used.
    #[must_use]
    pub fn tokens(&self) -> &BTreeMap<[u8; 4], Token> {
        &self.tokens
    }

    /// Those that were removed, and never return.
    #[must_use]
    pub fn gone(&self) -> &BTreeSet<NodeId> {
        &self.gone
    }

    /// The servers among the nodes.
    pub fn servers(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.role == Role::Server).map(|(id, node)| (*id, node))
    }

    /// The node of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(NodeId, &Node)> {
        self.nodes.iter().find(|(_, node)| node.name == name).map(|(id, node)| (*id, node))
    }

    pub(super) fn apply(&mut self, command: Command) -> Result<(), Refused> {
        match command {
            Command::Found { id, node, tokens } => self.found(id, node, tokens),
            Command::AddToken { now_s, token } => self.add_token(now_s, token),
            Command::RevokeToken { id } => self.tokens.remove(&id).map(drop).ok_or(Refused::UnknownToken),
            Command::Admit { token, id, name } => self.admit(token, id, name),
            Command::Listen { id, addr } => {
                self.nodes.get_mut(&id).ok_or(Refused::UnknownNode)?.addr = Some(addr);
                Ok(())
            }
            Command::Remove { id } => self.remove(id),
        }
    }

    fn found(&mut self, id: NodeId, node: Node, tokens: Vec<Token>) -> Result<(), Refused> {
        if !self.nodes.is_empty() {
            return Err(Refused::Founded);
        }
        self.nodes.insert(id, node);
        self.tokens = tokens.into_iter().take(TOKENS_MAX).map(|token| (token.record.id, token)).collect();
        Ok(())
    }

    fn add_token(&mut self, now_s: u64, token: Token) -> Result<(), Refused> {
        self.tokens.retain(|_, known| now_s < known.record.expires_s.saturating_add(KEPT_AFTER_END_S));
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Refused::TooManyTokens);
        }
        self.tokens.insert(token.record.id, token);
        Ok(())
    }

    fn admit(&mut self, token: [u8; 4], id: NodeId, name: String) -> Result<(), Refused> {
        let token = self.tokens.get_mut(&token).ok_or(Refused::UnknownToken)?;
        if token.record.used {
            return Err(Refused::TokenUsed);
        }
        if self.nodes.values().any(|node| node.name == name) {
            return Err(Refused::NameTaken(name));
        }
        let number = log_number(id);
        if self.nodes.keys().chain(&self.gone).any(|known| log_number(*known) == number) {
            return Err(Refused::Gone);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Refused::TooManyNodes);
        }
        token.record.used = true;
        self.nodes.insert(id, Node { name, addr: None, role: token.role });
        Ok(())
    }

    fn remove(&mut self, id: NodeId) -> Result<(), Refused> {
        let node = self.nodes.get(&id).ok_or(Refused::UnknownNode)?;
        if node.role == Role::Server && self.servers().count() == 1 {
            return Err(Refused::LastServer);
        }
        self.nodes.remove(&id);
        self.gone.insert(id);
        Ok(())
    }
}

/// The number of a server in the agreed log. It comes from the key, so that it is never used again.
#[must_use]
pub fn log_number(id: NodeId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    // Zero means "nobody" there.
    u64::from_le_bytes(first).max(1)
}

/// Join tokens that the cluster keeps in mind.
pub const TOKENS_MAX: usize = 1024;

/// Nodes of a cluster.
pub const NODES_MAX: usize = 1024;

/// How long an ended token is remembered, so that its user hears "expired" and not "unknown".
const KEPT_AFTER_END_S: u64 = 24 * 3600;

#[cfg(test)]
mod tests;
