//! Reading a file with many requests in flight.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::attributes::Attributes;
use super::error::SftpError;
use super::exchange::{Exchange, Pending};
use super::session::{OpenHandle, unexpected};
use super::wire::{Reply, Request, Status};

/// How a file is read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Which bytes; all of them unless set. A range that reaches beyond the end is cut there.
    pub range: Option<Range<u64>>,
    /// The most requests that wait for an answer at a time.
    pub in_flight: usize,
}

impl Default for ReadOptions {
    /// The whole file, up to 64 requests at a time.
    fn default() -> Self {
        Self { range: None, in_flight: 64 }
    }
}

impl ReadOptions {
    /// Sets the range.
    #[must_use]
    pub fn with_range(mut self, range: Range<u64>) -> Self {
        self.range = Some(range);
        self
    }

    /// Sets how many requests may wait at a time; at least one does.
    #[must_use]
    pub fn with_in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests;
        self
    }
}

/// A file that is being read, in order.
///
/// Memory is bounded by what was asked for and not yet handed out: 4 MiB, in 64 answers of up to 255 KiB. That is
/// 80 MiB a second with answers that take 50 ms. As many requests are out as are needed to keep the reader from waiting,
/// so that a reader that is slower than the network holds few.
#[derive(Debug)]
pub struct SftpReader {
    handle: Option<OpenHandle>,
    path: Vec<u8>,
    before: Attributes,
    /// Where reading ends; without it, where the server says that the file ends.
    end: Option<u64>,
    /// Whether the end is the file's, so that what lies behind it matters.
    to_the_end: bool,
    window: Window,
    pending: VecDeque<Part>,
    /// Where the next request begins.
    next: u64,
    /// Whether it was asked what lies behind the end.
    asked_behind: bool,
    /// What was handed out.
    position: u64,
    /// What a short answer left out.
    gap: Option<Range<u64>>,
    state: Progress,
    rewritten: bool,
}

/// A piece that was asked for.
#[derive(Debug)]
struct Part {
    offset: u64,
    length: u32,
    answer: Pending,
}

/// How much is asked for ahead.
#[derive(Debug)]
struct Window {
    length: u32,
    now: usize,
    most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Reading,
    /// The server said that there is no more.
    AtEnd,
    Whole,
    Failed,
}

/// Requests that are out before it is known whether the reader has to wait.
const FIRST: usize = 4;
/// No more is asked for while so many bytes are on their way.
const AHEAD: u64 = 4 << 20;

