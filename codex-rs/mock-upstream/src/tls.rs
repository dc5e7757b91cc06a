//! A certificate authority made just now, and a server certificate under it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::StartError;

/// The names that the certificate is for.
const NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// TLS for one mock: how it accepts, and whom a client must trust for that.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) authority_pem: String,
}

pub(crate) fn make() -> Result<Tls, StartError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "mock upstream authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(NAMES.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "mock upstream");
    let server = server.signed_by(&server_key, &authority)?;

    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], PrivateKeyDer::from(server_key))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), authority_pem: authority.pem() })
}
