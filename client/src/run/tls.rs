//! `--tls-ca` and its like: what a run believes and shows of itself when its targets speak TLS.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use megaconn::engine::protocol::tls::certificate::{CertificateError, Identity, Pem, certificates};
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, ConfigError, ServerName, Trust, Versions, server_name,
};

/// Of targets with tls:// or wss://.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    /// Authorities of servers [default: the system's]
    ///
    /// A file in PEM: the certificate of a server is one of them, or of one of them.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "TLS",
        hide_short_help = true,
        conflicts_with = "tls_insecure"
    )]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Believe any certificate
    ///
    /// For servers of your own: who is between can read and change everything.
    #[arg(long, help_heading = "TLS", hide_short_help = true)]
    pub(crate) tls_insecure: bool,
    /// Name in the server's certificate [default: that of --target]
    #[arg(long, value_name = "NAME", help_heading = "TLS", hide_short_help = true, value_parser = name)]
    pub(crate) tls_server_name: Option<String>,
    /// Certificate of the client [default: none]
    ///
    /// A file in PEM, for servers that ask for one.
    #[arg(long, value_name = "FILE", help_heading = "TLS", hide_short_help = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", help_heading = "TLS", hide_short_help = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Resume sessions
    ///
    /// Of each core, connections after the first ones take up an earlier session, by a ticket (TLS 1.3 and 1.2) or
    /// its number (TLS 1.2). A ticket of TLS 1.3 is used once while there is another; in a burst the last one is
    /// used again. The result says how many handshakes were full and how many resumed. Default: all are full.
    #[arg(long, help_heading = "TLS", hide_short_help = true)]
    pub(crate) tls_resume: bool,
}

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
    #[error("{0} is of TLS; fix: --target tls://HOST:PORT or wss://HOST:PORT/PATH")]
    NoTls(&'static str),
}

/// What a run agrees to, and the name of each server, as its certificate has it.
pub(crate) type Agreed = (ClientTls, HashMap<SocketAddr, ServerName<'static>>);

/// The name of the server at `target`, which requests call `host`.
fn name_of(target: SocketAddr, host: &str) -> ServerName<'static> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    server_name(name).unwrap_or_else(|_| ServerName::IpAddress(target.ip().into()))
}

impl TlsFlags {
    /// What is made of them, when the targets, which requests call by their `hosts`, speak TLS.
    pub(crate) fn read(
        &self,
        is_tls: bool,
        hosts: &HashMap<SocketAddr, Box<str>>,
    ) -> Result<Option<Agreed>, TlsError> {
        let given = [
            ("--tls-ca", self.tls_ca.is_some()),
            ("--tls-insecure", self.tls_insecure),
            ("--tls-server-name", self.tls_server_name.is_some()),
            ("--tls-cert", self.tls_cert.is_some()),
            ("--tls-key", self.tls_key.is_some()),
            ("--tls-resume", self.tls_resume),
        ];
        if !is_tls {
            let first = given.into_iter().find(|(_, is_given)| *is_given);
            return first.map_or(Ok(None), |(flag, _)| Err(TlsError::NoTls(flag)));
        }
        let trust = match &self.tls_ca {
            Some(path) => {
                Trust::Authorities(certificates(pem("--tls-ca", path, &read("--tls-ca", path)?))?)
            }
            None if self.tls_insecure => Trust::Anything,
            None => Trust::System,
        };
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(Identity::from_pem(
                pem("--tls-cert", certificate, &read("--tls-cert", certificate)?),
                pem("--tls-key", key, &read("--tls-key", key)?),
            )?),
            (Some(_), None) => return Err(TlsError::NoPair("--tls-cert")),
            (None, Some(_)) => return Err(TlsError::NoPair("--tls-key")),
            (None, None) => None,
        };
        let name = self.tls_server_name.as_deref().map(server_name).transpose()?;
        let settings = ClientSettings {
            trust,
            identity,
            protocols: Vec::new(),
            keeps_tickets: self.tls_resume,
            versions: Versions::Both,
        };
        let names = hosts.iter().map(|(target, host)| {
            (*target, name.clone().unwrap_or_else(|| name_of(*target, host)))
        });
        Ok(Some((ClientTls::new(settings)?, names.collect())))
    }
}

/// A name, or an address, as certificates have them.
fn name(text: &str) -> Result<String, String> {
    let error = || format!("`{text}` is no name of a host; fix: write a name or an address");
    server_name(text).map(|_| text.to_owned()).map_err(|_| error())
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File(flag, path.to_owned(), error))
}

fn pem<'a>(flag: &'static str, path: &'a Path, bytes: &'a [u8]) -> Pem<'a> {
    Pem { flag, path: path.to_str().unwrap_or("(a path that is no text)"), bytes }
}
