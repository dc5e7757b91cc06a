//! A certificate authority made just now, and a server certificate under it, or one that is bad in one way.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

use crate::StartError;

/// The names that a certificate is for.
const NAMES: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
/// Nobody has this one (RFC 2606 section 2).
const WRONG_NAMES: [&str; 1] = ["elsewhere.example"];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The certificate that a server shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificate {
    /// Under the authority, for 127.0.0.1, ::1 and localhost
    #[default]
    Valid,
    /// Under the authority, for elsewhere.example alone
    WrongHost,
    /// Valid until yesterday
    Expired,
    /// Valid from tomorrow on
    NotYetValid,
    /// Under no authority but itself
    SelfSigned,
    /// Made to sign others, as `openssl req -x509` makes them
    Authority,
}

/// TLS for a server: a mock's, or one of a test's own making.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// How it accepts: with this certificate, for HTTP/1.1.
    pub config: Arc<ServerConfig>,
    /// The authority that a client must trust, in PEM.
    pub authority_pem: String,
}

impl ServerTls {
    /// Makes an authority, keys and the certificate.
    ///
    /// # Errors
    ///
    /// There is no randomness, or the TLS library does not accept what was made.
    pub fn make(certificate: Certificate) -> Result<Self, StartError> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "mock upstream authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let names = match certificate {
            Certificate::WrongHost => WRONG_NAMES.as_slice(),
            _ => NAMES.as_slice(),
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "mock upstream");
        let epoch = date_time_ymd(1970, 1, 1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match certificate {
            Certificate::Expired => server.not_after = epoch + now.saturating_sub(DAY),
            Certificate::NotYetValid => server.not_before = epoch + (now + DAY),
            Certificate::Authority => server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Certificate::Valid | Certificate::WrongHost | Certificate::SelfSigned => {}
        }
        let server_key = KeyPair::generate()?;
        let server = match certificate {
            Certificate::SelfSigned => server.self_signed(&server_key)?,
            _ => server.signed_by(&server_key, &authority)?,
        };

        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], PrivateKeyDer::from(server_key))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), authority_pem: authority.pem() })
    }
}
