//! One datagram of gossip: as long as QUIC promises to carry everywhere, and never longer.
//!
//! ```text
//!   version 2 | cluster 4 | sender 4 | incarnation 4 | number 4 | flags 1      19 bytes
//!   entries: their number 8, and 32 bytes each                                 8 + 32 x 32
//!   updates of the membership: their length 8, and so many bytes               8 + 103
//!                                                                              = 1162
//! ```

use serde::{Deserialize, Serialize};
use transport::wire::{self, WireError};

use super::entry::LoadEntry;

/// Length of the longest message, in bytes: what a QUIC datagram has room for on a path of 1200 bytes.
pub const MESSAGE_BYTES: usize = 1162;

/// Entries of a message.
pub const ENTRIES_MAX: usize = 32;

/// Bytes of a message for the membership.
pub const UPDATE_BYTES_MAX: usize =
    MESSAGE_BYTES - HEADER_BYTES - LENGTH_BYTES * 2 - ENTRIES_MAX * ENTRY_BYTES;

/// The version that is spoken here, with a letter that zeroed memory does not have.
pub const VERSION: u16 = 0x6701;

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// [`VERSION`].
    pub version: u16,
    /// Which cluster.
    pub cluster: u32,
    /// The sender's number.
    pub sender: u32,
    /// Which start of the sender's agent.
    pub incarnation: u32,
    /// Counts the sender's messages.
    pub number: u32,
    /// None are used yet.
    pub flags: u8,
    /// The sender's own entry and the freshest that it knows.
    pub entries: Vec<LoadEntry>,
    /// What the membership protocol has to say, not looked at here.
    pub updates: Vec<u8>,
}

/// Why bytes are no message, or a message no bytes.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Longer than a datagram.
    #[error("{0} bytes of gossip where {MESSAGE_BYTES} are the most")]
    TooLong(usize),
    /// Not a message.
    #[error("cannot read the gossip")]
    Wire(#[source] WireError),
    /// Another version.
    #[error("gossip of version {0:#x}, this is {VERSION:#x}")]
    Version(u16),
}

impl Message {
    /// The message as bytes.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] if it holds more than [`ENTRIES_MAX`] entries or [`UPDATE_BYTES_MAX`] bytes of updates.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
        wire::encode_fixed(self, &mut bytes).map_err(MessageError::Wire)?;
        if bytes.len() > MESSAGE_BYTES { Err(MessageError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// Whatever they are instead.
    pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        if bytes.len() > MESSAGE_BYTES {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let message: Message = wire::decode_fixed(bytes).map_err(MessageError::Wire)?;
        if message.version == VERSION { Ok(message) } else { Err(MessageError::Version(message.version)) }
    }

    /// Its length as bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + LENGTH_BYTES * 2 + self.entries.len() * ENTRY_BYTES + self.updates.len()
    }
}

const HEADER_BYTES: usize = 19;
const LENGTH_BYTES: usize = 8;
const ENTRY_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn message(entries: usize, updates: usize) -> Message {
        let entry = LoadEntry { node: u32::MAX, mem_total_mib: u32::MAX, ..LoadEntry::default() };
        Message {
            version: VERSION,
            cluster: u32::MAX,
            sender: 7,
            incarnation: 1,
            number: 2,
            flags: 0,
            entries: vec![entry; entries],
            updates: vec![255; updates],
        }
    }

    #[test]
    fn i11_a_datagram_has_at_most_1162_bytes() {
        let longest = message(ENTRIES_MAX, UPDATE_BYTES_MAX);
        let bytes = longest.encode().unwrap();
        assert_eq!((bytes.len(), longest.bytes()), (1162, 1162));
        assert_eq!(Message::decode(&bytes).unwrap(), longest);
        assert_eq!(message(0, 0).encode().unwrap().len(), message(0, 0).bytes());
        assert!(matches!(message(ENTRIES_MAX + 1, 103).encode(), Err(MessageError::TooLong(1194))));
        assert!(matches!(message(ENTRIES_MAX, 104).encode(), Err(MessageError::TooLong(1163))));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let good = message(1, 3).encode().unwrap();
        assert!(matches!(Message::decode(&good[..good.len() - 1]), Err(MessageError::Wire(_))));
        assert!(matches!(Message::decode(&[good.clone(), vec![0]].concat()), Err(MessageError::Wire(_))));
        assert!(matches!(Message::decode(&vec![0; 1163]), Err(MessageError::TooLong(1163))));
        let mut other = good;
        other[0] = 9;
        assert!(matches!(Message::decode(&other), Err(MessageError::Version(0x6709))));
    }

    #[test]
    fn the_bytes_of_an_entry_never_change() {
        let entry = LoadEntry { node: 1, incarnation: 2, age_10ms: 3, cores_x4: 16, ..LoadEntry::default() };
        let mut bytes = Vec::new();
        wire::encode_fixed(&entry, &mut bytes).unwrap();
        assert_eq!(bytes.len(), ENTRY_BYTES);
        assert_eq!(bytes[..12], [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 16, 0]);
    }
}
