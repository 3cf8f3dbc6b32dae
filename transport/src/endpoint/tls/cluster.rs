//! How the nodes of a cluster know each other: by certificates of its authority.

use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{algorithms, owns_its_key, provider};
use crate::addr::NodeId;
use crate::endpoint::EndpointError;
use crate::identity::{AuthorityPin, NodeCertificate};

/// Accepts, when dialling, a node of the cluster, or exactly one.
#[derive(Debug)]
pub(in crate::endpoint) struct ClusterNode {
    anchor: Anchor,
    expected: Option<NodeId>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What is known of the cluster's authority.
#[derive(Debug)]
pub(in crate::endpoint) enum Anchor {
    /// Its certificate.
    Certificate(CertificateDer<'static>),
    /// What a join token says: the node must bring the certificate that fits.
    Pin(AuthorityPin),
}

impl ClusterNode {
    pub(in crate::endpoint) fn new(anchor: Anchor, expected: Option<NodeId>) -> ClusterNode {
        ClusterNode { anchor, expected, algorithms: algorithms() }
    }
}

impl ServerCertVerifier for ClusterNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = match &self.anchor {
            Anchor::Certificate(certificate) => certificate,
            Anchor::Pin(pin) => intermediates
                .iter()
                .find(|certificate| AuthorityPin::of_certificate(certificate) == *pin)
                .ok_or(CertificateError::UnknownIssuer)?,
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, self.algorithms.all)?;

        let node = NodeCertificate::parse(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if self.expected.is_some_and(|expected| expected != node.id) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    owns_its_key!();
}

/// Accepts, when dialled, nodes of the cluster, and peers without a certificate: whether the latter may do what they
/// ask for is decided when it is known what that is.
pub(in crate::endpoint) fn members_or_joiners(
    authority: CertificateDer<'static>,
) -> Result<Arc<dyn ClientCertVerifier>, EndpointError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(EndpointError::Key)?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .clear_root_hint_subjects()
        .allow_unauthenticated()
        .build()
        .map_err(|error| EndpointError::Key(Error::General(error.to_string())))
}
