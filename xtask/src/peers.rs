//! The programs that tests talk to: where they are found, and which Debian package brings them.

mod elsewhere;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::elsewhere::{Published, Registry};

/// Something that an ignored test may say that it needs.
struct Peer {
    /// As in `#[ignore = "needs sshd and frr"]`.
    word: &'static str,
    what: What,
    /// Debian's name.
    package: &'static str,
}

/// How it is seen to be there.
enum What {
    /// All of these programs are.
    Programs(&'static [&'static str]),
    /// This command, of a program that not every machine lets do its work, succeeds.
    Works(&'static [&'static str]),
    /// `python3` can import it.
    PythonModule(&'static str),
    /// The folder that this variable names.
    Folder(&'static str),
    /// A program that Debian does not have is.
    Elsewhere(Published),
}
use What::{Elsewhere, Folder, Programs, PythonModule, Works};

const FAKENOS: Published =
    Published { program: "fakenos", registry: Registry::Python, package: "fakenos", version: "1.2.1" };
const MOTO: Published =
    Published { program: "moto_server", registry: Registry::Python, package: "moto[server,s3]", version: "5.2.5" };
const AZURITE: Published =
    Published { program: "azurite-blob", registry: Registry::Node, package: "azurite", version: "3.35.0" };
const S3S_FS: Published =
    Published { program: "s3s-fs", registry: Registry::Rust, package: "s3s-fs --features binary", version: "0.14.1" };

/// A new one is a new line.
const PEERS: &[Peer] = &[
    Peer { word: "dropbear", what: Programs(&["dropbear"]), package: "dropbear-bin" },
    Peer { word: "faketime", what: Works(&["faketime", "-f", "+1d", "true"]), package: "faketime" },
    Peer { word: "frr", what: Programs(&["vtysh", "bgpd"]), package: "frr" },
    Peer { word: "git", what: Programs(&["git"]), package: "git" },
    Peer { word: "openssl", what: Programs(&["openssl"]), package: "openssl" },
    Peer { word: "opensc", what: Programs(&["pkcs11-tool"]), package: "opensc" },
    Peer { word: "socat", what: Programs(&["socat"]), package: "socat" },
    Peer { word: "softhsm2", what: Programs(&["softhsm2-util"]), package: "softhsm2" },
    Peer { word: "ssh", what: Programs(&["ssh"]), package: "openssh-client" },
    Peer { word: "ssh-keygen", what: Programs(&["ssh-keygen"]), package: "openssh-client" },
    Peer { word: "sshd", what: Programs(&["sshd"]), package: "openssh-server" },
    Peer { word: "strace", what: Works(&["strace", "-f", "-o", "/dev/null", "true"]), package: "strace" },
    Peer { word: "telnetd", what: Programs(&["telnetd"]), package: "inetutils-telnetd" },
    Peer { word: "vsftpd", what: Programs(&["vsftpd"]), package: "vsftpd" },
    Peer { word: "python3", what: Programs(&["python3"]), package: "python3" },
    Peer { word: "argon2-cffi", what: PythonModule("argon2"), package: "python3-argon2" },
    Peer { word: "cryptography", what: PythonModule("cryptography"), package: "python3-cryptography" },
    Peer { word: "asyncssh", what: PythonModule("asyncssh"), package: "python3-asyncssh" },
    Peer { word: "yaml", what: PythonModule("yaml"), package: "python3-yaml" },
    Peer { word: "fakenos", what: Elsewhere(FAKENOS), package: "" },
    Peer { word: "moto", what: Elsewhere(MOTO), package: "" },
    Peer { word: "azurite", what: Elsewhere(AZURITE), package: "" },
    Peer { word: "s3s-fs", what: Elsewhere(S3S_FS), package: "" },
    Peer { word: "recordings", what: Folder(RECORDINGS), package: "" },
    Peer { word: "zstandard", what: PythonModule("zstandard"), package: "python3-zstandard" },
];
/// Names a folder of recorded sessions, which nobody can install.
pub(crate) const RECORDINGS: &str = "DEVICEVAULT_RECORDINGS";
/// Not a program: the test makes users and opens their sessions.
const ROOT: &str = "root";
/// What root may not do in every container.
const MOUNT: &str = " to mount ";

/// Where Debian puts them, beside `PATH`.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/lib/frr", "/usr/local/sbin"];

/// What begins the reason of a test that is run here.
const RUN: [&str; 2] = ["needs ", "builds "];
/// What begins the reason of what only looks like a test: a part of another test, or a tool.
const NOT_RUN: [&str; 2] = ["is started by ", "writes "];

/// Whether a test that is ignored for this reason is one to run.
pub(crate) fn is_test(reason: &str) -> bool {
    !NOT_RUN.iter().any(|start| reason.starts_with(start))
}

/// Whether the reason has one of the known forms.
pub(crate) fn is_reason(reason: &str) -> bool {
    RUN.iter().chain(&NOT_RUN).any(|start| reason.starts_with(start))
}

/// Why a test with this reason to be ignored cannot be run here; `None`: it can.
pub(crate) fn missing(reason: &str) -> Option<String> {
    let mut lacks: Vec<String> = needs(reason).filter_map(lack).collect();
    if reason.contains(MOUNT) && lacks.is_empty() && !may_mount() {
        lacks.push("the right to mount, which we do not have here".to_owned());
    }
    (!lacks.is_empty()).then(|| lacks.join(" and "))
}

/// What a reason names that is not known here.
pub(crate) fn unknown(reason: &str) -> Vec<&str> {
    needs(reason).filter(|word| *word != ROOT && peer(word).is_none()).collect()
}

/// Installs the packages that tests with these reasons lack, where that can be done. Returns what a person should know.
pub(crate) fn install(reasons: &[String]) -> Vec<String> {
    let mut told = install_packages(reasons);
    let modules = reasons.iter().flat_map(|r| needs(r)).filter_map(|w| Some(&peer(w)?.what));
    let lacking = |what: &What| matches!(what, PythonModule(module) if !imports(module));
    if modules.into_iter().any(lacking) && elsewhere::prefer_the_systems_python() {
        told.push("python3 is the system's: its modules were installed, another one's were not".to_owned());
    }
    let wanted = |p: &Published| reasons.iter().flat_map(|r| needs(r)).any(|w| peer(w).is_some_and(|o| is(o, p)));
    for p in elsewhere().filter(|p| find(p.program).is_none() && wanted(p)) {
        told.push(format!("{}: {}", if p.install() { "installed" } else { "could not be installed" }, p.by()));
    }
    told
}

fn elsewhere() -> impl Iterator<Item = Published> {
    PEERS.iter().filter_map(|peer| match peer.what {
        Elsewhere(published) => Some(published),
        Programs(_) | Works(_) | PythonModule(_) | Folder(_) => None,
    })
}

fn is(peer: &Peer, published: &Published) -> bool {
    matches!(peer.what, Elsewhere(p) if p.program == published.program)
}

/// Where the tests find programs: `PATH`, and what was installed for them.
pub(crate) fn path() -> std::ffi::OsString {
    elsewhere::path(elsewhere())
}

/// Installs packages of Debian's.
fn install_packages(reasons: &[String]) -> Vec<String> {
    let lacking = |word: &&str| *word != ROOT && lack(word).is_some();
    let mut packages: Vec<&str> =
        reasons.iter().flat_map(|r| needs(r)).filter(lacking).filter_map(|w| Some(peer(w)?.package)).collect();
    packages.retain(|p| !p.is_empty());
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Vec::new();
    }
    let names = packages.join(" ");
    if !is_root() || find("apt-get").is_none() {
        return vec![format!("not installed: {names} (apt-get as root would install them)")];
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=900"]).args(args);
        command.output().is_ok_and(|o| o.status.success())
    };
    let add: Vec<&str> = ["install", "-y", "--no-install-recommends"].into_iter().chain(packages).collect();
    // A fresh machine has no package lists yet.
    if apt(&add) || (apt(&["update"]) && apt(&add)) {
        vec![format!("installed: {names}")]
    } else {
        vec![format!("apt-get could not install {names}")]
    }
}

