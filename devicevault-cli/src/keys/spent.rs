//! Files of keys that open nothing any more.

use std::io::{self, Read as _};
use std::path::Path;

use devicevault_storage::seal::keys::{Kek, key_of_text};
use zeroize::Zeroizing;

/// A key file or a recovery kit is no longer than this, in bytes.
const LONGEST: u64 = 256 << 10;

/// Deletes a file where it holds the key of this id, by itself or as a recovery kit. By its name alone nobody knows whose
/// key a file holds by now: it may be the one in force.
///
/// # Errors
/// It cannot be read or deleted.
pub(crate) fn delete(file: &Path, key: &str) -> io::Result<()> {
    let done = holds(file, key).and_then(|holds| if holds { std::fs::remove_file(file) } else { Ok(()) });
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn holds(file: &Path, key: &str) -> io::Result<bool> {
    if !std::fs::metadata(file)?.is_file() {
        return Ok(false);
    }
    let mut text = Zeroizing::new(Vec::new());
    std::fs::File::open(file)?.take(LONGEST).read_to_end(&mut text)?;
    let found = std::str::from_utf8(&text).ok().and_then(|text| key_of_text(text).ok());
    Ok(found.is_some_and(|found| Kek::raw(found).id().0 == key))
}

#[cfg(test)]
mod tests {
    use devicevault_storage::seal::Key;

    use super::*;

    #[test]
    fn what_holds_another_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Kek::raw(Key::new([1; 32])), Kek::raw(Key::new([2; 32])));
        let file = folder.path().join("kek.key");
        let hex = |kek: &Kek| hex::encode(kek.key().expose());
        for text in [hex(&new), String::new(), "no key".to_owned(), "0".repeat(1 << 20)] {
            std::fs::write(&file, text).unwrap();
            delete(&file, &old.id().0).unwrap();
            assert!(file.exists());
        }
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        delete(&file, &old.id().0).unwrap();
        assert!(file.exists());
        std::fs::write(&file, hex(&old)).unwrap();
        delete(&file, &old.id().0).unwrap();
        assert!(!file.exists());
        delete(&file, &old.id().0).unwrap();
    }
}
