//! Who may speak: the keys of wardens.

mod warden;

pub use warden::WardenKey;

use rcgen::{KeyPair, PKCS_ED25519};

/// Why a key or certificate was not made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key pair could not be made.
    #[error("cannot make a key pair")]
    Generate(#[source] rcgen::Error),
    /// A certificate could not be made.
    #[error("cannot make the certificate")]
    Certificate(#[source] rcgen::Error),
}

/// Ed25519 everywhere: small, quick to make, and its signatures take no randomness.
fn generate() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(IdentityError::Generate)
}