/// The words of `needs a, b and c with d to do something`; none for any other reason.
fn needs(reason: &str) -> impl Iterator<Item = &str> {
    let list = reason.strip_prefix("needs ").unwrap_or_default();
    let list = list.split_once(" to ").map_or(list, |(list, _purpose)| list);
    list.split([',', ' ']).filter(|word| !["", "and", "with"].contains(word))
}

fn lack(word: &str) -> Option<String> {
    if word == ROOT {
        return (!is_root()).then(|| "root, which we are not".to_owned());
    }
    let peer = peer(word)?;
    let absent = match peer.what {
        Programs(programs) => *programs.iter().find(|p| find(p).is_none())?,
        Works([program, ..]) if find(program).is_none() => *program,
        Works(command) if works(command) => return None,
        Works(_) => return Some(format!("{word}, which does not work here")),
        PythonModule(module) => (!imports(module)).then_some(word)?,
        Elsewhere(p) => {
            return find(p.program).is_none().then(|| format!("{}, which is not installed ({})", p.program, p.by()));
        }
        Folder(variable) if std::env::var_os(variable).is_some_and(|f| Path::new(&f).is_dir()) => return None,
        Folder(variable) => {
            return Some(format!("a folder of {word}, which {variable} names (cargo xtask {word} DIR)"));
        }
    };
    let package = if peer.package.is_empty() { "of the same name, by pip" } else { peer.package };
    Some(format!("{absent}, which is not installed (package {package})"))
}

fn peer(word: &str) -> Option<&'static Peer> {
    PEERS.iter().find(|p| p.word == word)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = path();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn works(command: &[&str]) -> bool {
    let Some((program, args)) = command.split_first() else { return false };
    Command::new(program).args(args).env("PATH", path()).output().is_ok_and(|o| o.status.success())
}

fn imports(module: &str) -> bool {
    let import = format!("import {module}");
    Command::new("python3").args(["-c", &import]).env("PATH", path()).output().is_ok_and(|o| o.status.success())
}

/// Tried in a name space of its own, so that nothing is left mounted.
fn may_mount() -> bool {
    Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|o| o.status.success())
}

fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|m| m.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_as_lists() {
        let words = |reason| needs(reason).collect::<Vec<_>>();
        assert_eq!(words("needs sshd"), ["sshd"]);
        assert_eq!(words("needs sshd, frr and root"), ["sshd", "frr", "root"]);
        assert_eq!(words("needs python3 with zstandard"), ["python3", "zstandard"]);
        assert_eq!(words("needs root to mount a tmpfs"), ["root"]);
        assert!(words("builds a crate of its own").is_empty());
        assert_eq!(unknown("needs sshd and a miracle"), ["a", "miracle"]);
        assert!(unknown("builds a crate of its own").is_empty());
    }

    #[test]
    fn helpers_are_told_from_tests() {
        assert!(is_test("needs sshd") && is_test("builds a crate of its own"));
        assert!(!is_test("is started by another") && !is_test("writes vectors"));
        assert!(is_reason("is started by another") && !is_reason("is slow") && !is_reason(""));
    }
}
