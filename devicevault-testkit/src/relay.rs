//! A relay between a client and a server that delays what passes, cuts it, or keeps it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What becomes of the bytes of one direction of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trouble {
    /// They pass.
    #[default]
    None,
    /// The connection breaks off after so many.
    CutAfter(u64),
    /// Nothing passes after so many.
    SilentAfter(u64),
}

/// A relay that is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Relay {
    to: SocketAddr,
    delay: Duration,
    from_client: Trouble,
    from_server: Trouble,
}

/// A relay on a port of 127.0.0.1; it ends with this value.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    cuts: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// To a server, without delay or trouble.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        Self { to: server, delay: Duration::ZERO, from_client: Trouble::None, from_server: Trouble::None }
    }

    /// Delays each direction by so much: half a round trip.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets what becomes of what the client sends, on each connection.
    #[must_use]
    pub fn with_from_client(mut self, trouble: Trouble) -> Self {
        self.from_client = trouble;
        self
    }

    /// Sets what becomes of what the server sends, on each connection.
    #[must_use]
    pub fn with_from_server(mut self, trouble: Trouble) -> Self {
        self.from_server = trouble;
        self
    }

    /// Listens.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(self) -> io::Result<Running> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (cuts, cut) = watch::channel(());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(self.serve(client, cut.clone()));
            }
        });
        Ok(Running { addr, cuts, accepting })
    }

    async fn serve(self, client: TcpStream, mut cut: watch::Receiver<()>) -> io::Result<()> {
        let server = TcpStream::connect(self.to).await?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        cut.mark_unchanged();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            done = later(from_client, to_server, self.delay, self.from_client) => done,
            done = later(from_server, to_client, self.delay, self.from_server) => done,
            _ = cut.changed() => Ok(()),
        }
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Breaks every connection that there is; new ones are made.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn later(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
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
        while let Some((at, mut piece)) = receive.recv().await {
            tokio::time::sleep_until(at).await;
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
            to.write_all(&piece).await?;
            left -= piece.len() as u64;
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
