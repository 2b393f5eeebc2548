//! Why a handshake failed, in words that name the flag to change.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// First bytes of a peer that are kept when they are no TLS.
pub(super) const FIRST_BYTES_MAX: usize = 16;

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// The alert that tells the peer so, as far as it is known; its bytes are among those to send.
    pub alert: Option<AlertDescription>,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Something else than TLS: its first bytes.
    #[error("the peer does not speak TLS, it began with `{}`; fix: TLS at both ends, or at neither", .0.escape_ascii())]
    NotTls(Vec<u8>),
    /// The connection ended after as many bytes.
    #[error("the peer closed amid the handshake, after {0} bytes of it")]
    Ended(usize),
    /// The peer has given up.
    #[error("the peer gave the handshake up, by the alert {}", alert_text(*.0))]
    AlertReceived(AlertDescription),
    /// A certificate of the past.
    #[error("the certificate of the peer has expired; fix: a new one, or --tls-insecure")]
    CertificateExpired,
    /// A certificate of the future.
    #[error("the certificate of the peer is not valid yet; fix: see the clocks of both hosts")]
    CertificateNotYetValid,
    /// Signed by an authority that is not trusted.
    #[error("the certificate of the peer is of no authority that is trusted; fix: --tls-ca FILE")]
    UnknownAuthority,
    /// A certificate of another name.
    #[error("the certificate of the peer is of another name{0}; fix: --tls-server-name NAME")]
    OtherName(String),
    /// A certificate with another fault.
    #[error("the certificate of the peer is refused: {0}; fix: another one, or --tls-insecure")]
    BadCertificate(String),
    /// A client without a certificate, where one is asked for.
    #[error("the client has no certificate; fix: --tls-cert and --tls-key at the client")]
    NoCertificate,
    /// Neither TLS 1.2 nor 1.3, or not the one that is allowed.
    #[error("the peer speaks no version of TLS that is allowed here")]
    NoCommonVersion,
    /// No suite, group or signature that both know.
    #[error("the ends have no cipher in common: {0}")]
    NoCommonCipher(String),
    /// No ALPN protocol that both know.
    #[error("the ends have no protocol of ALPN in common")]
    NoCommonProtocol,
    /// The handshake has more bytes than any that is honest.
    #[error("the handshake is longer than {0} bytes")]
    TooLong(usize),
    /// The peer does not keep to TLS.
    #[error("the peer breaks the rules of TLS: {0}")]
    Misbehaved(String),
    /// Something of ours.
    #[error("TLS failed at this end: {0}")]
    Ours(String),
}

impl From<Error> for Reason {
    fn from(error: Error) -> Reason {
        match error {
            Error::AlertReceived(alert) => Reason::AlertReceived(alert),
            Error::InvalidCertificate(fault) => of_certificate(&fault),
            Error::NoCertificatesPresented => Reason::NoCertificate,
            Error::NoApplicationProtocol => Reason::NoCommonProtocol,
            Error::PeerIncompatible(what) => incompatible(&what),
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Reason::Misbehaved(error.to_string()),
            other => Reason::Ours(other.to_string()),
        }
    }
}

fn of_certificate(fault: &CertificateError) -> Reason {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Reason::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Reason::CertificateNotYetValid
        }
        CertificateError::UnknownIssuer => Reason::UnknownAuthority,
        CertificateError::NotValidForName => Reason::OtherName(String::new()),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let [expected, names] = [expected.to_str().into_owned(), presented.join(", ")];
            Reason::OtherName(format!(" than {expected}: {names}"))
        }
        other => Reason::BadCertificate(other.to_string()),
    }
}

fn incompatible(what: &PeerIncompatible) -> Reason {
    match what {
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired => Reason::NoCommonVersion,
        other => Reason::NoCommonCipher(format!("{other:?}")),
    }
}

/// An alert by its name and number.
#[must_use]
pub fn alert_text(alert: AlertDescription) -> String {
    format!("{alert:?} ({})", u8::from(alert))
}
