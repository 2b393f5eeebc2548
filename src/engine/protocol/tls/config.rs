//! What an end agrees to: versions, certificates, trust, ALPN, tickets. Made once, before the data path starts, and
//! shared by all connections of a core or a process.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::UnixTime;
pub use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};

use crate::engine::protocol::tls::certificate::Identity;
use crate::engine::protocol::tls::served::Served;
use crate::engine::protocol::tls::traffic::Log;

/// Tickets that a server gives a client of TLS 1.3: each costs a record in the handshake.
const TICKETS: usize = 1;

/// Versions that are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3, and 1.2 with peers that have no other.
    #[default]
    Both,
    /// TLS 1.3 alone.
    Tls13,
    /// TLS 1.2 alone.
    Tls12,
}

/// What a server agrees to.
#[derive(Debug)]
pub struct ServerSettings {
    /// Its certificate.
    pub identity: Identity,
    /// Protocols of ALPN, the best first. Without any, what clients offer is ignored.
    pub protocols: Vec<Vec<u8>>,
    /// Authorities of clients: every client needs a certificate of one of them. Without any, none does.
    pub client_authorities: Vec<CertificateDer<'static>>,
    /// Whether clients get tickets, with which a later handshake is shorter.
    pub gives_tickets: bool,
    /// Versions.
    pub versions: Versions,
}

/// What a client agrees to.
#[derive(Debug)]
pub struct ClientSettings {
    /// Which servers are believed.
    pub trust: Trust,
    /// Its certificate, for servers that ask for one.
    pub identity: Option<Identity>,
    /// Protocols of ALPN, the best first.
    pub protocols: Vec<Vec<u8>>,
    /// Whether it keeps tickets and uses them.
    pub keeps_tickets: bool,
    /// Versions.
    pub versions: Versions,
}

/// Which servers a client believes.
#[derive(Debug)]
pub enum Trust {
    /// Those with a certificate of these authorities, or with one of these.
    Authorities(Vec<CertificateDer<'static>>),
    /// Those with a certificate of an authority that this host trusts.
    System,
    /// Any, whatever its certificate says. It must still have the key of it.
    Anything,
}

/// The config of all connections of a server, and the certificate that they are shown.
#[derive(Clone, Debug)]
pub struct ServerTls(pub(super) Arc<ServerConfig>, Arc<Served>);

/// The config of all connections of a client.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) keeps_tickets: bool,
}

/// A config that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two files of different pairs.
    #[error(
        "--tls-key: it is not the key of --tls-cert; fix: the key that the certificate was made with"
    )]
    OtherKey,
    /// Another fault of a certificate or key.
    #[error(
        "--tls-cert, --tls-key: {0}; fix: a certificate of X.509 v3 with a key of RSA, P-256, P-384 or Ed25519"
    )]
    BadIdentity(String),
    /// An authority that is none.
    #[error("--tls-ca: {0}; fix: certificates of authorities, in PEM")]
    BadAuthority(String),
    /// This host trusts none.
    #[error(
        "--tls: this host has no authorities to trust{0}; fix: install ca-certificates, or --tls-ca FILE"
    )]
    NoAuthorities(String),
    /// No name of a server.
    #[error(
        "--tls-server-name {0}: neither a name of DNS nor an address; fix: the name that is in the \
         certificate of the server"
    )]
    BadServerName(String),
}

impl ServerTls {
    /// A config of these settings.
    ///
    /// # Errors
    /// When the key is not that of the certificate, or an authority is none.
    pub fn new(settings: ServerSettings) -> Result<ServerTls, ConfigError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(settings.versions.all())
            .expect("the provider has suites of both versions");
        let builder = if settings.client_authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let roots = Arc::new(store(settings.client_authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let bad = |reason: rustls::server::VerifierBuilderError| {
                ConfigError::BadAuthority(reason.to_string())
            };
            builder.with_client_cert_verifier(verifier.map_err(bad)?)
        };
        let pair = pair(settings.identity, builder.crypto_provider())?;
        let served = Arc::new(Served::new(pair));
        let mut config = builder.with_cert_resolver(Arc::clone(&served) as _);
        config.alpn_protocols = settings.protocols;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = if settings.gives_tickets { TICKETS } else { 0 };
        if settings.gives_tickets {
            config.ticketer = ring::Ticketer::new()
                .map_err(|reason| ConfigError::BadIdentity(reason.to_string()))?;
        }
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Log);
        Ok(ServerTls(Arc::new(config), served))
    }

    /// From now on handshakes show this certificate, on all cores that have a clone of this config.
    ///
    /// # Errors
    /// When the key is not that of the certificate: then the one of before is shown further.
    pub fn renew(&self, identity: Identity) -> Result<(), ConfigError> {
        self.1.renew(pair(identity, self.0.crypto_provider())?);
        Ok(())
    }
}

impl ClientTls {
    /// A config of these settings.
    ///
    /// # Errors
    /// When the key is not that of the certificate, an authority is none, or this host trusts none.
    pub fn new(settings: ClientSettings) -> Result<ClientTls, ConfigError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(settings.versions.all())
            .expect("the provider has suites of both versions");
        let builder = match settings.trust {
            Trust::Authorities(authorities) => builder.with_root_certificates(store(authorities)?),
            Trust::System => builder.with_root_certificates(system_store()?),
            Trust::Anything => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Believer(provider)))
            }
        };
        let mut config = match settings.identity {
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(of_identity)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.protocols;
        if !settings.keeps_tickets {
            config.resumption = Resumption::disabled();
        }
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(Log);
        Ok(ClientTls { config: Arc::new(config), keeps_tickets: settings.keeps_tickets })
    }

    /// Whether later handshakes are resumed.
    #[must_use]
    pub fn resumes(&self) -> bool {
        self.keeps_tickets
    }
}

/// The name of a server, or its address, as its certificate has it.
///
/// # Errors
/// When it is neither.
pub fn server_name(text: &str) -> Result<ServerName<'static>, ConfigError> {
    ServerName::try_from(text.to_owned()).map_err(|_| ConfigError::BadServerName(text.to_owned()))
}

impl Versions {
    fn all(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Versions::Both => &BOTH,
            Versions::Tls13 => &BOTH[..1],
            Versions::Tls12 => &BOTH[1..],
        }
    }
}

/// *ring*, with AES-128 as the first of what we ask for: its hash has instructions of its own on most CPUs, and keys
/// are made anew for each record of a connection that rests. A server follows the order of its client.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let is_first = |name| {
        use CipherSuite::{
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS13_AES_128_GCM_SHA256,
        };
        matches!(
            name,
            TLS13_AES_128_GCM_SHA256
                | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(|suite| !is_first(suite.suite()));
    Arc::new(provider)
}

fn store(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    for authority in authorities {
        store.add(authority).map_err(|reason| ConfigError::BadAuthority(reason.to_string()))?;
    }
    Ok(store)
}

/// What the host trusts. Some of it may be too old to be read, which harms none of the rest.
fn system_store() -> Result<RootCertStore, ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(ConfigError::NoAuthorities(reason));
    }
    Ok(store)
}

/// A certificate with its key, when they belong together.
fn pair(identity: Identity, provider: &CryptoProvider) -> Result<CertifiedKey, ConfigError> {
    let Identity { chain, key } = identity;
    CertifiedKey::from_der(chain, key, provider).map_err(of_identity)
}

fn of_identity(error: Error) -> ConfigError {
    match error {
        Error::InconsistentKeys(_) => ConfigError::OtherKey,
        other => ConfigError::BadIdentity(other.to_string()),
    }
}

/// Believes every certificate.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _signed_by: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
