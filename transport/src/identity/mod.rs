//! Who may speak: the cluster's authority, nodes with its certificates, join tokens, and the keys of wardens.

mod authority;
mod certificate;
mod file;
mod node;
mod token;
mod warden;

use std::io;
use std::path::PathBuf;

use rcgen::{KeyPair, PKCS_ED25519};

pub use authority::{Authority, AuthorityPin};
pub use node::{JoinerKey, NodeIdentity};
pub use token::{JoinToken, TokenError, TokenRecord, TokenStore};
pub use warden::WardenKey;

pub(crate) use certificate::NodeCertificate;

/// Why a key or certificate was not made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key pair could not be made.
    #[error("cannot make a key pair")]
    Generate(#[source] rcgen::Error),
    /// A certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[source] rcgen::Error),
    /// A signing request is damaged, or whoever made it does not own its key.
    #[error("bad certificate signing request")]
    Request(#[source] rcgen::Error),
    /// A name that a node or cluster cannot have.
    #[error("bad name {0:?}: 1 to 63 letters, digits, '-', '_' or '.', the first a letter or digit")]
    Name(String),
    /// A certificate is damaged, or is not one of a node.
    #[error("not the certificate of a node: {0}")]
    NotANode(&'static str),
    /// The certificate belongs to another key.
    #[error("the certificate belongs to another key")]
    Mismatch,
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or its directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read or write a private key.
    #[error("private key {} has mode {mode:03o}: run `chmod 600` on it, and replace it if it leaked", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds no PEM certificate.
    #[error("no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A file holds no private key.
    #[error("no private key in {}", path.display())]
    NoKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
}

/// Ed25519 everywhere: small, quick to make, and its signatures take no randomness.
fn generate() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(IdentityError::Generate)
}

/// Accepts what may stand in a certificate, on a command line and in a table.
fn check_name(name: &str) -> Result<(), IdentityError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        Ok(())
    } else {
        // The name may come from a stranger and go into a message.
        Err(IdentityError::Name(name.chars().take(NAME_BYTES_MAX).collect()))
    }
}

/// Longest name of a node or cluster: that of a DNS label.
const NAME_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests;
