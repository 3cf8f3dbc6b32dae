//! Which protocol versions two peers share, agreed by ALPN in the handshake and nowhere else.
//!
//! An endpoint offers its versions newest first, and only the newest and the one before, so that a cluster is
//! upgraded node by node. Two peers without a common version meet on `homing-version`, an offer that is never
//! changed: the accepting side then closes the connection and names its versions, so that the refusal can name both.

use std::fmt;

/// A version of the protocol. A change that old peers would misread needs a new one, from the first release on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Version {
    /// The first.
    V1 = 1,
}

impl Version {
    /// Every version this build speaks, newest first: at most the newest and the one before.
    pub const ALL: &[Version] = &[Version::V1];
}

/// What a connection is for; each has its own offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Between agents; both show a certificate of the cluster.
    Agent,
    /// Between two wardens; both show the key that was announced.
    Warden,
    /// From a joiner that has no certificate yet to an agent.
    Join,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Agent => "homing",
            Protocol::Warden => "homing-warden",
            Protocol::Join => "homing-join",
        }
    }
}

/// The versions an endpoint offers, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions(Vec<u16>);

/// What this build speaks.
impl Default for Versions {
    fn default() -> Versions {
        Versions(Version::ALL.iter().map(|version| *version as u16).collect())
    }
}

impl Versions {
    /// Offers as a build would whose newest version is `newest`: how a test plays an older or newer node.
    #[must_use]
    pub fn announcing(newest: u16) -> Versions {
        Versions([newest, newest.saturating_sub(1)].into_iter().filter(|version| *version > 0).collect())
    }

    /// The ALPN offers for these protocols, newest first, and the meeting place last.
    pub(crate) fn offers(&self, protocols: &[Protocol]) -> Vec<Vec<u8>> {
        let mut offers: Vec<_> = protocols
            .iter()
            .flat_map(|protocol| self.0.iter().map(|version| alpn(*protocol, *version)))
            .collect();
        offers.push(NO_COMMON_VERSION.to_vec());
        offers
    }

    /// Which protocol, in which of these versions, a negotiated offer stands for.
    pub(crate) fn agreed(&self, offer: &[u8]) -> Option<(Protocol, u16)> {
        [Protocol::Agent, Protocol::Warden, Protocol::Join].into_iter().find_map(|protocol| {
            let version = self.0.iter().find(|version| offer == alpn(protocol, **version))?;
            Some((protocol, *version))
        })
    }
}

/// `2, 1`.
impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u16::to_string).collect();
        f.write_str(&numbers.join(", "))
    }
}

fn alpn(protocol: Protocol, version: u16) -> Vec<u8> {
    format!("{}/{version}", protocol.name()).into_bytes()
}

/// Where peers without a common version meet to say so.
const NO_COMMON_VERSION: &[u8] = b"homing-version";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_two_versions_newest_first() {
        assert!(Version::ALL.len() <= 2);
        assert!(Version::ALL.is_sorted_by(|newer, older| newer > older));
        assert_eq!(Versions::announcing(3).to_string(), "3, 2");
        assert_eq!(Versions::announcing(1), Versions::default());
    }

    #[test]
    fn the_offers_never_change() {
        let versions = Versions::default();
        assert_eq!(versions.offers(&[Protocol::Agent]), [b"homing/1".to_vec(), b"homing-version".to_vec()]);
        assert_eq!(versions.offers(&[Protocol::Warden, Protocol::Join])[0], b"homing-warden/1");
        assert_eq!(versions.offers(&[Protocol::Warden, Protocol::Join])[1], b"homing-join/1");
    }

    #[test]
    fn an_offer_is_agreed_only_if_it_was_made() {
        let versions = Versions::announcing(2);
        assert_eq!(versions.agreed(b"homing/2"), Some((Protocol::Agent, 2)));
        assert_eq!(versions.agreed(b"homing-join/1"), Some((Protocol::Join, 1)));
        for other in [&b"homing/3"[..], b"homing-version", b"homing", b""] {
            assert_eq!(versions.agreed(other), None);
        }
    }
}
