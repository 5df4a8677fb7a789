//! Line ends.

use bytes::{Bytes, BytesMut};

/// Turns CR LF, CR CR LF and lone CR before LF into LF, over any cutting into chunks. Other CRs stay.
#[derive(Debug, Default)]
pub struct LineEnds {
    pending_cr: usize,
}

impl LineEnds {
    /// A chunk of the text.
    pub fn push(&mut self, chunk: &Bytes, out: &mut BytesMut) {
        let mut rest: &[u8] = chunk;
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'\r' {
                self.pending_cr += 1;
                rest = tail;
                continue;
            }
            if first != b'\n' {
                self.flush(out);
            }
            self.pending_cr = 0;
            let run = rest.iter().position(|b| *b == b'\r').unwrap_or(rest.len());
            let (plain, after) = rest.split_at(run);
            out.extend_from_slice(plain);
            rest = after;
        }
    }

    fn flush(&mut self, out: &mut BytesMut) {
        out.extend(std::iter::repeat_n(b'\r', self.pending_cr));
    }

    /// The end of the text.
    pub fn finish(self, out: &mut BytesMut) {
        let mut this = self;
        this.flush(out);
    }
}
