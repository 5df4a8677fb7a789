//! An open way to a server.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use russh::ChannelStream;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::process::{Process, Said};
use crate::Connection;

/// A stream of bytes to a server, over whatever lies in between. Dropping it closes all of that.
pub struct Tunnel {
    stream: Box<dyn Duplex>,
    held: Held,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the stream lives on; it is dropped after the stream.
enum Held {
    Nothing,
    Proxy(Process),
    Hop { _connection: Connection },
}

impl Tunnel {
    pub(super) fn straight(stream: TcpStream) -> Self {
        Self { stream: Box::new(stream), held: Held::Nothing }
    }

    pub(super) fn by(mut proxy: Process) -> Self {
        let stream: Box<dyn Duplex> = match proxy.pipes() {
            Some((out, input)) => Box::new(tokio::io::join(out, input)),
            None => Box::new(tokio::io::empty()),
        };
        Self { stream, held: Held::Proxy(proxy) }
    }

    pub(super) fn through(stream: ChannelStream<Msg>, connection: Connection) -> Self {
        Self { stream: Box::new(stream), held: Held::Hop { _connection: connection } }
    }

    /// The last words of the proxy command, where the stream is one's.
    pub(crate) fn said(&self) -> Option<Said> {
        match &self.held {
            Held::Proxy(process) => Some(process.said()),
            _ => None,
        }
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.held {
            Held::Nothing => "tcp",
            Held::Proxy(_) => "proxy command",
            Held::Hop { .. } => "jump host",
        };
        f.debug_struct("Tunnel").field("by", &by).finish_non_exhaustive()
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
