//! What a joiner is told about the cluster that it joins.

use crate::members::{Member, node_id_from_hex, node_id_to_hex};

/// What a joiner is told about the cluster, as the lines of a [grant](transport::join::JoinGrant).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The cluster's name.
    pub cluster: String,
    /// Whom it can dial.
    pub members: Vec<Member>,
    /// Whether it becomes a server.
    pub server: bool,
}

impl Welcome {
    /// As lines for the grant.
    pub(super) fn lines(&self) -> Vec<String> {
        let member =
            |Member { id, name, addr }: &Member| format!("member {} {name} {addr}", node_id_to_hex(*id));
        let cluster = format!("cluster {}", self.cluster);
        let role = self.server.then(|| "role server".to_owned());
        std::iter::once(cluster).chain(role).chain(self.members.iter().map(member)).collect()
    }

    /// Reads the lines; those of no known kind are left out.
    #[must_use]
    pub fn parse(lines: &[String]) -> Welcome {
        let mut welcome = Welcome { cluster: String::new(), members: Vec::new(), server: false };
        for line in lines {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["role", "server"] => welcome.server = true,
                ["cluster", name] => welcome.cluster = (*name).to_owned(),
                ["member", id, name, addr] => {
                    if let (Some(id), Ok(addr)) = (node_id_from_hex(id), addr.parse()) {
                        welcome.members.push(Member { id, name: (*name).to_owned(), addr });
                    }
                }
                _ => {}
            }
        }
        welcome
    }
}
