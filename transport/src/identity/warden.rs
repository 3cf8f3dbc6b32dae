//! The key of one warden, made when it starts and gone when it ends.

use rcgen::CertificateParams;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{IdentityError, generate};
use crate::addr::KeyHash;

/// A fresh key with a certificate that it signed itself. Nobody vouches for it: the agents exchange its
/// [hash](WardenKey::hash) over their own connection, and the peer accepts exactly that one.
#[derive(Debug)]
pub struct WardenKey {
    certificate: CertificateDer<'static>,
    private_key: PrivateKeyDer<'static>,
}

impl WardenKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] and [`IdentityError::Certificate`].
    pub fn generate() -> Result<WardenKey, IdentityError> {
        let key = generate()?;
        let certificate =
            CertificateParams::default().self_signed(&key).map_err(IdentityError::Certificate)?;
        Ok(WardenKey { certificate: certificate.der().clone(), private_key: key.into() })
    }

    /// What the peer is told to accept.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of_certificate(&self.certificate)
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        self.private_key.clone_key()
    }
}
