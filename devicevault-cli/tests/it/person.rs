//! Somebody who runs the program, with a folder of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Name of the variable that passwords are passed in.
pub(crate) const PASSWORD: &str = "DEVICEVAULT_TEST_PASSWORD";

/// A person. Nothing of the environment but `PATH` reaches the program.
#[derive(Debug)]
pub(crate) struct Person {
    folder: TempDir,
    password: String,
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
        Self { folder: tempfile::tempdir().unwrap(), password: String::new() }
    }

    /// Knows the password of devices.
    pub(crate) fn with_password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// A path in their folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in their folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program with these arguments, parted by blanks; its home is `home`.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut program = Command::new(assert_cmd::cargo::cargo_bin!("devicevault"));
        program.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        program.env("HOME", self.folder.path()).env("DEVICEVAULT_HOME", self.path("home")).env("TZ", "UTC");
        if !self.password.is_empty() {
            program.env(PASSWORD, &self.password);
        }
        program.current_dir(self.folder.path()).stdin(Stdio::null()).args(args);
        program
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::of(self.program(args))
    }

    /// Runs it beside the test's own tasks, which may be the devices.
    pub(crate) async fn asks(&self, args: &[&str]) -> Answer {
        let program = self.program(args);
        tokio::task::spawn_blocking(move || Answer::of(program)).await.unwrap()
    }

    /// An answer as a snapshot: exit code and both outputs, with the person's folder left out.
    pub(crate) fn told(&self, answer: &Answer) -> String {
        let plain = |text: &str| text.replace(&self.folder.path().display().to_string(), "[folder]");
        format!("exit code {}\n{}{}", answer.code, plain(&answer.out), plain(&answer.err))
    }
}

impl Answer {
    pub(crate) fn of(mut program: Command) -> Self {
        let output = program.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Of a command that did all that was asked for.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        self.ended(0)
    }

    /// Of a command that ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// The error that it printed, as JSON.
    #[track_caller]
    pub(crate) fn json_error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// Every file below a folder, with its bytes.
pub(crate) fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                // A file may go while it is looked at.
                found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default()));
            }
        }
    }
    found
}

/// Who may do what with a file or folder.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
}
