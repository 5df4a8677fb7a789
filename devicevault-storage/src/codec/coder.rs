//! What a step on the way of the bytes is, and how it runs over a stream.

use bytes::{Buf as _, Bytes};
use devicevault_core::{ByteStream, Result};
use futures::StreamExt as _;

/// How much goes in at once, and about how much comes out.
pub(super) const PIECE: usize = 64 * 1024;

/// One step: bytes in, bytes out.
pub(super) trait Coder: Send {
    /// Takes bytes from the front of `input` and appends to `out`, as long as `out` is shorter than [`PIECE`].
    /// Takes at least one byte unless `out` is full.
    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<()>;

    /// The input is at its end: appends what is left. `true`: nothing is left; `false`: call again.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<bool>;
}

struct Running {
    input: ByteStream<'static>,
    pending: Bytes,
    at_end: bool,
    coder: Box<dyn Coder>,
}

/// Runs a coder over a stream, piece by piece, other tasks in between.
pub(super) fn transform(input: ByteStream<'static>, coder: Box<dyn Coder>) -> ByteStream<'static> {
    let start = Some(Running { input, pending: Bytes::new(), at_end: false, coder });
    futures::stream::try_unfold(start, |state| async move {
        let Some(mut run) = state else { return Ok(None) };
        let mut out = Vec::new();
        loop {
            if !run.pending.is_empty() {
                let len = run.pending.len().min(PIECE);
                let mut piece = run.pending.get(..len).unwrap_or_default();
                run.coder.step(&mut piece, &mut out)?;
                let taken = len - piece.len();
                run.pending.advance(taken);
                tokio::task::yield_now().await;
            } else if run.at_end {
                let done = run.coder.finish(&mut out)?;
                if done {
                    return Ok((!out.is_empty()).then(|| (Bytes::from(out), None)));
                }
            } else {
                match run.input.next().await {
                    Some(chunk) => run.pending = chunk?,
                    None => run.at_end = true,
                }
            }
            if out.len() >= PIECE {
                return Ok(Some((Bytes::from(out), Some(run))));
            }
        }
    })
    .boxed()
}
