//! The baseline with tokio: one thread, a `TcpStream` and a task with a small buffer for each
//! connection. The buffer is larger than a message of compare.sh, so that tokio knows after one read
//! that it has all, and does not try another.
//!
//! Usage: tokio-echo PORT. It listens on 127.0.0.1, and runs where it may run until SIGTERM.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const BACKLOG: u32 = 4096;
const BUFFER_BYTES: usize = 128;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: tokio-echo PORT"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve((Ipv4Addr::LOCALHOST, port).into()))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A peer that fails is done with.
        tokio::spawn(async move { echo(stream).await.ok() });
    }
}

/// Sends back what comes until the peer ends.
async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let got = stream.read(&mut buffer).await?;
        if got == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..got]).await?;
    }
}
