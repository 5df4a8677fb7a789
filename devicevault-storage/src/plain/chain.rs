//! What happens to the bytes of a view on their way into the store, and back.
//!
//! Each step is a [`Transform`] in the manifest; the way back is read from there, last step first. A container
//! ([`crate::seal`]) compresses by itself: the step before it is told for people.

use devicevault_core::{ByteStream, Digest, Error, ErrorKind, Manifest, Result, Transform};

use super::sealing::Sealing;
use crate::codec::{Compression, exactly, pieces};
use crate::seal::{Header, seal};

/// How new backups are written.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Clear(Compression),
    Sealed(Box<Sealing>),
}

impl Form {
    /// What is appended to the name of the content.
    pub(super) fn suffix(&self) -> &'static str {
        match self {
            Self::Clear(compression) => compression.suffix(),
            Self::Sealed(_) => SEALED_SUFFIX,
        }
    }
}

/// What the name of sealed content ends in.
pub(super) const SEALED_SUFFIX: &str = ".dvo";

/// A view as it is to be stored.
pub(super) struct Encoded {
    pub(super) stream: ByteStream<'static>,
    /// What was done to it.
    pub(super) transforms: Vec<Transform>,
    /// SHA-256 of the header of its container.
    pub(super) header: Option<Digest>,
}

/// The bytes of a view as they are to be stored. The stream ends in `Incomplete` when the body is not what the manifest
/// says, before its last chunk.
pub(super) async fn into_store(body: ByteStream<'static>, m: &Manifest, form: &Form) -> Result<Encoded> {
    let incomplete = |message| {
        Error::new(ErrorKind::Incomplete, "store backup", message)
            .hint("the body changed or ended early: take it again")
    };
    let checked = exactly(pieces(body), m.size, m.sha256, incomplete);
    match form {
        Form::Clear(compression) => Ok(Encoded {
            stream: compression.encode(checked, Some(m.size)),
            transforms: transforms(m, compression.transform()),
            header: None,
        }),
        Form::Sealed(sealing) => {
            let (header, stream) = seal(checked, sealing.epoch, &sealing.key, &sealing.options).await?;
            Ok(Encoded { stream, transforms: sealed_transforms(m, &header), header: Some(header.digest()) })
        }
    }
}

/// What the manifest says was done, once the bytes are in a container.
pub(super) fn sealed_transforms(m: &Manifest, header: &Header) -> Vec<Transform> {
    let codec = if header.is_compressed() { Compression::Zstd } else { Compression::None };
    transforms(m, codec.transform().into_iter().chain([Transform::Sealed { key_id: header.epoch().to_string() }]))
}

/// What the manifest says was done, once the store has done this. What another store did does not hold here.
pub(super) fn transforms(m: &Manifest, here: impl IntoIterator<Item = Transform>) -> Vec<Transform> {
    let of_store = |t: &&Transform| matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. });
    m.transforms.iter().filter(|t| !of_store(t)).cloned().chain(here).collect()
}

/// The bytes of the view again, from stored bytes that are not sealed. The stream ends in `Corrupt`, before its last
/// chunk, when they are not what the manifest says.
pub(super) fn out_of_store(stored: ByteStream<'static>, m: &Manifest) -> Result<ByteStream<'static>> {
    let mut stream = stored;
    for step in m.transforms.iter().rev() {
        if let Transform::Compressed { codec } = step {
            stream = codec_of(codec)?.decode(stream, m.size);
        }
    }
    Ok(checked(stream, m))
}

/// A view as it was read: the stream ends in `Corrupt`, before its last chunk, when it is not what the manifest says.
pub(super) fn checked(view: ByteStream<'static>, m: &Manifest) -> ByteStream<'static> {
    exactly(view, m.size, m.sha256, |message| Error::new(ErrorKind::Corrupt, "read backup", message))
}

/// Whether the stored bytes are those of the view.
pub(super) fn is_as_is(m: &Manifest) -> bool {
    !m.transforms.iter().any(|t| matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. }))
}

fn codec_of(name: &str) -> Result<Compression> {
    name.parse().map_err(|e: Error| {
        Error::new(ErrorKind::Unsupported, "read backup", "this release does not know its compression")
            .with("codec", name.escape_debug())
            .hint("upgrade this program")
            .because(e)
    })
}
