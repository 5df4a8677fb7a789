//! Files that hold a secret: read within bounds of kind, length and time, whoever asks.

use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::regular;

/// A file that is not read by then is given up: a share that does not answer stops one device, not a round.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a file with a secret holds.
#[derive(Clone)]
pub struct SecretFile {
    /// Its text, without a byte order mark.
    pub text: Zeroizing<String>,
    /// Others than its owner may read it.
    pub is_open: bool,
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretFile").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// Reads a file of at most `longest` bytes. Pipes and devices are refused, but for those that the program was handed
/// open (`/dev/stdin`, `/dev/fd/3`).
///
/// # Errors
/// It cannot be read, is no file, is not a text, is too long or was not read within a minute. No error quotes it.
pub async fn read_secret_file(path: &Path, longest: u64) -> Result<SecretFile> {
    let at = path.to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own, that a program which ends does not wait for: on a share that hangs it never comes back.
    std::thread::Builder::new().name("secret file".to_owned()).spawn(move || drop(tell.send(read(&at, longest))))?;
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(told) => told.unwrap_or_else(|_| Err(Error::other("the thread that read it ended"))),
        Err(_) => {
            let why = format!("it could not be read within {} s", PATIENCE.as_secs());
            Err(Error::new(ErrorKind::TimedOut, why))
        }
    }
}

fn read(path: &Path, longest: u64) -> Result<SecretFile> {
    let file = if regular::is_handed_over(path) { std::fs::File::open(path)? } else { regular::open(path)? };
    let meta = file.metadata()?;
    #[cfg(unix)]
    let is_open = meta.is_file() && std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o077 != 0;
    #[cfg(not(unix))]
    let is_open = false;
    // Of its full length at once: one that grows leaves copies behind, which nobody wipes.
    let room = usize::try_from(meta.len().min(longest)).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(room + 1));
    file.take(longest + 1).read_to_string(&mut text)?;
    if text.len() as u64 > longest {
        return Err(Error::new(ErrorKind::InvalidData, format!("it is longer than {longest} bytes")));
    }
    if text.contains('\0') {
        return Err(Error::new(ErrorKind::InvalidData, "it holds a NUL, which no text does"));
    }
    if let Some(rest) = text.strip_prefix('\u{feff}') {
        text = Zeroizing::new(rest.to_owned());
    }
    Ok(SecretFile { text, is_open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_text_in_a_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for (bytes, says) in
            [(&b"a\0b\n"[..], "NUL"), (&[0xff, 0xfe, b'a', 0], "UTF-8"), (&[b'x'; 17], "longer than 16 bytes")]
        {
            std::fs::write(&file, bytes).unwrap();
            let e = read_secret_file(&file, 16).await.unwrap_err();
            assert!(e.to_string().contains(says), "{e}");
        }
        for (bytes, text) in [(&b"\xef\xbb\xbfpw\n"[..], "pw\n"), (b"", ""), (&[b'x'; 16], "xxxxxxxxxxxxxxxx")] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(*read_secret_file(&file, 16).await.unwrap().text, text);
        }
        assert!(read_secret_file(&folder.path().join("none"), 16).await.is_err());
        assert!(!format!("{:?}", read_secret_file(&file, 16).await.unwrap()).contains('x'));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_never_answers_is_no_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let e = read_secret_file(path, 16).await.unwrap_err();
            assert!(e.to_string().contains("it is no file"), "{e}");
        }
        let file = folder.path().join("secret");
        std::fs::write(&file, "x").unwrap();
        for (mode, is_open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_secret_file(&file, 16).await.unwrap().is_open, is_open, "{mode:o}");
        }
    }
}
