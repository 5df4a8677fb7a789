//! Dropbear: a second implementation of SSH, as small devices have it.

use std::process::Command;

use crate::place::Place;
use crate::process::{Server, free_port, listens, program, run};

/// Listens until the end of its test.
#[derive(Debug)]
pub(crate) struct Dropbear {
    pub(crate) port: u16,
    server: Server,
    _place: Place,
}

impl Dropbear {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let (place, port) = (Place::new(), free_port());
        let key = place.join("host_key");
        run(Command::new(program("dropbearkey")).args(["-t", "ed25519", "-f"]).arg(&key));
        let mut dropbear = Command::new(program("dropbear"));
        dropbear.args(["-F", "-E", "-p", &format!("127.0.0.1:{port}"), "-r"]).arg(&key);
        dropbear.arg("-P").arg(place.join("pid"));
        let server = Server::start(&mut dropbear, &place.join("log")).until("an open port", || listens(port));
        Self { port, server, _place: place }
    }

    /// What it logged.
    /// The log, once this stands in it.
    pub(crate) fn log_with(&self, text: &str) -> String {
        self.server.log_with(text)
    }
}
