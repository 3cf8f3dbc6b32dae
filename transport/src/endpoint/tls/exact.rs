//! How wardens know each other: by the exact key.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{algorithms, owns_its_key};
use crate::addr::KeyHash;

/// Accepts exactly the keys that it holds, whoever signed their certificates.
#[derive(Debug)]
pub(in crate::endpoint) struct ExactKeys {
    keys: RwLock<HashSet<KeyHash>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactKeys {
    pub(in crate::endpoint) fn new(keys: impl IntoIterator<Item = KeyHash>) -> ExactKeys {
        ExactKeys { keys: RwLock::new(keys.into_iter().collect()), algorithms: algorithms() }
    }

    pub(in crate::endpoint) fn allow(&self, key: KeyHash) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    pub(in crate::endpoint) fn disallow(&self, key: KeyHash) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.contains(&KeyHash::of_certificate(certificate)) {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

impl ServerCertVerifier for ExactKeys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    owns_its_key!();
}

impl ClientCertVerifier for ExactKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    owns_its_key!();
}
