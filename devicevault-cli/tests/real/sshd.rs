//! OpenSSH's server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::Place;
use crate::process::{Server, free_port, listens, program, run};

/// Listens until the end of its test.
#[derive(Debug)]
pub(crate) struct Sshd {
    pub(crate) port: u16,
    server: Server,
    place: Place,
}

impl Sshd {
    /// Starts it with these settings beside its own.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_on(free_port(), settings)
    }

    /// Starts it at this port, with a host key of its own.
    pub(crate) fn start_on(port: u16, settings: &str) -> Self {
        let place = Place::new();
        make_key(&place.join("host_key"), &["-t", "ed25519", "-N", ""]);
        std::fs::create_dir_all("/run/sshd").expect("the folder that sshd separates its privileges in");
        let folder = place.path().display();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nLogLevel VERBOSE\n\
             AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM yes\nPrintMotd no\n"
        );
        let _ = writeln!(config, "{settings}");
        place.write("sshd_config", &config);
        let server = Self::listening(&place, port);
        Self { port, server, place }
    }

    fn listening(place: &Place, port: u16) -> Server {
        let mut sshd = Command::new(program("sshd"));
        sshd.args(["-D", "-e", "-f"]).arg(place.join("sshd_config"));
        Server::start(&mut sshd, &place.join("log")).until("an open port", || listens(port))
    }

    /// Ends it, and the sessions of its clients.
    pub(crate) fn stops(&mut self) {
        self.server.ends();
    }

    /// Starts it again, with its keys at its port.
    pub(crate) fn starts_again(&mut self) {
        self.server = Self::listening(&self.place, self.port);
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        self.server.log()
    }

    /// The log, once this stands in it.
    pub(crate) fn log_with(&self, text: &str) -> String {
        self.server.log_with(text)
    }

    /// Fingerprint of its host key, as `ssh-keygen -l` shows it.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.place.join("host_key.pub"))
    }

    /// Makes a key pair whose public half may log in; returns the private one's file.
    pub(crate) fn authorised_key(&self, args: &[&str]) -> PathBuf {
        let key = self.place.join("user_key");
        make_key(&key, args);
        let public = std::fs::read_to_string(key.with_extension("pub")).expect("the public key");
        self.place.write("authorized_keys", &public);
        key
    }
}

/// The fingerprint of a public key.
pub(crate) fn fingerprint(public: &Path) -> String {
    let text = run(Command::new(program("ssh-keygen")).arg("-lf").arg(public));
    text.split_whitespace().nth(1).expect("size, fingerprint, comment, type").to_owned()
}

fn make_key(file: &Path, args: &[&str]) {
    run(Command::new(program("ssh-keygen")).args(["-q", "-C", ""]).args(args).arg("-f").arg(file));
}
