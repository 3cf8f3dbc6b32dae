//! Who is who on the wire: nodes, processes, epochs, warden keys.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Serialize};

/// A node of the cluster: the SHA-256 of its certificate's public key (SubjectPublicKeyInfo, DER).
///
/// A renewed certificate over the same key keeps the id; a name can be given again, an id cannot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The id of the node that holds this public key.
    #[must_use]
    pub fn of_public_key(subject_public_key_info_der: &[u8]) -> NodeId {
        NodeId(sha256(subject_public_key_info_der))
    }

    /// All 64 hexadecimal digits, as [`FromStr`] reads them.
    #[must_use]
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

/// The SHA-256 of a warden's certificate, exchanged in offer and accept over the agents' connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a warden's certificate.
    #[must_use]
    pub fn of_certificate(certificate_der: &[u8]) -> KeyHash {
        KeyHash(sha256(certificate_der))
    }
}

/// A process of the cluster: unique for all time, since a pid of one home is reused only with another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The home node.
    pub home: NodeId,
    /// The pid in the home node's pid namespace.
    pub pid: u32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

/// The number of a residence. Home alone grants epochs, each larger than all before it, none ever reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that home grants after this one.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// A text that is not an id or a key hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NotHex;

/// Reads all 64 hexadecimal digits.
impl FromStr for NodeId {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<NodeId, NotHex> {
        from_hex(text).map(NodeId).ok_or(NotHex)
    }
}

/// Reads all 64 hexadecimal digits.
impl FromStr for KeyHash {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<KeyHash, NotHex> {
        from_hex(text).map(KeyHash).ok_or(NotHex)
    }
}

/// The first eight hexadecimal digits: enough to tell nodes apart in a message.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0[..4]))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// All 64 hexadecimal digits, as it stands on a warden's command line.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({})", to_hex(&self.0[..4]))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes from `2 * N` hexadecimal digits of either case.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(ascii: u8) -> Option<u8> {
    char::from(ascii).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_digits() {
        let id = NodeId::of_public_key(b"a key");
        assert_eq!(id.to_hex().parse(), Ok(id));
        let hash = KeyHash::of_certificate(b"a certificate");
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "12345678", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(text.parse::<NodeId>(), Err(NotHex), "{text}");
        }
    }
}
