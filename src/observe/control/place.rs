//! Where a run is controlled.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::base::constants::SOCKET_PATH_BYTES_MAX;
use crate::base::units;

/// A Unix socket, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its path.
    Socket(PathBuf),
    /// An address and a port.
    Address(SocketAddr),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return units::own_address(text).map(|_| Place::Address(address));
        }
        if !text.contains('/') {
            return Err(format!(
                "`{text}` is no place; fix: write a path as ./run.sock, or 127.0.0.1:9200"
            ));
        }
        if text.len() > SOCKET_PATH_BYTES_MAX {
            let bytes = text.len();
            return Err(format!(
                "a path of {bytes} bytes is too long for a socket; fix: {SOCKET_PATH_BYTES_MAX} at \
                 most"
            ));
        }
        Ok(Place::Socket(text.into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Address(address) => write!(f, "http://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_an_address() {
        assert_eq!("./a.sock".parse(), Ok(Place::Socket("./a.sock".into())));
        assert_eq!("[::1]:0".parse(), Ok(Place::Address("[::1]:0".parse().expect("it is one"))));
        let long = format!("/{}", "x".repeat(200));
        for text in ["", "run.sock", "127.0.0.1", "224.0.0.1:5", "localhost:80", long.as_str()] {
            assert!(text.parse::<Place>().is_err_and(|line| line.contains("fix: ")), "{text}");
        }
    }
}
