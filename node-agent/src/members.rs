//! Who belongs to the cluster, as this node knows it: a list that grows by what members tell each other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use transport::NodeId;

use crate::config::{self, ConfigError};

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Derived from its key, never reused.
    pub id: NodeId,
    /// Its name in the cluster.
    pub name: String,
    /// Where its agent listens (UDP).
    pub addr: SocketAddr,
}

/// The other nodes of the cluster, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<NodeId, Member>);

impl Members {
    /// Reads the list from the state directory; an absent one is empty.
    ///
    /// # Errors
    /// When the file is there but unusable.
    pub fn load(path: &Path) -> Result<Members, ConfigError> {
        Ok(Members::of(config::read_json(path)?.unwrap_or_default()))
    }

    pub(crate) fn of(rows: Vec<Row>) -> Members {
        let members = rows.into_iter().filter_map(|row| {
            let id = node_id_from_hex(&row.id)?;
            Some((id, Member { id, name: row.name, addr: row.addr }))
        });
        Members(members.take(MEMBERS_MAX).collect())
    }

    /// Writes the list.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let row = |member: &Member| Row {
            id: node_id_to_hex(member.id),
            name: member.name.clone(),
            addr: member.addr,
        };
        config::write_json(path, &self.0.values().map(row).collect::<Vec<_>>())
    }

    /// Takes in what another node says about `member`; true if that was news.
    ///
    /// A known node's name changes by its certificate alone; its address follows the latest word.
    pub fn learn(&mut self, member: Member) -> bool {
        let room = self.0.len() < MEMBERS_MAX;
        match self.0.entry(member.id) {
            Entry::Occupied(known) if known.get().addr == member.addr => false,
            Entry::Occupied(mut known) => {
                known.get_mut().addr = member.addr;
                true
            }
            Entry::Vacant(place) => {
                if room {
                    place.insert(member);
                }
                room
            }
        }
    }

    /// Strikes a node off the list; true if it was on it.
    pub fn forget(&mut self, id: NodeId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// Corrects a name by the one in the member's certificate.
    pub fn certify(&mut self, id: NodeId, name: &str) {
        if let Some(known) = self.0.get_mut(&id) {
            name.clone_into(&mut known.name);
        }
    }

    /// The member of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.0.values().find(|member| member.name == name)
    }

    /// The member of this id.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Member> {
        self.0.get(&id)
    }

    /// All, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }
}

/// All 64 digits of an id.
#[must_use]
pub fn node_id_to_hex(id: NodeId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An id from its 64 digits.
#[must_use]
pub fn node_id_from_hex(text: &str) -> Option<NodeId> {
    let mut id = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(NodeId(id))
}

/// A member as it stands in the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Row {
    id: String,
    name: String,
    addr: SocketAddr,
}

/// Nodes that a node keeps in mind besides itself.
pub const MEMBERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8, port: u16) -> Member {
        Member { id: NodeId([id; 32]), name: format!("n{id}"), addr: ([10, 0, 0, 1], port).into() }
    }

    #[test]
    fn ids_survive_their_digits() {
        let id = NodeId([0x0f; 32]);
        assert_eq!(node_id_from_hex(&node_id_to_hex(id)), Some(id));
        for bad in ["", "0f", &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(node_id_from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn news_is_learned_once_and_kept_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("members.json");
        let mut members = Members::load(&path).unwrap();
        assert!(members.learn(member(1, 1)));
        assert!(!members.learn(member(1, 1)));
        assert!(members.learn(member(1, 2)));
        members.save(&path).unwrap();
        assert_eq!(Members::load(&path).unwrap(), members);
        assert_eq!(members.named("n1").map(|found| found.addr.port()), Some(2));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut members = Members::default();
        for number in 0..=MEMBERS_MAX {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let news = members.learn(Member { id: NodeId(id), ..member(1, 1) });
            assert_eq!(news, number < MEMBERS_MAX);
        }
    }
}
