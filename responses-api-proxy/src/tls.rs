//! TLS towards the upstream: which authorities are trusted, and rustls's own safe defaults.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::StartError;
use crate::settings::Authorities;

/// TLS 1.2 and 1.3, HTTP/1.1 only, certificates verified against `authorities`.
///
/// `needed` says whether the upstream speaks TLS at all: if not, a system without authorities is fine.
pub(crate) fn client_config(
    authorities: &Authorities,
    needed: bool,
) -> Result<ClientConfig, StartError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(standard(authorities)?);
    for path in &authorities.added {
        add_file(&mut roots, path)
            .map_err(|source| StartError::Authorities { path: path.clone(), source })?;
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

/// The system's authorities, or those that the environment names in their place.
fn standard(authorities: &Authorities) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let (file, folder) = (authorities.file.as_deref(), authorities.folder.as_deref());
    let Some(path) = file.or(folder) else {
        // Broken files among the system's are common, and harmless while others can be read.
        return Ok(load_native_certs().certs);
    };
    let CertificateResult { certs, errors, .. } = load_certs_from_paths(file, folder);
    if certs.is_empty() {
        let source = match errors.into_iter().next() {
            Some(error) => error.into(),
            None => anyhow!("there is no certificate in it"),
        };
        return Err(StartError::Authorities { path: path.to_owned(), source });
    }
    Ok(certs)
}

/// A file that the operator named: every certificate in it counts, or none.
fn add_file(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).context("while opening it")? {
        let certificate = certificate.context("while reading it")?;
        roots.add(certificate).context("while taking a certificate as an authority")?;
    }
    if roots.len() == before { Err(anyhow!("there is no certificate in it")) } else { Ok(()) }
}
