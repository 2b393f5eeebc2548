//! Certificates and keys: read from PEM, or made for a server that has none, and their fingerprints.
//!
//! It is given the bytes of files, and reads none.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The bytes of a file, and where they are from.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// The flag that names the file.
    pub flag: &'static str,
    /// The file.
    pub path: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A certificate with those that sign it, and its key.
#[derive(Debug)]
pub struct Identity {
    /// Its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// A certificate or key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Damaged.
    #[error("{flag} {path}: no PEM: {reason}; fix: a file of `-----BEGIN` and `-----END` lines")]
    NoPem {
        /// Its flag.
        flag: &'static str,
        /// Its file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate.
    #[error(
        "{flag} {path}: no certificate in it; fix: a PEM file with `-----BEGIN CERTIFICATE-----`"
    )]
    NoCertificate {
        /// Its flag.
        flag: &'static str,
        /// Its file.
        path: String,
    },
    /// No key, or one that is encrypted.
    #[error(
        "{flag} {path}: no private key that can be read in it; fix: a PEM file with `-----BEGIN \
         PRIVATE KEY-----`; without its password: openssl pkey -in {path} -out KEY.pem"
    )]
    NoKey {
        /// Its flag.
        flag: &'static str,
        /// Its file.
        path: String,
    },
    /// No certificate can be made for this name.
    #[error("--tls-self-signed: no certificate for the name `{name}`: {reason}; fix: another name")]
    NotMade {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// All certificates of a file, at least one.
///
/// # Errors
/// When there is none, or one is damaged.
pub fn certificates(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all = CertificateDer::pem_slice_iter(pem.bytes).collect::<Result<Vec<_>, _>>();
    let found = all.map_err(|reason| no_pem(pem, &reason))?;
    if found.is_empty() {
        return Err(CertificateError::NoCertificate { flag: pem.flag, path: pem.path.to_owned() });
    }
    Ok(found)
}

impl Identity {
    /// What `--tls-cert` and `--tls-key` name. Both may be the same file.
    ///
    /// # Errors
    /// When one of them holds nothing of its kind. Whether they belong together is seen when a config is made.
    pub fn from_pem(certificate: Pem<'_>, key: Pem<'_>) -> Result<Identity, CertificateError> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.bytes).map_err(|reason| match reason {
            pem::Error::NoItemsFound => {
                CertificateError::NoKey { flag: key.flag, path: key.path.to_owned() }
            }
            reason => no_pem(key, &reason),
        })?;
        Ok(Identity { chain, key })
    }

    /// A new key on P-256 and a certificate of its own for these names, which may be addresses.
    ///
    /// # Errors
    /// When a name is none.
    pub fn self_signed(names: &[String]) -> Result<Identity, CertificateError> {
        let make = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(names)?;
            // A name of its own: a certificate that was signed by another key of the same name is not one of an
            // unknown authority, but a forged one.
            let own = digest(&SHA256, key.public_key_raw());
            let name = format!("megaconn {}", hexadecimal(&own.as_ref()[..8], ""));
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            Ok((params.self_signed(&key)?, key))
        };
        let (certificate, key) = make().map_err(|reason: rcgen::Error| {
            CertificateError::NotMade { name: names.join(", "), reason: reason.to_string() }
        })?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Identity { chain: vec![certificate.into()], key: key.into() })
    }

    /// The fingerprint of its certificate.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.chain.first().map_or_else(String::new, fingerprint)
    }
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` writes it.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, certificate).as_ref(), ":")
}

fn hexadecimal(bytes: &[u8], between: &str) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(between)
}

fn no_pem(pem: Pem<'_>, reason: &pem::Error) -> CertificateError {
    let (path, reason) = (pem.path.to_owned(), reason.to_string());
    CertificateError::NoPem { flag: pem.flag, path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem<'a>(flag: &'static str, bytes: &'a [u8]) -> Pem<'a> {
        Pem { flag, path: "a.pem", bytes }
    }

    #[test]
    fn what_is_no_certificate_says_which_flag_and_what_to_do() {
        let told = |of| certificates(of).unwrap_err().to_string();
        assert_eq!(
            told(pem("--tls-ca", b"")),
            "--tls-ca a.pem: no certificate in it; fix: a PEM file with `-----BEGIN CERTIFICATE-----`"
        );
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert!(told(pem("--tls-cert", cut)).starts_with("--tls-cert a.pem: no PEM: missing"));

        let cert = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(pem("--tls-ca", cert)), Ok(vec![vec![0; 3].into()]));
        let locked =
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for no_key in [&cert[..], locked] {
            let swapped = Identity::from_pem(pem("--tls-cert", cert), pem("--tls-key", no_key));
            let told = swapped.unwrap_err().to_string();
            assert!(told.starts_with("--tls-key a.pem: no private key"), "{told}");
            assert!(told.ends_with("openssl pkey -in a.pem -out KEY.pem"), "{told}");
        }
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let both = Identity::from_pem(pem("--tls-cert", cert), pem("--tls-key", key)).unwrap();
        assert_eq!(both.key.secret_der(), [0; 3]);
    }

    #[test]
    fn a_fingerprint_is_32_bytes_and_each_certificate_has_its_own() {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let [one, other] = [0; 2].map(|_| Identity::self_signed(&names).unwrap().fingerprint());
        assert_eq!(one.len(), 32 * 3 - 1);
        assert_ne!(one, other);
        let told = Identity::self_signed(&["ü".to_owned()]).unwrap_err().to_string();
        assert!(told.starts_with("--tls-self-signed: no certificate for the name `ü`"), "{told}");
    }
}
