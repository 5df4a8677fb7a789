//! Streams into containers, and back, whole or in part.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use devicevault_core::body::read_to_vec;
use devicevault_core::{Body, ByteStream, Digest, Error, ErrorKind, Result};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::crypto::Key;
use super::frames::{self, BLOCK, FOOTER, Frame, SeekTable};
use super::header::{Codec, HEADER_LEN, Header};
use super::keys::{EpochId, Keyring};
use super::segments::{Opener, SEALED, SEGMENT, Sealer, Shape};

/// How a stream is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealOptions {
    /// zstd level, or `None` to leave the bytes as they are. What does not compress is left as it is in any case.
    pub level: Option<i32>,
    /// Frames that are compressed at the same time; each takes about 10 MiB.
    pub workers: usize,
}

impl Default for SealOptions {
    /// zstd level 3, two frames at a time.
    fn default() -> Self {
        Self { level: Some(3), workers: 2 }
    }
}

impl SealOptions {
    /// Sets the zstd level; `None` leaves the bytes as they are.
    #[must_use]
    pub fn with_level(mut self, level: Option<i32>) -> Self {
        self.level = level;
        self
    }

    /// Sets how many frames are compressed at the same time.
    #[must_use]
    pub fn with_workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }
}

/// A first block that shrinks to more than this part of itself is not worth compressing.
const WORTH: (usize, usize) = (97, 100);
/// A container of at most this many bytes is read at once.
const SMALL: u64 = 256 << 10;
/// A block of at most this many bytes is compressed where it is, in a fraction of a millisecond.
const INLINE: usize = 64 << 10;
/// zstd level of records.
const RECORD_LEVEL: i32 = 3;
/// Bytes that a writer hands on at a time.
const CHUNK: usize = 4 * SEALED;

/// Length of the container of a payload that is not compressed.
#[must_use]
pub fn sealed_length(content: u64) -> u64 {
    Shape::of_payload(content).container()
}

/// Seals a stream under an epoch key. The container comes as the stream goes: at most a few MiB are held.
///
/// # Errors
/// The input's own; `Internal` when the cryptographic library refuses.
pub async fn seal(
    input: ByteStream<'static>,
    epoch: EpochId,
    key: &Key,
    options: &SealOptions,
) -> Result<(Header, ByteStream<'static>)> {
    let mut blocks = blocks(input);
    let first = blocks.try_next().await?;
    let packer = Packer::new(options.level);
    let (codec, first) = match (first, packer.clone()) {
        (Some(block), Some(packer)) => choose(block, packer).await?,
        (first, _) => (Codec::None, first.map(Piece::as_it_is)),
    };
    let (header, segment_key) = Header::create(epoch, key, codec)?;
    let rest = match (codec, packer) {
        (Codec::Zstd, Some(packer)) => blocks
            .map(move |block| {
                let packer = packer.clone();
                async move { packer.pack(block?).await }
            })
            .buffered(options.workers.max(1))
            .boxed(),
        _ => blocks.map_ok(Piece::as_it_is).boxed(),
    };
    let writer = Writer {
        payload: stream::iter(first.map(Ok)).chain(rest).boxed(),
        sealer: Some(Sealer::new(segment_key)?),
        table: (codec == Codec::Zstd).then(SeekTable::default),
        out: BytesMut::from(&header.as_bytes()[..]),
    };
    let container = stream::try_unfold(writer, |mut writer| async move {
        let chunk = writer.next().await?;
        Ok(chunk.map(|chunk| (chunk, writer)))
    });
    Ok((header, container.boxed()))
}

/// A part of the payload, and how much of the stream it stands for.
struct Piece {
    bytes: Bytes,
    size: usize,
}

impl Piece {
    fn as_it_is(block: Bytes) -> Self {
        Self { size: block.len(), bytes: block }
    }
}

struct Writer {
    payload: BoxStream<'static, Result<Piece>>,
    /// `None` once the last segment is written.
    sealer: Option<Sealer>,
    table: Option<SeekTable>,
    out: BytesMut,
}

impl Writer {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.out.len() < CHUNK {
            let Some(sealer) = &mut self.sealer else { break };
            if let Some(piece) = self.payload.try_next().await? {
                sealer.push(&piece.bytes, &mut self.out)?;
                if let Some(table) = &mut self.table {
                    table.push(piece.bytes.len(), piece.size)?;
                }
                continue;
            }
            if let Some(table) = self.table.take() {
                sealer.push(&table.to_bytes()?, &mut self.out)?;
            }
            if let Some(sealer) = self.sealer.take() {
                sealer.finish(&mut self.out)?;
            }
        }
        Ok((!self.out.is_empty()).then(|| self.out.split().freeze()))
    }
}

