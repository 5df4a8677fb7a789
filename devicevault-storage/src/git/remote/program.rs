//! The `git` program as a way to other repositories.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use devicevault_core::{Error, ErrorKind, ExposeSecret, Result, Retry};
use git2::Oid;
use tokio::process::Command;

use super::{Remote, RemoteAccess, refuse_clear_text, steered};

/// What the environment may hold that would have `git` do something else.
const REMOVED: [&str; 24] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_TRACE",
    "GIT_TRACE2",
    "GIT_TRACE2_EVENT",
    "GIT_TRACE2_PERF",
    "GIT_TRACE_CURL",
    "GIT_TRACE_PACKET",
    "GIT_TRACE_SETUP",
    "GIT_CURL_VERBOSE",
    "GIT_SSH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PROXY_COMMAND",
    "GIT_SSL_NO_VERIFY",
    "GIT_ALLOW_PROTOCOL",
    "SSH_ASKPASS",
    "GIT_ASKPASS",
];

/// Bytes that are kept of what it says.
const MOST: usize = 4096;

/// `git`, ready to reach one remote.
pub(in super::super) struct Git<'a> {
    remote: &'a Remote,
    dir: PathBuf,
    access: RemoteAccess,
}

/// How a push went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Pushed {
    /// The remote's branch stands at our commit.
    Done,
    /// It has commits that we do not have.
    Behind,
}

struct Answer {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl<'a> Git<'a> {
    /// With what opens the remote.
    pub(in super::super) async fn new(remote: &'a Remote, dir: &Path) -> Result<Self> {
        let access = remote.login.access().await.map_err(|e| e.with("remote", &remote.url))?;
        refuse_clear_text(&remote.url, &access)?;
        Ok(Self { remote, dir: dir.to_owned(), access })
    }

    /// Has the remote's branch stand at a commit, if that is ahead of where it stands.
    pub(in super::super) async fn push(&self, branch: &str, commit: Oid) -> Result<Pushed> {
        self.push_as(branch, &format!("{commit}:refs/heads/{branch}"), &[]).await
    }

    /// Has the remote's branch stand at a commit whatever it holds, if it stands where it is thought to.
    pub(in super::super) async fn force(&self, branch: &str, commit: Oid, expected: Oid) -> Result<Pushed> {
        let lease = format!("--force-with-lease=refs/heads/{branch}:{expected}");
        self.push_as(branch, &format!("+{commit}:refs/heads/{branch}"), &[&lease]).await
    }

    async fn push_as(&self, branch: &str, what: &str, more: &[&str]) -> Result<Pushed> {
        let mut args = vec!["push", "--porcelain", "--no-verify", "--no-signed", "--recurse-submodules=no"];
        args.extend(more);
        let url = self.remote.url.as_str();
        args.extend(["--", url, what]);
        let answer = self.run(&args).await?;
        // `flag TAB from:to TAB summary (reason)`, documented in git-push(1), "Output".
        let text = String::from_utf8_lossy(&answer.out).into_owned();
        let of_branch = |line: &&str| line.contains(&format!(":refs/heads/{branch}\t"));
        match text.lines().find(of_branch).map(|line| (line.chars().next(), line)) {
            Some((Some(' ' | '*' | '=' | '+'), _)) if answer.code == Some(0) => Ok(Pushed::Done),
            // Others were faster: before we asked, or while the remote worked on it.
            Some((Some('!'), line))
                if line.contains("[rejected]")
                    || ["failed to update ref", "cannot lock ref", "incorrect old value"]
                        .iter()
                        .any(|w| line.contains(w)) =>
            {
                Ok(Pushed::Behind)
            }
            Some((Some('!'), line)) => {
                let why = line.rsplit('\t').next().unwrap_or_default();
                let said = self.said(&format!("{why}\n{}", answer.err));
                Err(self.error(ErrorKind::Refused, format!("the remote refuses the push: {said}")))
            }
            _ => Err(self.failure(&answer)),
        }
    }

    /// Where the remote's branch stands.
    pub(in super::super) async fn tip(&self, branch: &str) -> Result<Option<Oid>> {
        let name = format!("refs/heads/{branch}");
        let answer = self.run(&["ls-remote", "--", self.remote.url.as_str(), &name]).await?;
        if answer.code != Some(0) {
            return Err(self.failure(&answer));
        }
        let text = String::from_utf8_lossy(&answer.out).into_owned();
        let line = text.lines().find_map(|line| line.split_once('\t').filter(|(_, found)| *found == name));
        line.map(|(id, _)| {
            Oid::from_str(id).map_err(|e| self.error(ErrorKind::Corrupt, "its answer is none").because(e))
        })
        .transpose()
    }

