//! The baseline with tokio-rustls: as tokio-echo, in TLS, on *ring*. It gives no tickets, as ours gives none
//! unasked.
//!
//! Usage: tokio-tls-echo PORT CERTIFICATE KEY, both in PEM. It listens on 127.0.0.1, and runs where it may run
//! until SIGTERM.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const BACKLOG: u32 = 4096;
const BUFFER_BYTES: usize = 128;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, certificate, key] = &words[..] else {
        return Err(io::Error::other("usage: tokio-tls-echo PORT CERTIFICATE KEY"));
    };
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key).map_err(io::Error::other)?;
    config.send_tls13_tickets = 0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime.block_on(serve((Ipv4Addr::LOCALHOST, port).into(), acceptor))
}

async fn serve(address: SocketAddr, acceptor: TlsAcceptor) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A peer that fails is done with.
        let acceptor = acceptor.clone();
        tokio::spawn(async move { echo(acceptor, stream).await.ok() });
    }
}

/// Sends back what comes until the peer ends.
async fn echo(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    // Boxed, so that the handshake's state is not a part of the task afterwards.
    let mut stream = Box::pin(acceptor.accept(stream)).await?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got]).await?;
        stream.flush().await?;
    }
}
