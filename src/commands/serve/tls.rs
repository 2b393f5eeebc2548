//! `--tls-cert` and its like: the files are read, and what all cores agree to is made of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use megaconn::base::stderr::talk;
use megaconn::engine::protocol::tls::certificate::{CertificateError, Identity, Pem, certificates};
use megaconn::engine::protocol::tls::config::{ConfigError, ServerSettings, ServerTls, Versions};

use zeroize::Zeroizing;

use crate::commands::serve::flags::TlsFlags;

/// TLS that cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{0} {path}: {2}; fix: a file that this user can read", path = .1.display())]
    File(&'static str, PathBuf, io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0} is one of a pair; fix: --tls-cert and --tls-key, both; they may be one file")]
    NoPair(&'static str),
    #[error("{0} is of TLS; fix: add --tls-cert and --tls-key, or --tls-self-signed")]
    NoTls(&'static str),
}

impl TlsFlags {
    /// What all cores agree to; `None` without TLS. A certificate that is made is for `names`, and told.
    pub(crate) fn read(
        &self,
        names: &[String],
        is_websocket: bool,
    ) -> Result<Option<ServerTls>, TlsError> {
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => read_pair(certificate, key)?,
            (Some(_), None) => return Err(TlsError::NoPair("--tls-cert")),
            (None, Some(_)) => return Err(TlsError::NoPair("--tls-key")),
            _ if self.tls_self_signed => Identity::self_signed(names)?,
            _ if self.tls_client_ca.is_some() => return Err(TlsError::NoTls("--tls-client-ca")),
            _ if self.tls_tickets => return Err(TlsError::NoTls("--tls-tickets")),
            _ => return Ok(None),
        };
        talk(&format!("tls_fingerprint={}", identity.fingerprint()));
        let client_authorities = match &self.tls_client_ca {
            Some(path) => {
                certificates(pem("--tls-client-ca", path, &read(("--tls-client-ca", path))?))?
            }
            None => Vec::new(),
        };
        let protocols = if is_websocket { vec![b"http/1.1".to_vec()] } else { Vec::new() };
        let gives_tickets = self.tls_tickets;
        let settings = ServerSettings {
            identity,
            protocols,
            client_authorities,
            gives_tickets,
            versions: Versions::Both,
        };
        Ok(Some(ServerTls::new(settings)?))
    }

    /// Whether the certificate is in files, which may be loaded anew.
    pub(crate) fn has_files(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Has handshakes of `tls` show what is in the files now, and tells. Of a pair that cannot be used the one of
    /// before is shown further.
    pub(crate) fn reload(&self, tls: &ServerTls) {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return };
        let renew = || {
            // One that never comes to its end would hold up all that this thread does.
            [("--tls-cert", certificate), ("--tls-key", key)].into_iter().try_for_each(regular)?;
            let identity = read_pair(certificate, key)?;
            let fingerprint = identity.fingerprint();
            tls.renew(identity)?;
            Ok(fingerprint)
        };
        talk(&match renew() {
            Ok(fingerprint) => format!("reloaded tls_fingerprint={fingerprint}"),
            Err::<_, TlsError>(error) => {
                format!("warning: the certificate of before is still used: {error}")
            }
        });
    }
}

/// Whether what is there is a file, and no pipe.
fn regular((flag, path): (&'static str, &PathBuf)) -> Result<(), TlsError> {
    let file = |error| TlsError::File(flag, path.clone(), error);
    let is_file = fs::metadata(path).map_err(file)?.is_file();
    let other = || file(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    is_file.then_some(()).ok_or_else(other)
}

/// What the files of a pair hold. Whether it is a pair is seen when it is used.
fn read_pair(certificate: &PathBuf, key: &PathBuf) -> Result<Identity, TlsError> {
    let files = [("--tls-cert", certificate), ("--tls-key", key)];
    let [certificate_bytes, key_bytes] = [read(files[0])?, read(files[1])?];
    let of_certificate = pem("--tls-cert", certificate, &certificate_bytes);
    Ok(Identity::from_pem(of_certificate, pem("--tls-key", key, &key_bytes))?)
}

/// The bytes of a file, which are overwritten when they have been read: it may hold a key.
fn read((flag, path): (&'static str, &PathBuf)) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let bytes = fs::read(path).map_err(|error| TlsError::File(flag, path.clone(), error))?;
    Ok(Zeroizing::new(bytes))
}

fn pem<'a>(flag: &'static str, path: &'a Path, bytes: &'a [u8]) -> Pem<'a> {
    Pem { flag, path: path.to_str().unwrap_or("(a path that is no text)"), bytes }
}
