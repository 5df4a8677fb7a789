//! Key-encryption keys in files and recovery kits, and from commands.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::key::KeyProvider;
use devicevault_core::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::kit::key_of_text;
use super::secret_file::read_secret_file;
use super::{Deferred, Kek};

/// A key file or recovery kit is no longer than this.
const MAX_TEXT: u64 = 256 << 10;

/// Who may read a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAccess {
    /// Its owner alone; a file that others can read is refused.
    OwnerOnly,
    /// Whoever: a recovery kit on a stick that knows no permissions.
    Any,
}

/// The key in a file: 64 hexadecimal digits, or a recovery kit.
///
/// # Errors
/// `KeyUnavailable` when the file cannot be read or others can read it too, `Config` when it holds no key.
pub async fn read_key_file(path: &Path, access: FileAccess) -> Result<Kek> {
    let text = read_text(path, access).await?;
    let key = key_of_text(&text).map_err(|e| e.with("file", path.display()))?;
    Ok(Kek::raw(key).from_source(describe_file(path)))
}

/// A key file that is read when it is first needed.
#[must_use]
pub fn key_file(path: PathBuf, access: FileAccess) -> Deferred {
    Deferred::new(describe_file(&path), move || {
        let path = path.clone();
        async move { Ok(Arc::new(read_key_file(&path, access).await?) as Arc<dyn KeyProvider>) }
    })
}

/// A key that a program prints, run when it is first needed: 64 hexadecimal digits on its standard output.
#[must_use]
pub fn key_command(program: String, args: Vec<String>, patience: Duration) -> Deferred {
    let from = format!("command {}", program.escape_debug());
    Deferred::new(from.clone(), move || {
        let (program, args, from) = (program.clone(), args.clone(), from.clone());
        async move {
            let key = run(&program, &args, patience).await.map_err(|e| e.with("command", program.escape_debug()))?;
            Ok(Arc::new(Kek::raw(key).from_source(from)) as Arc<dyn KeyProvider>)
        }
    })
}

fn describe_file(path: &Path) -> String {
    format!("key file {}", path.display().to_string().escape_debug())
}

async fn read_text(path: &Path, access: FileAccess) -> Result<Zeroizing<String>> {
    let refused =
        |why: &str| Error::new(ErrorKind::KeyUnavailable, "read key file", why.to_owned()).with("file", path.display());
    let read = read_secret_file(path, MAX_TEXT).await.map_err(|e| refused("it cannot be read").because(e))?;
    if access == FileAccess::OwnerOnly && read.is_open {
        return Err(refused("others than its owner can read it").hint("chmod 600, and consider the key as known"));
    }
    Ok(read.text)
}

async fn run(program: &str, args: &[String], patience: Duration) -> Result<super::Key> {
    let failed = |why: String| {
        Error::new(ErrorKind::KeyUnavailable, "run key command", why)
            .hint("run it by hand: it has to print 64 hexadecimal digits and to end with 0")
    };
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("it cannot be started".to_owned()).because(e))?;
    let Some(out) = child.stdout.take() else { return Err(failed("it has no output".to_owned())) };
    let mut text = Zeroizing::new(String::new());
    let reading = async {
        let read = out.take(MAX_TEXT).read_to_string(&mut text).await;
        read.map_err(|e| failed("its output cannot be read".to_owned()).because(e))?;
        child.wait().await.map_err(|e| failed("it was lost".to_owned()).because(e))
    };
    let status = tokio::time::timeout(patience, reading)
        .await
        .map_err(|_| failed(format!("it did not end within {} s", patience.as_secs())))??;
    if !status.success() {
        return Err(failed(format!("it failed: {status}")));
    }
    key_of_text(&text).map_err(|e| failed("it printed no key".to_owned()).because(e))
}