    /// Brings what the remote's branch has and we have not.
    pub(in super::super) async fn fetch(&self, branch: &str) -> Result<()> {
        let name = format!("refs/heads/{branch}");
        let args = ["fetch", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--recurse-submodules=no"];
        let mut args = args.to_vec();
        args.extend(["--", self.remote.url.as_str(), &name]);
        let answer = self.run(&args).await?;
        if answer.code == Some(0) { Ok(()) } else { Err(self.failure(&answer)) }
    }

    async fn run(&self, args: &[&str]) -> Result<Answer> {
        steered::refuse(&self.dir)?;
        let mut git = Command::new(&self.remote.program);
        git.arg("--git-dir").arg(&self.dir).args(args);
        git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for name in REMOVED {
            git.env_remove(name);
        }
        git.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
        git.env("GIT_CONFIG_GLOBAL", if cfg!(windows) { "NUL" } else { "/dev/null" });
        let settings = self.settings();
        git.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (n, (key, value)) in settings.into_iter().enumerate() {
            git.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        if self.remote.url.is_ssh() {
            git.env("GIT_SSH_COMMAND", self.ssh()).env("GIT_SSH_VARIANT", "ssh");
        }
        let child = git.output();
        let output = match tokio::time::timeout(self.remote.timeout, child).await {
            Ok(output) => output.map_err(|e| {
                let e = Error::new(ErrorKind::Config, "reach remote", "the git program cannot be started")
                    .with("program", self.remote.program.display())
                    .because(e);
                e.hint("install Git: remotes are reached by its program; backups are stored without it")
            })?,
            Err(_) => {
                let e = self.error(ErrorKind::Timeout, "it did not end in time");
                return Err(e.with("limit in seconds", self.remote.timeout.as_secs()));
            }
        };
        let mut err = String::from_utf8_lossy(&output.stderr).into_owned();
        if err.len() > MOST {
            let at = (0..=MOST).rev().find(|at| err.is_char_boundary(*at)).unwrap_or(0);
            err.truncate(at);
        }
        Ok(Answer { code: output.status.code(), out: output.stdout, err })
    }

    /// What `git` is configured by, and nothing else.
    fn settings(&self) -> Vec<(String, OsString)> {
        let url = &self.remote.url;
        let mut all: Vec<(String, OsString)> = [
            ("credential.helper", ""),
            ("core.askPass", ""),
            ("core.hooksPath", if cfg!(windows) { "NUL" } else { "/dev/null" }),
            ("core.fsync", "all"),
            ("core.fsyncMethod", "fsync"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("safe.directory", "*"),
            ("push.followTags", "false"),
            ("push.gpgSign", "false"),
            ("transfer.credentialsInUrl", "die"),
            // A token is for the host that was named.
            ("http.followRedirects", "false"),
            ("protocol.allow", "never"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
        all.push((format!("protocol.{}.allow", url.protocol()), "always".into()));
        if let Some(token) = self.access.token.as_ref().filter(|_| url.is_http()) {
            let user = self.access.user.as_deref().unwrap_or("git");
            let pair = format!("{user}:{}", token.expose_secret());
            let value = base64::engine::general_purpose::STANDARD.encode(pair);
            all.push(("http.extraHeader".to_owned(), format!("Authorization: Basic {value}").into()));
        }
        all
    }

    /// The `ssh` that `git` starts, as a command of the shell.
    fn ssh(&self) -> OsString {
        let mut words: Vec<OsString> = ["ssh", "-F", "none", "-T"].map(OsString::from).to_vec();
        let strict = if self.access.strict_host_key { "yes" } else { "accept-new" };
        for option in [
            "BatchMode=yes",
            "GlobalKnownHostsFile=/dev/null",
            "HashKnownHosts=no",
            "UpdateHostKeys=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
            "ServerAliveInterval=30",
        ] {
            words.extend(["-o".into(), option.into()]);
        }
        words.extend(["-o".into(), format!("StrictHostKeyChecking={strict}").into()]);
        if let Some(file) = &self.access.known_hosts {
            words.extend(["-o".into(), setting("UserKnownHostsFile", file)]);
        }
        if let Some(file) = &self.access.key_file {
            words.extend(["-o".into(), "IdentitiesOnly=yes".into(), "-o".into(), "IdentityAgent=none".into()]);
            words.extend(["-o".into(), setting("IdentityFile", file)]);
        } else if let Some(socket) = &self.access.agent {
            words.extend(["-o".into(), "IdentityFile=none".into(), "-o".into(), setting("IdentityAgent", socket)]);
        }
        let mut command = OsString::new();
        for word in words {
            command.push(quoted(&word.to_string_lossy()));
            command.push(" ");
        }
        command
    }

    fn error(&self, kind: ErrorKind, why: impl Into<String>) -> Error {
        Error::new(kind, "reach remote", why).with("remote", &self.remote.url)
    }

    /// What it said, on one line, without secrets and control characters.
    fn said(&self, text: &str) -> String {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let said = lines.get(lines.len().saturating_sub(4)..).unwrap_or_default().join("; ");
        let mut said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(600).collect();
        if let Some(token) = self.access.token.as_ref().map(ExposeSecret::expose_secret).filter(|t| !t.is_empty()) {
            said = said.replace(token, "…");
        }
        if said.is_empty() { "nothing".to_owned() } else { said }
    }

    fn failure(&self, answer: &Answer) -> Error {
        let said = self.said(&answer.err);
        let (kind, hint) = kind_of(&said);
        let e = self.error(kind, format!("git ended; it says: {said}"));
        let e = if matches!(kind, ErrorKind::AuthRejected | ErrorKind::HostKeyRejected) {
            e.retry_advice(Retry::Never)
        } else {
            e
        };
        if hint.is_empty() { e } else { e.hint(hint) }
    }
}

/// What a failure means, by the words that Git, curl and OpenSSH have for it.
fn kind_of(said: &str) -> (ErrorKind, &'static str) {
    let text = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if has(&["host key verification failed", "identification has changed"]) {
        let hint = "compare the host's fingerprint with its own, then put it into the known_hosts file of the home";
        (ErrorKind::HostKeyRejected, hint)
    } else if has(&["authentication failed", "permission denied (", "could not read username", "returned error: 401"]) {
        (ErrorKind::AuthRejected, "check the user name, token or key that the destination names")
    } else if has(&["returned error: 403", "permission denied", "access denied"]) {
        (ErrorKind::PermissionDenied, "whoever logs in there has to be allowed to write")
    } else if has(&[
        "could not resolve",
        "connection refused",
        "no route",
        "unreachable",
        "timed out",
        "failed to connect",
    ]) {
        (ErrorKind::Unreachable, "")
    } else if has(&["does not appear to be a git repository", "not found", "no such file", "does not exist"]) {
        (ErrorKind::NotFound, "make an empty repository there first: `git init --bare`, or at the hosting service")
    } else {
        (ErrorKind::Unavailable, "")
    }
}

/// An option of `ssh` whose value is a path: quoted, since blanks would part it; a percent sign stands for itself.
fn setting(name: &str, path: &Path) -> OsString {
    format!("{name}=\"{}\"", path.display().to_string().replace('%', "%%")).into()
}

/// A word of the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        for (said, kind) in [
            ("fatal: Authentication failed for 'https://x/'", ErrorKind::AuthRejected),
            ("git@h: Permission denied (publickey).; fatal: Could not read from remote", ErrorKind::AuthRejected),
            ("Host key verification failed.", ErrorKind::HostKeyRejected),
            ("The requested URL returned error: 403", ErrorKind::PermissionDenied),
            ("ssh: connect to host x port 22: Connection refused", ErrorKind::Unreachable),
            ("fatal: repository 'https://x/y' not found", ErrorKind::NotFound),
            ("fatal: something else", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(said).0, kind, "{said}");
        }
    }

    #[test]
    fn words_of_the_shell_stand_for_themselves() {
        assert_eq!(quoted("a b'c$d"), r"'a b'\''c$d'");
        assert_eq!(setting("X", Path::new("/a b/50%")), r#"X="/a b/50%%""#);
    }

    #[test]
    fn no_secret_is_shown() {
        let access = RemoteAccess { token: Some("s3cret".to_owned().into()), ..RemoteAccess::default() };
        assert!(!format!("{access:?}").contains("s3cret"));
        let remote = Remote::new("https://host/x".parse().unwrap());
        let git = Git { remote: &remote, dir: PathBuf::new(), access };
        assert_eq!(git.said("no s3cret\nhere"), "no …; here");
    }
}
