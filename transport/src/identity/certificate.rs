//! What a node's certificate says.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{IdentityError, check_name};
use crate::addr::NodeId;

/// The subject of a node's certificate. It says nothing about who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeCertificate {
    /// From the public key.
    pub(crate) id: NodeId,
    /// The first DNS name.
    pub(crate) name: String,
}

impl NodeCertificate {
    /// Reads a certificate.
    pub(crate) fn parse(certificate: &CertificateDer<'_>) -> Result<NodeCertificate, IdentityError> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| IdentityError::NotANode("not X.509"))?;
        if parsed.is_ca() {
            return Err(IdentityError::NotANode("it is an authority's"));
        }
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| IdentityError::NotANode("unreadable names"))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let name = names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .ok_or(IdentityError::NotANode("it has no name"))?;
        check_name(&name)?;
        Ok(NodeCertificate { id: NodeId::of_public_key(parsed.public_key().raw), name })
    }
}
