//! The baseline with tokio-tungstenite: a task for each connection, which sends back each message. Its own 128 KiB
//! of room to read into would go through the cache once for every 128 KiB, on each connection; it has 4 KiB here.
//!
//! Usage: tokio-ws-echo PORT. It listens on 127.0.0.1, and runs where it may run until SIGTERM.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const BACKLOG: u32 = 4096;
const READ_BYTES: usize = 4096;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: tokio-ws-echo PORT"))?;
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
        stream.set_nodelay(true)?;
        // A peer that fails is done with.
        tokio::spawn(async move { echo(stream).await.ok() });
    }
}

/// Sends back each message until the peer ends. Pings are answered by the library.
async fn echo(stream: TcpStream) -> Result<(), Error> {
    let config = WebSocketConfig::default().read_buffer_size(READ_BYTES);
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await.transpose()? {
        if message.is_binary() || message.is_text() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
