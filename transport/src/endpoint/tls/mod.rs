//! TLS 1.3 on both sides, without resumption, early data or server names.

mod cluster;
mod exact;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CipherSuite, ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(in crate::endpoint) use cluster::{Anchor, ClusterNode, members_or_joiners};
pub(in crate::endpoint) use exact::ExactKeys;

use super::EndpointError;

/// A certificate chain, the end-entity certificate first, and its key.
pub(in crate::endpoint) struct Credentials {
    pub(in crate::endpoint) chain: Vec<CertificateDer<'static>>,
    pub(in crate::endpoint) key: PrivateKeyDer<'static>,
}

/// The accepting side.
pub(in crate::endpoint) fn server(
    credentials: Credentials,
    verifier: Arc<dyn ClientCertVerifier>,
    offers: Vec<Vec<u8>>,
) -> Result<ServerConfig, EndpointError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(EndpointError::Key)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain, credentials.key)
        .map_err(EndpointError::Key)?;
    config.alpn_protocols = offers;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The dialling side; a joiner has no credentials yet.
pub(in crate::endpoint) fn client(
    credentials: Option<Credentials>,
    verifier: Arc<dyn ServerCertVerifier>,
    offers: Vec<Vec<u8>>,
) -> Result<ClientConfig, EndpointError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(EndpointError::Key)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credentials {
        Some(Credentials { chain, key }) => {
            builder.with_client_auth_cert(chain, key).map_err(EndpointError::Key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offers;
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The certificate that the peer of a handshaked connection has proved to own.
pub(in crate::endpoint) fn end_entity(connection: &quinn::Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

/// ring with AES-128-GCM first: a tenth faster than AES-256 and no weaker for this purpose.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

/// The part of a verifier that is the same for everyone: the peer must own the key of its certificate.
macro_rules! owns_its_key {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls_pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls_pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}
use owns_its_key;
