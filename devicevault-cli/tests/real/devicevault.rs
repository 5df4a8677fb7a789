//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::Place;

/// Name of the variable that passwords are passed in.
pub(crate) const PASSWORD: &str = "DEVICEVAULT_TEST_PASSWORD";
/// Name of the variable that passphrases of keys are passed in.
pub(crate) const PASSPHRASE: &str = "DEVICEVAULT_TEST_PASSPHRASE";

/// A user of the program, with a home of its own.
#[derive(Debug)]
pub(crate) struct Person {
    home: Place,
    passphrase: String,
    agent: Option<PathBuf>,
    temporary: Option<PathBuf>,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Person {
    pub(crate) fn new() -> Self {
        Self { home: Place::new(), passphrase: String::new(), agent: None, temporary: None }
    }

    /// Knows the passphrase of a key.
    pub(crate) fn with_passphrase(mut self, passphrase: &str) -> Self {
        passphrase.clone_into(&mut self.passphrase);
        self
    }

    /// Has an SSH agent behind this socket.
    pub(crate) fn with_agent(mut self, socket: &Path) -> Self {
        self.agent = Some(socket.to_owned());
        self
    }

    /// Has temporary files in this folder.
    pub(crate) fn with_temporary(mut self, folder: &Path) -> Self {
        self.temporary = Some(folder.to_owned());
        self
    }

    /// Where ad hoc runs store.
    pub(crate) fn folder(&self) -> PathBuf {
        self.home.join("backups")
    }

    /// Where the installation that `init` makes is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The program with these arguments, and this password in the environment.
    pub(crate) fn program(&self, password: &str, args: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_devicevault"));
        program.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        program.env("HOME", self.home.path()).env(PASSWORD, password).env(PASSPHRASE, &self.passphrase);
        program.envs(self.agent.as_ref().map(|socket| ("SSH_AUTH_SOCK", socket)));
        program.envs(self.temporary.as_ref().map(|folder| ("TMPDIR", folder)));
        program.current_dir(self.home.path()).args(args);
        program
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, password: &str, args: &[&str]) -> Answer {
        let answer = Answer::of(&mut self.program(password, args));
        for secret in [password, &self.passphrase] {
            assert!(secret.is_empty() || !answer.shows(secret), "a secret is shown: {answer:?}");
        }
        answer
    }

    /// Backs up a device at a local port without anything before it, with these arguments beside.
    pub(crate) fn back_up(&self, port: u16, platform: &str, user: &str, password: &str, more: &[&str]) -> Answer {
        let (port, folder) = (port.to_string(), self.folder());
        let mut args = vec!["backup", "--host", "127.0.0.1", "--port", &port, "--platform", platform, "--user", user];
        args.extend(["--to", folder.to_str().expect("UTF-8"), "--json"]);
        if !password.is_empty() {
            args.extend(["--password-env", PASSWORD]);
        }
        // Of the rest, an ordinary user may not read everything.
        if platform == "linux" && !more.contains(&"--artefact") {
            args.extend(["--artefact", "network-config"]);
        }
        args.extend(more);
        self.run(password, &args)
    }
}

impl Answer {
    /// Of a program that is run to its end.
    pub(crate) fn of(program: &mut Command) -> Self {
        let output = program.output().expect("the program under test");
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The answer of a command that did all that was asked for.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    /// Whether this stands in what it printed.
    pub(crate) fn shows(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// What became of an artefact.
    #[track_caller]
    pub(crate) fn artefact(&self, name: &str) -> Value {
        let all = self.json();
        let found = all.as_array().and_then(|list| list.iter().find(|one| one["artefact"] == name));
        found.unwrap_or_else(|| panic!("no {name} in {all}")).clone()
    }

    /// The stored bytes of an artefact of an ad hoc run.
    #[track_caller]
    pub(crate) fn stored(&self, name: &str, folder: &Path) -> String {
        let artefact = self.artefact(name);
        let path = folder.join(artefact["path"].as_str().unwrap_or_else(|| panic!("no path in {artefact}")));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        String::from_utf8(bytes).expect("UTF-8")
    }
}
