//! A stream that keeps a copy of the first bytes that came in, so that a failed negotiation can be explained, and counts the
//! rest.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::kexinit::{self, Offer};

/// What was overheard; shared with the stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overheard {
    first: Arc<Mutex<Vec<u8>>>,
    received: Arc<AtomicU64>,
}

impl Overheard {
    /// The server's lists, if they came.
    pub(crate) fn offer(&self) -> Option<Offer> {
        kexinit::parse(&self.first.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The line by which the server names its software (RFC 4253, section 4.2).
    pub(crate) fn version(&self) -> Option<String> {
        let heard = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let line = heard.split(|b| *b == b'\n').find(|l| l.starts_with(b"SSH-"))?;
        // No version line is longer.
        Some(line.get(..255).unwrap_or(line).trim_ascii().escape_ascii().to_string())
    }

    /// Whether anything came.
    pub(crate) fn is_empty(&self) -> bool {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// So many bytes have come in all.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub(crate) struct Overhear<S> {
    stream: S,
    heard: Overheard,
    /// The lists have come, or are not to be found in what has.
    enough: bool,
}

impl<S> Overhear<S> {
    pub(crate) fn new(stream: S) -> (Self, Overheard) {
        let heard = Overheard::default();
        (Self { stream, heard: heard.clone(), enough: false }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overhear<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let new = buf.filled().get(before..).unwrap_or_default();
        self.heard.received.fetch_add(new.len() as u64, Ordering::AcqRel);
        if !self.enough {
            let mut kept = self.heard.first.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(new);
            let enough = kept.len() >= kexinit::MOST || kexinit::parse(&kept).is_some();
            drop(kept);
            self.enough = enough;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overhear<S> {
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
