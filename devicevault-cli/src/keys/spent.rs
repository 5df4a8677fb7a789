//! Files of keys that open nothing any more.

use std::path::Path;

use devicevault_core::{ErrorKind, Result};
use devicevault_storage::seal::keys::{FileAccess, read_key_file};

use crate::files;

/// Deletes a file where it holds the key of this id, by itself or as a recovery kit. By its name alone nobody knows whose
/// key a file holds by now: it may be the one in force.
///
/// # Errors
/// It cannot be read or deleted.
pub(crate) async fn delete(file: &Path, key: &str) -> Result<()> {
    if !file.is_file() {
        return Ok(());
    }
    match read_key_file(file, FileAccess::Any).await {
        Ok(found) if found.id().0 == key => {
            let failed = |e| files::failed(&e, "forget key", "its file cannot be deleted", file);
            std::fs::remove_file(file).map_err(failed)
        }
        Ok(_) => Ok(()),
        // It holds no key.
        Err(e) if e.kind() == ErrorKind::Config => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use devicevault_storage::seal::Key;
    use devicevault_storage::seal::keys::Kek;

    use super::*;

    #[tokio::test]
    async fn what_holds_another_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Kek::raw(Key::new([1; 32])), Kek::raw(Key::new([2; 32])));
        let file = folder.path().join("kek.key");
        let hex = |kek: &Kek| hex::encode(kek.key().expose());
        for text in [hex(&new), String::new(), "no key".to_owned()] {
            std::fs::write(&file, text).unwrap();
            delete(&file, &old.id().0).await.unwrap();
            assert!(file.exists());
        }
        // What nobody can tell the key of is told.
        for bytes in [&b"\xff\xfe"[..], &[b'0'; 1 << 20]] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(delete(&file, &old.id().0).await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
            assert!(file.exists());
        }
        std::fs::write(&file, hex(&old)).unwrap();
        delete(&file, &old.id().0).await.unwrap();
        assert!(!file.exists());
        delete(&file, &old.id().0).await.unwrap();
    }
}