/// Cuts a stream into blocks of [`BLOCK`] bytes; the last may be shorter, none is empty.
fn blocks(input: ByteStream<'static>) -> BoxStream<'static, Result<Bytes>> {
    let state = (input, BytesMut::new(), false);
    stream::try_unfold(state, |(mut input, mut held, mut ended)| async move {
        while held.len() < BLOCK && !ended {
            match input.try_next().await? {
                Some(chunk) => held.extend_from_slice(&chunk),
                None => ended = true,
            }
        }
        if held.is_empty() {
            return Ok(None);
        }
        let block = held.split_to(held.len().min(BLOCK)).freeze();
        Ok(Some((block, (input, held, ended))))
    })
    .boxed()
}

/// Compresses the first block, and keeps that if it is worth it.
async fn choose(first: Bytes, packer: Packer) -> Result<(Codec, Option<Piece>)> {
    let piece = packer.pack(first.clone()).await?;
    Ok(if is_worth_it(piece.bytes.len(), first.len()) {
        (Codec::Zstd, Some(piece))
    } else {
        (Codec::None, Some(Piece::as_it_is(first)))
    })
}

fn is_worth_it(packed: usize, whole: usize) -> bool {
    // Of a short text the table and the frame cost more than they save; the segment hides its length no better.
    let (part, of) = WORTH;
    (packed + 64) * of <= whole * part
}

/// Compresses blocks, several at a time, with as many contexts as are in use at once.
#[derive(Debug, Clone)]
struct Packer(Arc<frames::Packer>);

impl Packer {
    fn new(level: Option<i32>) -> Option<Self> {
        level.map(|level| Self(Arc::new(frames::Packer::new(level))))
    }

    async fn pack(&self, block: Bytes) -> Result<Piece> {
        let size = block.len();
        let packer = self.0.clone();
        // What takes less time than waking another thread is done here.
        let frame = if size <= INLINE { packer.pack(&block)? } else { blocking(move || packer.pack(&block)).await? };
        Ok(Piece { bytes: frame.into(), size })
    }
}

/// Seals a small record, such as a manifest, at once.
///
/// # Errors
/// `Internal` when the cryptographic library refuses.
pub fn seal_record(record: &[u8], epoch: EpochId, key: &Key) -> Result<Vec<u8>> {
    let packer = frames::Packer::new(RECORD_LEVEL);
    let mut pieces = Vec::new();
    for block in record.chunks(BLOCK) {
        pieces.push((packer.pack(block)?, block.len()));
    }
    let packed = pieces.iter().map(|(frame, _)| frame.len()).sum();
    let codec = if is_worth_it(packed, record.len()) { Codec::Zstd } else { Codec::None };
    let (header, segment_key) = Header::create(epoch, key, codec)?;
    let (mut sealer, mut out) = (Sealer::new(segment_key)?, BytesMut::from(&header.as_bytes()[..]));
    if codec == Codec::Zstd {
        let mut table = SeekTable::default();
        for (frame, size) in &pieces {
            sealer.push(frame, &mut out)?;
            table.push(frame.len(), *size)?;
        }
        sealer.push(&table.to_bytes()?, &mut out)?;
    } else {
        sealer.push(record, &mut out)?;
    }
    sealer.finish(&mut out)?;
    Ok(out.into())
}

/// Opens a small record of at most `max` bytes.
///
/// # Errors
/// As [`Sealed::open`]; `TooLarge`.
pub async fn open_record(container: &[u8], keys: &Keyring, max: u64) -> Result<Vec<u8>> {
    let opened = Sealed::open(Arc::new(Bytes::copy_from_slice(container)), keys).await?;
    read_to_vec(opened.read(None), max).await
}

/// Runs what takes milliseconds of computing beside the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let died = |e| Error::new(ErrorKind::Internal, "compress", "the worker thread ended").because(e);
    tokio::task::spawn_blocking(work).await.map_err(died)?
}

/// An opened container: a [`Body`] of the stream that was sealed.
///
/// Every byte that a reader yields was authenticated; a change anywhere in the container ends the stream that touches it
/// in [`ErrorKind::Corrupt`].
#[derive(Debug)]
pub struct Sealed {
    inner: Arc<Inner>,
    length: u64,
    header: Header,
}

