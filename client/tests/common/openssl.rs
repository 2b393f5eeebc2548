//! openssl as another end of TLS.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A program that ends with this.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command of openssl.
pub(crate) fn openssl(words: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// A pair of files for this host, made by openssl.
pub(crate) fn pair(place: &Path) -> [String; 2] {
    pair_of(place, "DNS:localhost,IP:127.0.0.1")
}

/// The same for other names.
pub(crate) fn pair_of(place: &Path, names: &str) -> [String; 2] {
    let [certificate, key] = ["c.pem", "k.pem"].map(|name| place.join(name).display().to_string());
    let words = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=megaconn \
         -addext subjectAltName={names} -addext basicConstraints=critical,CA:FALSE \
         -keyout {key} -out {certificate}"
    );
    let words: Vec<&str> = words.split_whitespace().collect();
    let status = openssl(&words).status().expect("openssl is there; fix: apt-get install openssl");
    assert!(status.success());
    [certificate, key]
}
