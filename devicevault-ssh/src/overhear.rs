//! A stream that keeps a copy of the first bytes that came in, so that a failed negotiation can be explained.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::kexinit::{self, Offer};

/// What was overheard; shared with the stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overheard(Arc<Mutex<Vec<u8>>>);

impl Overheard {
    /// The server's lists, if they came.
    pub(crate) fn offer(&self) -> Option<Offer> {
        kexinit::parse(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The line by which the server names its software (RFC 4253, section 4.2).
    pub(crate) fn version(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = heard.split(|b| *b == b'\n').find(|l| l.starts_with(b"SSH-"))?;
        // No version line is longer.
        Some(line.get(..255).unwrap_or(line).trim_ascii().escape_ascii().to_string())
    }

    /// Whether anything came.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Overhear<S> {
    stream: S,
    heard: Option<Overheard>,
}

impl<S> Overhear<S> {
    pub(crate) fn new(stream: S) -> (Self, Overheard) {
        let heard = Overheard::default();
        (Self { stream, heard: Some(heard.clone()) }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overhear<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(heard) = &self.heard {
            let mut kept = heard.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(buf.filled().get(before..).unwrap_or_default());
            let enough = kept.len() >= kexinit::MOST || kexinit::parse(&kept).is_some();
            drop(kept);
            if enough {
                self.heard = None;
            }
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
