//! A body on its way into the spool.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devicevault_core::spool::SpoolWriter;
use devicevault_core::{Body, Result};
use uuid::Uuid;

use super::body::SpoolBody;
use super::folder::create;
use super::room::Room;
use super::{Inner, SPOOL_KEY, blocking, of_io};
use crate::seal::{Codec, Header, Sealer};

/// Sealed bytes are written to the file in pieces of about this many.
const BUFFER: usize = 512 << 10;

/// Seals what it is given into a file. Dropping it deletes the file.
#[derive(Debug)]
pub(super) struct Writer {
    spool: Arc<Inner>,
    id: Uuid,
    file: Option<File>,
    sealer: Option<Sealer>,
    buffer: BytesMut,
    length: u64,
    room: Arc<Room>,
    /// Whether it waits for room; else it fails where there is none.
    waits: bool,
    /// Bytes that the room has given.
    held: u64,
    done: bool,
}

impl Writer {
    pub(super) async fn new(spool: Arc<Inner>, id: Uuid) -> Result<Self> {
        let path = spool.folder.body(id);
        let file = blocking(move || create(&path).map_err(|e| of_io("spool artefact", &path, e))).await?;
        let (header, key) = Header::create(SPOOL_KEY, &spool.key, Codec::None)?;
        let buffer = BytesMut::from(&header.as_bytes()[..]);
        let room = spool.room.clone();
        Ok(Self {
            room,
            waits: true,
            spool,
            id,
            file: Some(file),
            sealer: Some(Sealer::new(key)?),
            buffer,
            length: 0,
            held: 0,
            done: false,
        })
    }

    /// Takes its room from what may be parked, and does not wait for it: a destination that is gone holds nobody up.
    pub(super) fn for_parking(mut self) -> Self {
        self.room = self.spool.parked.clone();
        self.waits = false;
        self
    }

    /// Bytes that were appended.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    fn path(&self) -> PathBuf {
        self.spool.folder.body(self.id)
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(sealer) = &mut self.sealer {
            sealer.push(bytes, &mut self.buffer)?;
            self.length += bytes.len() as u64;
        }
        if self.buffer.len() >= BUFFER {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let bytes = self.buffer.split().freeze();
        self.spool.leaves_free(bytes.len() as u64).await?;
        if self.waits {
            self.room.take(bytes.len() as u64, self.held).await?;
        } else {
            self.room.try_take(bytes.len() as u64)?;
        }
        self.held += bytes.len() as u64;
        let (Some(mut file), path) = (self.file.take(), self.path()) else { return Ok(()) };
        let file = blocking(move || {
            file.write_all(&bytes).map_err(|e| of_io("spool artefact", &path, e))?;
            Ok(file)
        })
        .await?;
        self.file = Some(file);
        Ok(())
    }

    async fn seal(&mut self) -> Result<()> {
        if let Some(sealer) = self.sealer.take() {
            sealer.finish(&mut self.buffer)?;
        }
        self.flush().await
    }

    /// Makes the body durable and parks it with its sealed item.
    pub(super) async fn park(mut self, line: String, item: Vec<u8>) -> Result<()> {
        self.seal().await?;
        let (path, file, id, spool) = (self.path(), self.file.take(), self.id, self.spool.clone());
        blocking(move || {
            if let Some(file) = file {
                file.sync_all().map_err(|e| of_io("park backup", &path, e))?;
            }
            spool.folder.park(id, &line, &item)
        })
        .await?;
        self.done = true;
        Ok(())
    }
}

#[async_trait]
impl SpoolWriter for Writer {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.append(&chunk).await
    }

    async fn finish(mut self: Box<Self>) -> Result<Arc<dyn Body>> {
        self.seal().await?;
        let opened = SpoolBody::open(self.path(), &self.spool.ring).await?;
        self.done = true;
        Ok(Arc::new(opened.owned_by(self.spool.clone(), self.held)))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(self.path());
            self.room.give_back(self.held);
        }
    }
}
