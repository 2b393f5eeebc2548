//! The baseline with glommio as it comes: a `TcpStream` and a task for each connection. A read needs
//! a buffer while it waits, so each task has a small one.
//!
//! Usage: glommio-echo PORT. It listens on 127.0.0.1, and runs where it may run until SIGTERM. The
//! backlog is glommio's own, 1,024, and cannot be set: who connects to a full queue asks again after a
//! second.

use std::io;
use std::net::Ipv4Addr;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder, Placement};

const BUFFER_BYTES: usize = 128;

/// Memory that the executor registers with the kernel, for files: the default is more than an
/// ordinary user may lock.
const IO_MEMORY_BYTES: usize = 64 << 10;

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("usage: glommio-echo PORT"))?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(IO_MEMORY_BYTES);
    executor.make()?.run(serve(port)).map_err(io::Error::from)
}

async fn serve(port: u16) -> Result<(), GlommioError<()>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let stream = listener.accept().await?;
        // A peer that fails is done with.
        glommio::spawn_local(async move { echo(stream).await.ok() }).detach();
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
