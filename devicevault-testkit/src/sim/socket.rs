//! A connection that can be cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::quirk::Lifetime;

/// Cuts a connection from elsewhere. Clones cut the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<State>);

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    reader: AtomicWaker,
}

impl Cut {
    /// The connection ends now, without a word of farewell.
    pub(super) fn now(&self) {
        self.0.cut.store(true, Ordering::SeqCst);
        self.0.reader.wake();
    }

    fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::SeqCst)
    }
}

/// A TCP connection with a [`Cut`].
#[derive(Debug)]
pub(super) struct Socket {
    inner: TcpStream,
    cut: Cut,
    lifetime: Lifetime,
    sent: u64,
}

impl Socket {
    pub(super) fn new(inner: TcpStream, cut: Cut, lifetime: Lifetime) -> Self {
        Self { inner, cut, lifetime, sent: 0 }
    }

    /// How much of `length` bytes may still be sent.
    fn allowed(&self, length: usize) -> usize {
        let bounds = [self.lifetime.cut, self.lifetime.stall].into_iter().flatten();
        let left = bounds.min().map_or(u64::MAX, |bound| bound.saturating_sub(self.sent));
        length.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.cut.0.reader.register(cx.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let allowed = self.allowed(buf.len());
        if allowed == 0 && !buf.is_empty() {
            if self.lifetime.cut.is_some() {
                self.cut.now();
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            // Never woken by us: the client gives up, and the reader sees it go.
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, buf.get(..allowed).unwrap_or_default());
        if let Poll::Ready(Ok(bytes)) = written {
            self.sent += bytes as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
