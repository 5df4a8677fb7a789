//! A relay between a client and a server that delays what passes, cuts it, or keeps it.

use std::io;
use std::time::Duration;

use devicevault_ssh::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// What a relay does to what comes from the server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    None,
    /// Breaks off after so many bytes.
    CutAfter(u64),
    /// Falls silent after so many bytes.
    SilentAfter(u64),
}

/// Relays to a server, each way this much later.
pub(crate) async fn relay(to: Endpoint, delay: Duration, trouble: Trouble) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((to.host.as_str(), to.port)).await.unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(async move {
                tokio::select! {
                    _ = later(from_client, to_server, delay, Trouble::None) => {}
                    _ = later(from_server, to_client, delay, trouble) => {}
                }
            });
        }
    });
    Endpoint::new("127.0.0.1", port)
}

async fn later(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    delay: Duration,
    trouble: Trouble,
) -> io::Result<()> {
    let mut left = match trouble {
        Trouble::None => u64::MAX,
        Trouble::CutAfter(bytes) | Trouble::SilentAfter(bytes) => bytes,
    };
    // As much as a long line holds: a gigabit at a tenth of a second is a thousand of these.
    let (send, mut receive) = tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(1000);
    let reading = async move {
        loop {
            let mut piece = vec![0; 16 << 10];
            let got = from.read(&mut piece).await?;
            piece.truncate(got);
            if got == 0 || send.send((Instant::now() + delay, piece)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((at, piece)) = receive.recv().await {
            tokio::time::sleep_until(at).await;
            let room = left.min(piece.len() as u64) as usize;
            to.write_all(&piece[..room]).await?;
            left -= room as u64;
            match (left, trouble) {
                (0, Trouble::SilentAfter(_)) => std::future::pending().await,
                (0, _) => break,
                _ => {}
            }
        }
        to.shutdown().await
    };
    let (read, written) = tokio::join!(reading, writing);
    read.and(written)
}
