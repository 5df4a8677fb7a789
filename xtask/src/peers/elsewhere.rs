//! Programs that Debian does not have, installed from where they are published, each into a folder of its own beneath
//! `target/peers`, once for each version.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// Where a program is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registry {
    /// PyPI: a virtual environment of its own.
    Python,
    /// npm.
    Node,
    /// crates.io. Compiles for some minutes.
    Rust,
}

/// A program and what brings it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Published {
    pub(super) program: &'static str,
    pub(super) registry: Registry,
    /// The package's name there, with what of it is wanted.
    pub(super) package: &'static str,
    pub(super) version: &'static str,
}

impl Published {
    /// Where its programs are, once it is installed.
    pub(super) fn programs(&self) -> PathBuf {
        let inside = match self.registry {
            Registry::Python => "program",
            Registry::Rust => "bin",
            Registry::Node => "node_modules/.bin",
        };
        self.folder().join(inside)
    }

    fn folder(&self) -> PathBuf {
        peers().join(format!("{}-{}", self.program, self.version))
    }

    /// What installs it, for people.
    pub(super) fn by(&self) -> String {
        match self.registry {
            Registry::Python => format!("pip install '{}=={}'", self.package, self.version),
            Registry::Node => format!("npm install {}@{}", self.package, self.version),
            Registry::Rust => format!("cargo install {} --version {}", self.package, self.version),
        }
    }

    /// Installs it. A folder that was begun and not finished has no program, and is begun again.
    pub(super) fn install(&self) -> bool {
        let folder = self.folder();
        if std::fs::create_dir_all(&folder).is_err() {
            return false;
        }
        let path = |inside: &str| folder.join(inside);
        match self.registry {
            Registry::Python => {
                let wanted = format!("{}=={}", self.package, self.version);
                // Beside the program stands a `python3` of its own, which is not the one that others are to find.
                run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
                    && run(Command::new(path("bin/pip")).args(["install", "--quiet", &wanted]))
                    && link(&path("bin").join(self.program), &self.programs())
            }
            Registry::Node => {
                let wanted = format!("{}@{}", self.package, self.version);
                run(Command::new("npm")
                    .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
                    .arg(&folder)
                    .arg(wanted))
            }
            Registry::Rust => {
                let mut cargo = command::cargo(&["install", "--quiet", "--locked"]);
                cargo.args(self.package.split(' ')).args(["--version", self.version, "--root"]).arg(&folder);
                // It is compiled while the workspace is, and serves a few tests.
                cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
                run(cargo.arg("--target-dir").arg(path("build"))) && std::fs::remove_dir_all(path("build")).is_ok()
            }
        }
    }
}

/// Where a system has the Python for which its packages are.
const SYSTEMS_PYTHON: &str = "/usr/bin/python3";

/// Lets `python3` be the system's, for which packages were installed, where `PATH` has another one before it.
pub(super) fn prefer_the_systems_python() -> bool {
    Path::new(SYSTEMS_PYTHON).is_file() && link(Path::new(SYSTEMS_PYTHON), &python())
}

/// The folder of that link.
fn python() -> PathBuf {
    peers().join("python")
}

/// Makes a link to the program, of the program's name, in the folder.
fn link(program: &Path, folder: &Path) -> bool {
    let Some(name) = program.file_name() else { return false };
    let link = folder.join(name);
    program.is_file()
        && std::fs::create_dir_all(folder).is_ok()
        && (link.is_file() || std::os::unix::fs::symlink(program, &link).is_ok())
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

/// The folder of all of them.
fn peers() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| command::root().join("target"), PathBuf::from).join("peers")
}

/// `PATH` with the folders of all that are installed before it.
pub(super) fn path(all: impl Iterator<Item = Published>) -> std::ffi::OsString {
    let own = all.map(|p| p.programs()).chain([python()]).filter(|folder| Path::is_dir(folder));
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = own.chain(std::env::split_paths(&rest)).collect();
    std::env::join_paths(folders).unwrap_or(rest)
}