impl SftpReader {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        handle: Bytes,
        path: &[u8],
        before: Attributes,
        length: u32,
        options: ReadOptions,
    ) -> Self {
        let most = options.in_flight.max(1);
        // A file of a system's own making (/proc) says 0 and has content.
        let size = before.size.filter(|s| *s > 0);
        let (began, end, to_the_end) = match options.range {
            None => (0, size, true),
            Some(range) => {
                let end = size.map_or(range.end, |s| s.min(range.end));
                (range.start.min(end), Some(end), false)
            }
        };
        Self {
            handle: Some(OpenHandle { exchange, handle }),
            path: path.to_vec(),
            before,
            end,
            to_the_end,
            window: Window { length: length.max(1), now: FIRST.min(most), most },
            pending: VecDeque::new(),
            next: began,
            asked_behind: false,
            position: began,
            gap: None,
            state: Progress::Reading,
            rewritten: false,
        }
    }

    /// What the server said of the file before it was opened.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.before
    }

    /// Size of the file in bytes, as the server said before it was opened.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.before.size
    }

    /// Whether the file's time of change moved while it was read: its size is the same, its content may be of two
    /// times. Known after the end.
    #[must_use]
    pub fn was_rewritten(&self) -> bool {
        self.rewritten
    }

    /// The next bytes. `None` means that the file is whole: the server said that there is no more, as many bytes came
    /// as it had said, and its size is still the same. Of a range: that all of it came.
    ///
    /// Cancel safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// `Incomplete` when the file is shorter than it was said to be, or its size changed while it was read; the
    /// session's own. After an error there is no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SftpError> {
        let outcome = self.step().await;
        if outcome.is_err() {
            self.state = Progress::Failed;
            self.pending.clear();
            self.handle = None;
        }
        outcome
    }

    async fn step(&mut self) -> Result<Option<Bytes>, SftpError> {
        while self.state == Progress::Reading {
            self.ask_ahead().await?;
            let Some(part) = self.pending.front_mut() else {
                self.state = Progress::AtEnd;
                break;
            };
            if !part.answer.is_there() {
                self.window.now = (self.window.now * 2).min(self.window.most);
                self.ask_ahead().await?;
            }
            let Some(part) = self.pending.front_mut() else { continue };
            let reply = part.answer.answer().await?;
            let Some(part) = self.pending.pop_front() else { continue };
            if let Some(data) = self.take(&part, reply)? {
                return Ok(Some(data));
            }
        }
        match self.state {
            Progress::AtEnd => {
                self.confirm().await?;
                self.state = Progress::Whole;
                Ok(None)
            }
            Progress::Whole => Ok(None),
            Progress::Reading | Progress::Failed => Err(SftpError::incomplete(&self.path, "reading failed before")),
        }
    }

    fn exchange(&self) -> Result<(Arc<Exchange>, Bytes), SftpError> {
        let closed = || SftpError::incomplete(&self.path, "it is closed already");
        self.handle.as_ref().map(|h| (h.exchange.clone(), h.handle.clone())).ok_or_else(closed)
    }

    async fn ask_ahead(&mut self) -> Result<(), SftpError> {
        let (exchange, handle) = self.exchange()?;
        if let Some(Range { start, end }) = self.gap.clone() {
            let part = ask(&exchange, &handle, start, (end - start) as u32).await?;
            self.gap = None;
            self.pending.push_front(part);
        }
        while self.pending.len() < self.window.now && self.next.saturating_sub(self.position) < AHEAD {
            let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.next));
            if left == 0 && (!self.to_the_end || std::mem::replace(&mut self.asked_behind, true)) {
                break;
            }
            // Behind the size that a server told there may be more: one that counts in 32 bits, or remembers an older one.
            let length = left.clamp(1, u64::from(self.window.length)) as u32;
            let part = ask(&exchange, &handle, self.next, length).await?;
            self.next = self.next.saturating_add(u64::from(length));
            self.pending.push_back(part);
        }
        Ok(())
    }

    fn take(&mut self, part: &Part, reply: Reply) -> Result<Option<Bytes>, SftpError> {
        let behind = self.end.filter(|end| part.offset >= *end);
        let data = match reply {
            Reply::Data(data) if !data.is_empty() && behind.is_some() => {
                let size = behind.unwrap_or_default();
                let why = format!("the server said that it has {size} bytes, and there are more");
                return Err(SftpError::incomplete(&self.path, why));
            }
            // Everything that was announced is here; some answer the question what follows by a failure.
            Reply::Status(_) if behind.is_some() => {
                self.ended()?;
                return Ok(None);
            }
            Reply::Data(data) if !data.is_empty() => data,
            // Some servers say the end with an empty answer.
            Reply::Data(_) | Reply::Status(Status { code: Status::END, .. }) => {
                self.ended()?;
                return Ok(None);
            }
            other => return Err(unexpected(&other, "to read", &self.path)),
        };
        // An answer with more data than was asked for has ended the session.
        let got = data.len() as u32;
        if got < part.length {
            // What is missing of this part is asked for before all else, and later parts are no longer than what the
            // server gives. At the end of a file of unknown size that costs one question more.
            self.gap = Some(part.offset + u64::from(got)..part.offset + u64::from(part.length));
            self.window.length = self.window.length.min(got);
        }
        self.position += u64::from(got);
        Ok(Some(data))
    }

    /// The server says that there is no more.
    fn ended(&mut self) -> Result<(), SftpError> {
        self.pending.clear();
        self.gap = None;
        self.state = Progress::AtEnd;
        match self.before.size {
            Some(size) if size > 0 && self.end.is_some_and(|end| self.position < end) => Err(SftpError::incomplete(
                &self.path,
                format!("the server said that it has {size} bytes, and it ended after {}", self.position),
            )),
            _ => Ok(()),
        }
    }

    /// Looks at the file once more, and closes it.
    async fn confirm(&mut self) -> Result<(), SftpError> {
        let Some(handle) = self.handle.take() else { return Ok(()) };
        if !self.to_the_end {
            return handle.close().await;
        }
        let after = handle.look_and_close(&self.path).await?;
        let (was, is) = (self.before.size, after.size);
        if let (Some(was), Some(is)) = (was, is)
            && was != is
        {
            let why = format!("its size went from {was} to {is} bytes while it was read");
            return Err(SftpError::incomplete(&self.path, why));
        }
        self.rewritten = matches!((self.before.modified(), after.modified()), (Some(a), Some(b)) if a != b);
        Ok(())
    }
}

async fn ask(exchange: &Exchange, handle: &[u8], offset: u64, length: u32) -> Result<Part, SftpError> {
    let answer = exchange.send(&Request::Read { handle, offset, length }, length as usize).await?;
    Ok(Part { offset, length, answer })
}
