//! Passwords for the program: never among its arguments or in its environment, but handed over on a socket that only
//! this user can reach, once each.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use devicevault_core::{ExposeSecret as _, Login, SecretString, Turn};
use tokio::sync::Notify;

/// A folder that only this user can enter, gone with this value.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    sockets: AtomicU32,
    /// Held as long as this value lives: whoever finds the lock free finds a folder whose process was killed.
    _lock: File,
}

const LOCK: &str = "lock";

/// A prompt is not longer.
const MOST: usize = 4096;

impl Folder {
    /// Makes one, and removes those of processes that were killed: there may be a key in them.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let made = Self::make(parent)?;
        sweep(parent, &made.path);
        Ok(made)
    }

    fn make(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const MOST_TRIES: u32 = 100;
        for _ in 0..MOST_TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("dv-{}-{number}", std::process::id()));
            let mut builder = DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => {
                    let lock = File::create_new(path.join(LOCK))?;
                    lock.lock()?;
                    return Ok(Self { path, sockets: AtomicU32::new(0), _lock: lock });
                }
                // Somebody else's, or of a process that was killed.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried is taken"))
    }

    /// Writes a file that only this user can read.
    pub(super) fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path)?;
        file.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(path)
    }

    /// Answers the prompts of one process on a socket; each secret is told once. The first prompt tells that the device
    /// was `reached`.
    #[cfg(unix)]
    pub(super) fn answer(&self, login: &Login, turn: &Turn, reached: &Arc<Notify>) -> io::Result<PathBuf> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let path = self.path.join(self.sockets.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = tokio::net::UnixListener::bind(&path)?;
        let (mut password, mut passphrase) = (login.password.clone(), login.passphrase.clone());
        let (gone, turn, reached) = (path.clone(), turn.clone(), reached.clone());
        tokio::spawn(async move {
            // The folder goes with the process, and with it whoever could still connect.
            while gone.exists() {
                let accepted = tokio::time::timeout(std::time::Duration::from_secs(1), listener.accept()).await;
                let Ok(Ok((mut stream, _))) = accepted else { continue };
                let mut prompt = Vec::new();
                if (&mut stream).take(MOST as u64).read_to_end(&mut prompt).await.is_err() {
                    continue;
                }
                // A device that asks was reached; logins wait for the conversation's turn.
                reached.notify_one();
                turn.reached().await;
                let secret = answer(&String::from_utf8_lossy(&prompt), &mut password, &mut passphrase);
                if let Some(secret) = secret {
                    let _ = stream.write_all(secret.expose_secret().as_bytes()).await;
                }
            }
        });
        Ok(path)
    }

    #[cfg(not(unix))]
    pub(super) fn answer(&self, _: &Login, _: &Turn, _: &Arc<Notify>) -> io::Result<PathBuf> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no private sockets"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), error = %e, "a folder with private files cannot be removed");
        }
    }
}

/// Removes the folders of this user that nobody holds any more. One that cannot be removed is not this call's trouble.
fn sweep(parent: &Path, own: &Path) {
    #[cfg(unix)]
    let same_owner = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        let of = |p: &Path| std::fs::symlink_metadata(p).ok().filter(std::fs::Metadata::is_dir).map(|m| m.uid());
        of(path).is_some_and(|owner| of(own) == Some(owner))
    };
    #[cfg(not(unix))]
    let same_owner = |_: &Path| false;
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let numbers = name.to_str().and_then(|n| n.strip_prefix("dv-")).and_then(|n| n.split_once('-'));
        let ours = numbers.is_some_and(|(pid, n)| [pid, n].iter().all(|s| s.parse::<u32>().is_ok()));
        let path = entry.path();
        if !ours || path == own || !same_owner(&path) {
            continue;
        }
        if File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// The secret that a prompt asks for, if it was not told yet.
fn answer(
    prompt: &str,
    password: &mut Option<SecretString>,
    passphrase: &mut Option<SecretString>,
) -> Option<SecretString> {
    let prompt = prompt.to_ascii_lowercase();
    let changes = ["new password", "old password", "current password", "retype", "yes/no"];
    if changes.iter().any(|c| prompt.contains(c)) {
        None
    } else if prompt.contains("passphrase") {
        passphrase.take()
    } else {
        password.take()
    }
}

/// What the helper program does: hands a prompt to a socket and gives what comes back, which may be nothing.
///
/// # Errors
/// Nobody answers at the socket.
#[cfg(unix)]
pub fn answer_from(socket: &Path, prompt: &str) -> io::Result<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.write_all(prompt.as_bytes().get(..MOST).unwrap_or(prompt.as_bytes()))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(1 << 16).read_to_string(&mut answer)?;
    Ok(answer)
}

/// What the helper program does.
///
/// # Errors
/// Always: this system has no private sockets.
#[cfg(not(unix))]
pub fn answer_from(_: &Path, _: &str) -> io::Result<String> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no private sockets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_killed_processes_go_and_those_of_running_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let held = Folder::new(parent.path()).unwrap();
        let key = held.write("key", "text").unwrap();
        let left = parent.path().join("dv-1-0");
        for (folder, lock) in
            [(left.clone(), true), (parent.path().join("dv-2-0"), false), (parent.path().join("dv-x"), true)]
        {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("key"), "text").unwrap();
            if lock {
                std::fs::write(folder.join(LOCK), "").unwrap();
            }
        }
        drop(Folder::new(parent.path()).unwrap());
        assert!(key.exists() && !left.exists());
        // Not begun yet, and not ours.
        assert!(parent.path().join("dv-2-0").exists() && parent.path().join("dv-x").exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_secret_is_told_once_and_to_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::new(parent.path()).unwrap();
        let mut login = Login::default();
        login.password = Some("pw".to_owned().into());
        login.passphrase = Some("phrase".to_owned().into());
        let socket = folder.answer(&login, &Turn::default(), &Arc::default()).unwrap();
        let ask = |prompt: &'static str| {
            let socket = socket.clone();
            async move { tokio::task::spawn_blocking(move || answer_from(&socket, prompt).unwrap()).await.unwrap() }
        };
        assert_eq!(ask("Are you sure you want to continue connecting (yes/no)?").await, "");
        assert_eq!(ask("Enter passphrase for key '/x':").await, "phrase");
        assert_eq!(ask("New password: ").await, "");
        assert_eq!(ask("u@h's password: ").await, "pw");
        assert_eq!(ask("u@h's password: ").await, "");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(folder);
        assert!(std::fs::read_dir(parent.path()).unwrap().next().is_none());
    }
}
