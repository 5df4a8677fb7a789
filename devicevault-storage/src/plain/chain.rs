//! What happens to the bytes of a view on their way into the store, and back.
//!
//! Each step is a [`Transform`] in the manifest; the way back is read from there, last step first. Sealing is to be
//! another step of it, behind compression.

use devicevault_core::{ByteStream, Error, ErrorKind, Manifest, Result, Transform};

use crate::codec::{Compression, exactly, pieces};

/// The bytes of a view as they are to be stored. The stream ends in `Incomplete` when the body is not what the manifest
/// says, before its last chunk.
pub(super) fn into_store(body: ByteStream<'static>, m: &Manifest, compression: Compression) -> ByteStream<'static> {
    let incomplete = |message| {
        Error::new(ErrorKind::Incomplete, "store backup", message)
            .hint("the body changed or ended early: take it again")
    };
    compression.encode(exactly(pieces(body), m.size, m.sha256, incomplete), Some(m.size))
}

/// What the manifest says was done, once the bytes are stored in this way. What another store did does not hold here.
pub(super) fn transforms(m: &Manifest, compression: Compression) -> Vec<Transform> {
    let of_store = |t: &&Transform| matches!(t, Transform::Compressed { .. } | Transform::Sealed { .. });
    m.transforms.iter().filter(|t| !of_store(t)).cloned().chain(compression.transform()).collect()
}

/// The bytes of the view again. The stream ends in `Corrupt`, before its last chunk, when they are not what the manifest
/// says.
pub(super) fn out_of_store(stored: ByteStream<'static>, m: &Manifest) -> Result<ByteStream<'static>> {
    let mut stream = stored;
    for step in m.transforms.iter().rev() {
        stream = match step {
            Transform::Compressed { codec } => codec_of(codec)?.decode(stream, m.size),
            Transform::Sealed { key_id } => {
                return Err(Error::new(
                    ErrorKind::KeyUnavailable,
                    "read backup",
                    "it is sealed, and no key is at hand",
                )
                .with("key", key_id.escape_debug()));
            }
            _ => stream,
        };
    }
    let corrupt = |message| Error::new(ErrorKind::Corrupt, "read backup", message);
    Ok(exactly(stream, m.size, m.sha256, corrupt))
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
