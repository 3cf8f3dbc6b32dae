//! The cluster's authority: the key that says which nodes belong to it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};

use super::file::{self, Access};
use super::{IdentityError, JoinerKey, NodeIdentity, check_name, generate};
use crate::addr::{sha256, to_hex};

/// The authority of a cluster: a certificate that every node knows, and the key that only its holders have.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// The first 128 bits of the SHA-256 of an authority's certificate: enough that nobody can make a second one that
/// fits, and short enough for a join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityPin(pub [u8; 16]);

impl AuthorityPin {
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> AuthorityPin {
        let mut pin = [0; 16];
        pin.copy_from_slice(&sha256(certificate)[..16]);
        AuthorityPin(pin)
    }
}

impl Authority {
    /// Founds a cluster.
    ///
    /// # Errors
    /// [`IdentityError::Name`], [`IdentityError::Generate`] and [`IdentityError::Certificate`].
    pub fn create(cluster_name: &str, now: SystemTime) -> Result<Authority, IdentityError> {
        check_name(cluster_name)?;
        let key = generate()?;
        let mut params = params(cluster_name, now, AUTHORITY_VALID);
        // Clusters of the same name must not take each other's certificates for badly signed ones of their own.
        let key_id = to_hex(&sha256(&key.subject_public_key_info())[..8]);
        params.distinguished_name.push(DnType::OrganizationalUnitName, key_id);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(IdentityError::Certificate)?;
        Ok(Authority { certificate_pem: certificate.pem(), certificate: certificate.der().clone(), key })
    }

    /// Reads what [`Authority::save`] wrote.
    ///
    /// # Errors
    /// [`IdentityError::Read`], [`IdentityError::Exposed`], [`IdentityError::NoKey`] and
    /// [`IdentityError::NoCertificate`].
    pub fn load(dir: &Path) -> Result<Authority, IdentityError> {
        let (certificate_pem, certificate) = file::read_certificate(dir, AUTHORITY_CERTIFICATE)?;
        let key = file::read_key(dir, AUTHORITY_KEY)?;
        Ok(Authority { certificate_pem, certificate, key })
    }

    /// Writes `ca.crt` and, readable for its owner only, `ca.key`.
    ///
    /// # Errors
    /// [`IdentityError::Write`].
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        file::write(dir, AUTHORITY_KEY, &self.key.serialize_pem(), Access::Owner)?;
        file::write(dir, AUTHORITY_CERTIFICATE, &self.certificate_pem, Access::Everyone)
    }

    /// Signs a node's request: a certificate for its key and this name, in PEM, valid for 30 days. Nothing else of
    /// what the request asks for is granted. That no other node has the name is for the caller to know.
    ///
    /// # Errors
    /// [`IdentityError::Name`], [`IdentityError::Request`] and [`IdentityError::Certificate`].
    pub fn sign(&self, request_der: &[u8], name: &str, now: SystemTime) -> Result<String, IdentityError> {
        check_name(name)?;
        let request = CertificateSigningRequestDer::from(request_der);
        let request = CertificateSigningRequestParams::from_der(&request).map_err(IdentityError::Request)?;
        let mut params = params(name, now, NODE_VALID);
        params.subject_alt_names =
            CertificateParams::new([name.to_owned()]).map_err(IdentityError::Certificate)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(IdentityError::Certificate)?;
        let certificate =
            params.signed_by(&request.public_key, &issuer).map_err(IdentityError::Certificate)?;
        Ok(certificate.pem())
    }

    /// A node of this cluster that needs not join: the one where the cluster is founded.
    ///
    /// # Errors
    /// As [`Authority::sign`], and [`IdentityError::Generate`].
    pub fn issue(&self, name: &str, now: SystemTime) -> Result<NodeIdentity, IdentityError> {
        let (key, request) = NodeIdentity::for_joiner()?;
        let certificate_pem = self.sign(&request, name, now)?;
        JoinerKey::complete(key, certificate_pem, self.certificate_pem.clone())
    }

    /// The authority's certificate in PEM: no secret.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What a join token says about this authority.
    #[must_use]
    pub fn pin(&self) -> AuthorityPin {
        AuthorityPin::of_certificate(&self.certificate)
    }
}

fn params(common_name: &str, now: SystemTime, valid: Duration) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = (now - CLOCK_SKEW_MAX).into();
    params.not_after = (now + valid).into();
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an authority's certificate is valid.
const AUTHORITY_VALID: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// How long a node's certificate is valid.
const NODE_VALID: Duration = Duration::from_secs(30 * DAY.as_secs());

/// How far a node's clock may be behind the authority's.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);
