//! An authority of a test's own, and a certificate of it for each end, made by openssl.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::host::skipped;

/// Files in a directory that goes with it.
pub(crate) struct Papers {
    directory: TempDir,
    pub(crate) authority: String,
    pub(crate) server: Pair,
    pub(crate) client: Pair,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// Both in one file.
    pub(crate) both: String,
}

impl Pair {
    /// As the flags of our programs.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }
}

impl Papers {
    /// `None`, said loudly, where openssl is not installed.
    pub(crate) fn new() -> Option<Papers> {
        if Command::new("openssl").arg("version").output().is_err() {
            skipped("TLS with other peers; fix: apt-get install openssl");
            return None;
        }
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let at = directory.path();
        let own = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign"];
        let authority = made(at, "authority", &own, &[]);
        let leaf =
            ["basicConstraints=critical,CA:FALSE", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        let by = ["-CA", &authority.certificate, "-CAkey", &authority.key];
        let [server, client] = ["server", "client"].map(|name| made(at, name, &leaf, &by));
        Some(Papers { authority: authority.certificate, server, client, directory })
    }

    pub(crate) fn place(&self) -> &Path {
        self.directory.path()
    }
}

fn made(at: &Path, name: &str, extensions: &[&str], by: &[&str]) -> Pair {
    let [certificate, key, both] = ["crt", "key", "pem"]
        .map(|end| at.join(format!("{name}.{end}")).to_str().expect("names are plain").to_owned());
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command.args(["-days", "2", "-subj", &format!("/CN={name}"), "-out", &certificate]);
    command.args(["-keyout", &key]).args(by);
    command.args(extensions.iter().flat_map(|extension| ["-addext", extension]));
    let output = command.output().expect("openssl was started before");
    assert!(output.status.success(), "{output:?}");
    let text = [&certificate, &key].map(|path| fs::read_to_string(path).expect("it was made"));
    fs::write(&both, text.concat()).expect("it is our directory");
    Pair { certificate, key, both }
}