#[derive(Debug)]
struct Inner {
    container: Arc<dyn Body>,
    shape: Shape,
    opener: Opener,
    table: Option<SeekTable>,
}

impl Sealed {
    /// Reads the header, finds the key and, where the payload is compressed, the seek table.
    ///
    /// # Errors
    /// `Corrupt` when the container is damaged, `KeyUnavailable` when its epoch key is not at hand (the error names the
    /// id), and what the body answers.
    pub async fn open(container: Arc<dyn Body>, keys: &Keyring) -> Result<Self> {
        Self::open_if(container, keys, |_| Ok(())).await
    }

    /// As [`open`](Sealed::open), for a container that another record tells of: one with another header is not the one
    /// that is meant.
    ///
    /// # Errors
    /// Besides those of [`open`](Sealed::open), `Corrupt` when the header has not this SHA-256.
    pub async fn open_as(container: Arc<dyn Body>, header: Digest, keys: &Keyring) -> Result<Self> {
        let check = |bytes: &[u8]| {
            let why = "it is damaged, or not the sealed object that its record tells of";
            let other = || Error::new(ErrorKind::Corrupt, "open sealed object", why);
            if Digest::of(bytes) == header { Ok(()) } else { Err(other()) }
        };
        Self::open_if(container, keys, check).await
    }

    /// As [`open`](Sealed::open), of a container that is near and may wait for long: of a small one, too, nothing is held
    /// in memory until it is read.
    #[cfg(feature = "spool")]
    pub(crate) async fn open_where_it_lies(container: Arc<dyn Body>, keys: &Keyring) -> Result<Self> {
        Self::open_now(container, keys, |_| Ok(())).await
    }

    async fn open_if(container: Arc<dyn Body>, keys: &Keyring, check: impl Fn(&[u8]) -> Result<()>) -> Result<Self> {
        Shape::of_container(container.len())?;
        let container: Arc<dyn Body> = if container.len() <= SMALL {
            Arc::new(Bytes::from(read_exact(&*container, 0..container.len()).await?))
        } else {
            container
        };
        Self::open_now(container, keys, check).await
    }

    async fn open_now(container: Arc<dyn Body>, keys: &Keyring, check: impl Fn(&[u8]) -> Result<()>) -> Result<Self> {
        let shape = Shape::of_container(container.len())?;
        let header = read_exact(&*container, 0..HEADER_LEN as u64).await?;
        check(&header)?;
        let header = Header::parse(&header)?;
        let opener = Opener::new(header.open(&keys.epoch(header.epoch()).await?)?)?;
        let mut inner = Inner { container, shape, opener, table: None };
        let mut length = shape.payload;
        if header.codec() == Codec::Zstd {
            let inner_now = Arc::new(inner);
            let table = read_table(&inner_now).await?;
            length = table.content();
            inner = Arc::into_inner(inner_now)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "open sealed object", "a reader outlived its stream"))?;
            inner.table = Some(table);
        }
        Ok(Self { inner: Arc::new(inner), length, header })
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl Body for Sealed {
    fn len(&self) -> u64 {
        self.length
    }

    fn read(&self, range: Option<Range<u64>>) -> ByteStream<'static> {
        let whole = 0..self.length;
        let range = range.unwrap_or_else(|| whole.clone());
        let range = range.start.min(self.length)..range.end.clamp(range.start.min(self.length), self.length);
        match &self.inner.table {
            None if self.length == 0 => payload_all(self.inner.clone()),
            None => payload(self.inner.clone(), range),
            Some(_) => content(self.inner.clone(), range),
        }
    }
}

/// Everything of the payload, so that the one empty segment of an empty stream is checked too.
fn payload_all(inner: Arc<Inner>) -> ByteStream<'static> {
    let end = inner.shape.segments - 1;
    segments(inner, 0, end).try_filter(|b| std::future::ready(!b.is_empty())).boxed()
}

