//! A terminal over a stream of Telnet.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use devicevault_core::{Error, ErrorKind, Result};
use futures::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::protocol::Telnet;
use crate::transport::Terminal;

/// Reads and writes; what is half done is kept here, so that a dropped future loses nothing.
pub(super) struct TelnetTerminal<S> {
    stream: S,
    telnet: Telnet,
    unsent: BytesMut,
    ended: bool,
}

/// So much is read at a time.
const PIECE: usize = 16 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> TelnetTerminal<S> {
    pub(super) fn new(stream: S, columns: u32, rows: u32) -> Self {
        Self { stream, telnet: Telnet::new(columns, rows), unsent: BytesMut::new(), ended: false }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut piece = [0; PIECE];
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            // Answers to negotiation go out beside; one that fails is told by what is read next.
            let _ = self.poll_send(cx);
            let mut room = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            if room.filled().is_empty() {
                self.ended = true;
            }
            let text = self.telnet.receive(room.filled(), &mut self.unsent);
            if !text.is_empty() {
                let _ = self.poll_send(cx);
                return Poll::Ready(Ok(Some(text)));
            }
        }
    }
}

fn broken(e: io::Error) -> Error {
    Error::new(ErrorKind::Incomplete, "talk to device", "the connection broke").because(e)
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Terminal for TelnetTerminal<S> {
    async fn read(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_text(cx)).await.map_err(broken)
    }

    fn read_now(&mut self) -> Result<Option<Bytes>> {
        self.read().now_or_never().unwrap_or(Ok(None))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.telnet.send(&bytes, &mut self.unsent);
        poll_fn(|cx| self.poll_send(cx)).await.map_err(broken)
    }
}

impl<S> fmt::Debug for TelnetTerminal<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is unsent may be a password.
        f.debug_struct("TelnetTerminal")
            .field("telnet", &self.telnet)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn negotiation_is_answered_while_text_is_awaited() {
        let (ours, mut device) = tokio::io::duplex(64);
        let mut terminal = TelnetTerminal::new(ours, 80, 24);
        device.write_all(b"\xff\xfb\x01\xff\xfd\x1f").await.unwrap();
        // A future that is dropped has lost nothing.
        assert!(terminal.read().now_or_never().is_none());
        let mut answer = [0; 15];
        device.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\xff\xfd\x01\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0");
        device.write_all(b"login: ").await.unwrap();
        assert_eq!(terminal.read().await.unwrap().unwrap(), "login: ");
        terminal.write(Bytes::from_static(b"me\n")).await.unwrap();
        let mut typed = [0; 4];
        device.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"me\r\0");
        assert!(terminal.read_now().unwrap().is_none());
        drop(device);
        assert_eq!(terminal.read().await.unwrap(), None);
        assert_eq!(terminal.read().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_device_that_only_negotiates_does_not_fill_the_memory() {
        let (ours, mut device) = tokio::io::duplex(1 << 16);
        let mut terminal = TelnetTerminal::new(ours, 80, 24);
        let flood = tokio::spawn(async move {
            let piece = b"\xff\xfd\x27\xff\xfb\x63".repeat(1000);
            for _ in 0..100 {
                device.write_all(&piece).await.unwrap();
            }
            device.write_all(b"done").await.unwrap();
            device
        });
        assert_eq!(terminal.read().await.unwrap().unwrap(), "done");
        assert!(terminal.unsent.len() < 4096);
        flood.await.unwrap();
    }
}
