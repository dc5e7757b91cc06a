//! TLS towards the upstream: which authorities are trusted, and rustls's own safe defaults.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_native_certs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::StartError;
use crate::settings::{Authorities, UPSTREAM_CA};

/// TLS 1.2 and 1.3, HTTP/1.1 only; certificates are verified against the system's authorities and those
/// in `added`.
///
/// `needed` says whether the upstream speaks TLS at all: if not, a system without authorities is fine.
pub(crate) fn client_config(
    added: &[Authorities],
    needed: bool,
) -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    // Broken files among the system's are common, and harmless while others can be read. It would believe
    // SSL_CERT_FILE and SSL_CERT_DIR, but hardening has taken them out of the environment.
    roots.add_parsable_certificates(load_native_certs().certs);
    for Authorities { path, named_by } in added {
        add_file(&mut roots, path, *named_by == UPSTREAM_CA)
            .map_err(|source| StartError::Authorities { path: path.clone(), named_by, source })?;
    }
    if needed && roots.is_empty() {
        return Err(StartError::NoAuthorities);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Resources { what: "TLS", source: error.into() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A file besides the system's. Of one that was named for us each certificate must count; one that was named for
/// all programs may be a bundle, in which some never do.
fn add_file(roots: &mut RootCertStore, path: &Path, is_for_us: bool) -> anyhow::Result<()> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path)? {
        let added = roots.add(certificate?).context("a certificate in it is no authority's");
        if is_for_us {
            added?;
        }
    }
    if roots.len() == before { Err(anyhow!("there is no certificate in it")) } else { Ok(()) }
}
