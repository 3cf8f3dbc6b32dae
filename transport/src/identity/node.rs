//! One node's key and the certificate that the cluster's authority gave it.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::authority::AUTHORITY_CERTIFICATE;
use super::certificate::NodeCertificate;
use super::file::{self, Access};
use super::{AuthorityPin, IdentityError, generate};
use crate::addr::NodeId;

/// What a node shows to others, and by what it knows them.
#[derive(Debug)]
pub struct NodeIdentity {
    subject: NodeCertificate,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    authority_pem: String,
    authority: CertificateDer<'static>,
    key: KeyPair,
}

/// A node's key while its certificate is on the way.
#[derive(Debug)]
pub struct JoinerKey(KeyPair);

impl NodeIdentity {
    /// A fresh key, and the request (DER) that [`Authority::sign`](super::Authority::sign) takes.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] and [`IdentityError::Certificate`].
    pub fn for_joiner() -> Result<(JoinerKey, Vec<u8>), IdentityError> {
        let key = generate()?;
        let request =
            CertificateParams::default().serialize_request(&key).map_err(IdentityError::Certificate)?;
        Ok((JoinerKey(key), request.der().to_vec()))
    }

    /// The id of the node whose certificate this is.
    ///
    /// # Errors
    /// [`IdentityError::NotANode`].
    pub fn certified(certificate_pem: &str) -> Result<NodeId, IdentityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| IdentityError::NotANode("no PEM"))?;
        Ok(NodeCertificate::parse(&certificate)?.id)
    }

    /// Reads what [`NodeIdentity::save`] wrote.
    ///
    /// # Errors
    /// [`IdentityError::Read`], [`IdentityError::Exposed`], [`IdentityError::NoKey`],
    /// [`IdentityError::NoCertificate`], [`IdentityError::NotANode`] and [`IdentityError::Mismatch`].
    pub fn load(dir: &Path) -> Result<NodeIdentity, IdentityError> {
        let (certificate_pem, certificate) = file::read_certificate(dir, NODE_CERTIFICATE)?;
        let (authority_pem, authority) = file::read_certificate(dir, AUTHORITY_CERTIFICATE)?;
        let key = file::read_key(dir, NODE_KEY)?;
        let subject = subject(&certificate, &key)?;
        Ok(NodeIdentity { subject, certificate_pem, certificate, authority_pem, authority, key })
    }

    /// Writes `node.crt`, `ca.crt` and, readable for its owner only, `node.key`.
    ///
    /// # Errors
    /// [`IdentityError::Write`].
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        file::write(dir, NODE_KEY, &self.key.serialize_pem(), Access::Owner)?;
        file::write(dir, AUTHORITY_CERTIFICATE, &self.authority_pem, Access::Everyone)?;
        file::write(dir, NODE_CERTIFICATE, &self.certificate_pem, Access::Everyone)
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.subject.id
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.subject.name
    }

    /// The cluster's authority.
    #[must_use]
    pub fn authority(&self) -> AuthorityPin {
        AuthorityPin::of_certificate(&self.authority)
    }

    /// The node's certificate, then the authority's: a joiner looks for the one that its token names.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.authority.clone()]
    }

    pub(crate) fn authority_certificate(&self) -> CertificateDer<'static> {
        self.authority.clone()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

impl JoinerKey {
    /// The identity, once the authority has signed the request.
    ///
    /// # Errors
    /// [`IdentityError::NotANode`], also for certificates that cannot be read, and [`IdentityError::Mismatch`].
    pub fn complete(
        self,
        certificate_pem: String,
        authority_pem: String,
    ) -> Result<NodeIdentity, IdentityError> {
        let parse = |pem: &str| {
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| IdentityError::NotANode("not PEM"))
        };
        let certificate = parse(&certificate_pem)?;
        let authority = parse(&authority_pem)?;
        let subject = subject(&certificate, &self.0)?;
        Ok(NodeIdentity { subject, certificate_pem, certificate, authority_pem, authority, key: self.0 })
    }
}

/// What the certificate says, if it is for this key.
fn subject(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<NodeCertificate, IdentityError> {
    let subject = NodeCertificate::parse(certificate)?;
    if subject.id == NodeId::of_public_key(&key.subject_public_key_info()) {
        Ok(subject)
    } else {
        Err(IdentityError::Mismatch)
    }
}

const NODE_CERTIFICATE: &str = "node.crt";
const NODE_KEY: &str = "node.key";