async fn read_table(inner: &Arc<Inner>) -> Result<SeekTable> {
    let total = inner.shape.payload;
    let footer_at = total
        .checked_sub(FOOTER as u64)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "open sealed object", "it is too short for a seek table"))?;
    // The last segment holds the footer, and mostly the whole table.
    let at = ((inner.shape.segments - 1) * SEGMENT as u64).min(footer_at);
    let tail = read_to_vec(payload(inner.clone(), at..total), 2 * SEGMENT as u64).await?;
    let footer = tail.len().checked_sub(FOOTER).and_then(|f| tail.get(f..)).unwrap_or_default();
    let length = SeekTable::length(footer, total)?;
    let known = usize::try_from(length).ok().and_then(|l| tail.len().checked_sub(l)).and_then(|from| tail.get(from..));
    match known {
        Some(table) => SeekTable::parse(table, total),
        None => SeekTable::parse(&read_to_vec(payload(inner.clone(), total - length..total), length).await?, total),
    }
}

/// A range of the payload.
fn payload(inner: Arc<Inner>, range: Range<u64>) -> ByteStream<'static> {
    if range.is_empty() {
        return stream::empty().boxed();
    }
    let (first, last) = (range.start / SEGMENT as u64, (range.end - 1) / SEGMENT as u64);
    let mut at = first * SEGMENT as u64;
    segments(inner, first, last)
        .map_ok(move |segment| {
            let begin = at;
            at += segment.len() as u64;
            let from = range.start.saturating_sub(begin).min(segment.len() as u64);
            let to = range.end.saturating_sub(begin).clamp(from, segment.len() as u64);
            // Both lie within the segment.
            segment.slice(from as usize..to as usize)
        })
        .boxed()
}

/// Opened segments, from `first` to `last` with both.
fn segments(inner: Arc<Inner>, first: u64, last: u64) -> ByteStream<'static> {
    let sealed = inner.container.read(Some(inner.shape.bytes_of(first, last)));
    let state = (inner, sealed, BytesMut::new(), first);
    stream::try_unfold(state, move |(inner, mut sealed, mut held, index)| async move {
        if index > last {
            return Ok(None);
        }
        let place = inner.shape.bytes_of(index, index);
        let length = (place.end - place.start) as usize;
        while held.len() < length {
            let cut = || Error::new(ErrorKind::Corrupt, "open sealed object", "it ended early").with("segment", index);
            held.extend_from_slice(&sealed.try_next().await?.ok_or_else(cut)?);
        }
        let segment = inner.opener.open(index, &held.split_to(length), &inner.shape)?;
        Ok(Some((segment, (inner, sealed, held, index + 1))))
    })
    .boxed()
}

/// Frames that are decompressed at the same time.
const READ_AHEAD: usize = 2;

/// A range of a compressed stream.
fn content(inner: Arc<Inner>, range: Range<u64>) -> ByteStream<'static> {
    let frames = inner.table.as_ref().map(|t| t.touched(&range)).unwrap_or_default();
    let (Some(first), Some(last)) = (frames.first().copied(), frames.last().copied()) else {
        return stream::empty().boxed();
    };
    let bytes = payload(inner, first.payload..last.payload + last.compressed);
    let state = (bytes, BytesMut::new(), frames.into_iter());
    stream::try_unfold(state, |(mut bytes, mut held, mut frames)| async move {
        let Some(frame) = frames.next() else { return Ok(None) };
        while (held.len() as u64) < frame.compressed {
            let cut = || Error::new(ErrorKind::Corrupt, "open sealed object", "a compressed frame is cut off");
            held.extend_from_slice(&bytes.try_next().await?.ok_or_else(cut)?);
        }
        let packed = held.split_to(frame.compressed as usize).freeze();
        Ok::<_, Error>(Some(((frame, packed), (bytes, held, frames))))
    })
    .map(|item| async move {
        let (frame, packed) = item?;
        let open = move || frames::decompress(&packed, frame.size as usize);
        let block = if frame.size as usize <= INLINE { open()? } else { blocking(open).await? };
        Ok((frame, Bytes::from(block)))
    })
    .buffered(READ_AHEAD)
    .map_ok(move |(frame, block): (Frame, Bytes)| {
        let from = range.start.saturating_sub(frame.content).min(frame.size);
        let to = range.end.saturating_sub(frame.content).clamp(from, frame.size);
        // Both lie within the block, which has exactly the frame's size.
        block.slice(from as usize..to as usize)
    })
    .boxed()
}

async fn read_exact(body: &dyn Body, range: Range<u64>) -> Result<Vec<u8>> {
    let want = range.end - range.start;
    let bytes = read_to_vec(body.read(Some(range)), want).await?;
    if bytes.len() as u64 == want {
        return Ok(bytes);
    }
    Err(Error::new(ErrorKind::Corrupt, "open sealed object", "it is shorter than its listed length"))
}
