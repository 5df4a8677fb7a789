//! Passwords for the program: never among its arguments or in its environment, but handed over on a socket that only
//! this user can reach, once each.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Login, SecretString, Turn};
use devicevault_ssh::{Asked, asked};
use tokio::sync::{Notify, watch};

use crate::escape::shown;

/// A folder that only this user can enter, gone with this value.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    sockets: AtomicU32,
    /// Held as long as this value lives: whoever finds the lock free finds a folder whose process was killed.
    _lock: File,
}

const LOCK: &str = "lock";
const KEY: &str = "key";

/// The longest path of a socket on all systems: BSD's has 104 bytes with the one that ends it.
const LONGEST: usize = 103;
/// A separator, and the longest name of a socket: a number.
const NAME: usize = 1 + 10;

/// A prompt is not longer.
const MOST: usize = 4096;

impl Folder {
    /// Makes one in the first of these in which that can be done, and removes those of processes that were killed.
    pub(super) fn new(parents: &[PathBuf]) -> io::Result<Self> {
        let mut failed = None;
        for parent in parents {
            match Self::make(parent) {
                Ok(made) => {
                    sweep(parent, &made.path);
                    return Ok(made);
                }
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no folder is named")))
    }

    fn make(parent: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const MOST_TRIES: u32 = 100;
        for _ in 0..MOST_TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("dv-{}-{number}", std::process::id()));
            if cfg!(unix) && path.as_os_str().len() + NAME > LONGEST {
                let why = format!("the path of a socket in {} would be too long: set TMPDIR", parent.display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
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

    /// Writes a private key that is of use to this user alone.
    pub(super) fn write_key(&self, text: &str) -> io::Result<PathBuf> {
        self.write(KEY, text)
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

    /// Where an agent of our own may listen.
    pub(super) fn agent(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// Where such a private key lies.
    pub(super) fn key(&self) -> PathBuf {
        self.path.join(KEY)
    }

    /// Answers the prompts of one process on a socket; each secret is told once. The first prompt tells that the device
    /// was `reached`. A prompt that has no answer is told, and left open: the program would send an empty one.
    #[cfg(unix)]
    pub(super) fn answer(&self, login: &Login, turn: &Turn, reached: &Arc<Notify>) -> io::Result<(PathBuf, Asking)> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let path = self.path.join(self.sockets.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = tokio::net::UnixListener::bind(&path)?;
        let mut answers = Answers::new(login, self.key());
        let (refuse, refused) = watch::channel(None);
        let given = answers.given.clone();
        let (gone, turn, reached) = (path.clone(), turn.clone(), reached.clone());
        tokio::spawn(async move {
            let mut left_open = Vec::new();
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
                match answers.to(&String::from_utf8_lossy(&prompt)) {
                    Ok(answer) => {
                        let _ = stream.write_all(answer.expose_secret().as_bytes()).await;
                    }
                    Err(e) => {
                        refuse.send_replace(Some(e));
                        left_open.push(stream);
                    }
                }
            }
        });
        Ok((path, Asking { given, refused }))
    }

    #[cfg(not(unix))]
    pub(super) fn answer(&self, _: &Login, _: &Turn, _: &Arc<Notify>) -> io::Result<(PathBuf, Asking)> {
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

/// What one process was asked.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    given: Arc<AtomicBool>,
    /// Told when a prompt has no answer.
    refused: watch::Receiver<Option<Error>>,
}

impl Asking {
    /// Of a program that asks nothing.
    pub(super) fn nothing() -> Self {
        Self { given: Arc::default(), refused: watch::channel(None).1 }
    }

    /// Whether the password was told.
    pub(super) fn was_given(&self) -> bool {
        self.given.load(Ordering::Relaxed)
    }

    /// Why the login cannot go on; never comes where it can. Cancel safe.
    pub(super) async fn why(&mut self) -> Error {
        match self.refused.wait_for(Option::is_some).await.ok().and_then(|e| e.clone()) {
            Some(e) => e,
            None => std::future::pending().await,
        }
    }
}

/// What one login answers, each secret once.
struct Answers {
    username: String,
    password: Option<SecretString>,
    passphrase: Option<SecretString>,
    key: PathBuf,
    /// The password was told.
    given: Arc<AtomicBool>,
}

impl Answers {
    fn new(login: &Login, key: PathBuf) -> Self {
        let (password, passphrase) = (login.password.clone(), login.passphrase.clone());
        Self { username: login.username.clone(), password, passphrase, key, given: Arc::default() }
    }

    fn to(&mut self, prompt: &str) -> Result<SecretString, Error> {
        let refuse = |message: String| Err(Error::new(ErrorKind::AuthRejected, "log in", message));
        if self.is_of_the_key(prompt) {
            let wrong = || Error::new(ErrorKind::Config, "log in", "the passphrase does not open the private key");
            return self.passphrase.take().ok_or_else(wrong);
        }
        match asked(prompt, false) {
            Asked::UserName => Ok(self.username.clone().into()),
            Asked::Return => Ok(String::new().into()),
            Asked::Password if self.given.load(Ordering::Relaxed) => {
                refuse("the device did not accept the password".to_owned())
                    .map_err(|e| e.hint("check user name and credential of this device"))
            }
            Asked::Password => {
                self.given.store(true, Ordering::Relaxed);
                let none = || {
                    Error::new(ErrorKind::AuthRejected, "log in", "the device asks for a password, and none is set")
                        .hint("check the key of this device, or give it a password")
                };
                self.password.take().ok_or_else(none)
            }
            Asked::NewPassword => {
                refuse(format!("the password has to be changed first: the device asks '{}'", said(prompt)))
                    .map_err(|e| e.hint("log in by hand, set a new password, and update the credential of this device"))
            }
            _ => refuse(format!("the device asks what no credential answers: '{}'", said(prompt))),
        }
    }

    /// Whether it is the program itself that asks, for the key that we gave it. It shows the first 100 bytes of the path.
    fn is_of_the_key(&self, prompt: &str) -> bool {
        const SHOWN: usize = 100;
        let path = self.key.as_os_str().as_encoded_bytes();
        let beginning = path.get(..SHOWN).unwrap_or(path);
        let asked = prompt.strip_prefix("Enter passphrase for key '").and_then(|rest| rest.split_once('\''));
        asked.is_some_and(|(named, _)| named.as_bytes() == beginning)
    }
}

fn said(prompt: &str) -> String {
    shown(prompt.as_bytes(), 200)
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
        let of = || Folder::new(&[parent.path().to_owned()]).unwrap();
        let held = of();
        let key = held.write_key("text").unwrap();
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
        drop(of());
        assert!(key.exists() && !left.exists());
        // Not begun yet, and not ours.
        assert!(parent.path().join("dv-2-0").exists() && parent.path().join("dv-x").exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn each_secret_is_told_once_and_to_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        // What is longer has no room for a socket.
        let long = parent.path().join("x".repeat(100));
        std::fs::create_dir(&long).unwrap();
        assert!(Folder::new(std::slice::from_ref(&long)).unwrap_err().to_string().contains("set TMPDIR"));
        let folder = Folder::new(&[long.clone(), parent.path().to_owned()]).unwrap();
        std::fs::remove_dir(&long).unwrap();
        let mut login = Login::default();
        login.password = Some("pw".to_owned().into());
        login.passphrase = Some("phrase".to_owned().into());
        login.username = "ops".to_owned();
        let (socket, mut asking) = folder.answer(&login, &Turn::default(), &Arc::default()).unwrap();
        let ask = |prompt: String| {
            let socket = socket.clone();
            tokio::task::spawn_blocking(move || answer_from(&socket, &prompt))
        };
        let told = async |prompt: &str| ask(prompt.to_owned()).await.unwrap().unwrap();
        assert_eq!(told(&format!("Enter passphrase for key '{}': ", folder.key().display())).await, "phrase");
        assert_eq!(told("(ops@h) Username: ").await, "ops");
        assert_eq!(told("ops@h's password: ").await, "pw");
        // The same again would be one more refusal: it is left open, and told.
        let open = ask("(ops@h) Password: ".to_owned());
        assert!(asking.was_given());
        assert_eq!(asking.why().await.message(), "the device did not accept the password");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(folder);
        assert!(std::fs::read_dir(parent.path()).unwrap().next().is_none());
        assert_eq!(open.await.unwrap().unwrap(), "");
    }

    #[test]
    fn secrets_are_told_to_who_they_are_for() {
        let mut login = Login::default();
        login.password = Some("pw".to_owned().into());
        login.passphrase = Some("phrase".to_owned().into());
        let answers = || Answers::new(&login, "/run/dv-1-0/key".into());
        for prompt in [
            "Enter passphrase to unlock: ",
            "(ops@h) Enter passphrase for key '/run/dv-1-0/key': ",
            "Enter passphrase for key '/etc/other': ",
            "Verification code: ",
            "New password: ",
            "Are you sure you want to continue connecting (yes/no)?",
            "Enter PIN for ED25519-SK key: ",
        ] {
            let e = answers().to(prompt).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::AuthRejected, "{prompt}");
        }
        let mut twice = answers();
        let own = "Enter passphrase for key '/run/dv-1-0/key': ";
        assert_eq!(twice.to(own).unwrap().expose_secret(), "phrase");
        assert_eq!(twice.to(own).unwrap_err().kind(), ErrorKind::Config);
        login.password = None;
        assert!(Answers::new(&login, "/k".into()).to("Password: ").unwrap_err().message().contains("none is set"));
    }
}
