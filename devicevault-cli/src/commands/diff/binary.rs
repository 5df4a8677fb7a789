//! The difference between two binaries: their sizes, their hashes, and how much they have in common.

use devicevault_core::likeness::{Likeness, likeness};
use devicevault_core::run::Backup;
use devicevault_core::{ByteStream, Result, View};

use super::{name, side, told};
use crate::Exit;
use crate::archive::Archive;
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::ui::human;

/// Tells it. Both are read as streams, so that they may be of any size.
pub(super) async fn diff(context: &Context, archive: &Archive, old: &Backup, new: &Backup) -> Result<Exit> {
    let ui = &context.ui;
    let (a, b) = (side(old), side(new));
    let equal = a.sha256.is_some() && a.sha256 == b.sha256;
    let found = if equal { Ok(None) } else { cancellable(compare(archive, old, new)).await.map(Some) };
    if ui.is_json() {
        ui.json(&told(old, new, View::Original, None, found?))?;
        return Ok(Exit::Done);
    }
    if equal {
        ui.note("the versions do not differ");
        return Ok(Exit::Done);
    }
    // What is on record is told even where the contents cannot be read.
    for (mark, version, side) in [("-", old, &a), ("+", new, &b)] {
        let sha = side.sha256.as_deref().unwrap_or("-");
        ui.line(&format!("{mark} {} {} sha256:{sha}", name(version), human::size(version.size)))?;
    }
    if let Some(found) = found? {
        ui.line(&in_common(&found))?;
    }
    Ok(Exit::Done)
}

async fn compare(archive: &Archive, old: &Backup, new: &Backup) -> Result<Likeness> {
    likeness(stream(archive, old).await?, stream(archive, new).await?, old.size.max(new.size)).await
}

async fn stream(archive: &Archive, backup: &Backup) -> Result<ByteStream<'static>> {
    let (backend, _, at) = archive.stored(backup, View::Original).await?;
    backend.read(at, None).await
}

fn in_common(found: &Likeness) -> String {
    if found.common == 0 {
        return "= nothing in common".to_owned();
    }
    // Rounded down: only what is whole is called whole.
    let share = (found.share() * 1000.0).floor() / 10.0;
    let (common, new) = (human::size(found.common), human::size(found.new));
    format!("= {common} in common: {share:.1} % of the newer version's {new}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use devicevault_core::Body as _;

    #[tokio::test]
    async fn a_share_is_told_for_people() {
        let of = |old: &'static [u8], new: &'static [u8]| async move {
            let (old, new) = (Bytes::from_static(old), Bytes::from_static(new));
            in_common(&likeness(old.read(None), new.read(None), 3).await.unwrap())
        };
        assert_eq!(of(b"abc", b"abc").await, "= 3 B in common: 100.0 % of the newer version's 3 B");
        assert_eq!(of(b"abc", b"xyz").await, "= nothing in common");
    }
}
