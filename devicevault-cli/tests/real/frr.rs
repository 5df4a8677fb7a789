//! FRRouting's BGP daemon with its shell, vtysh: a real router's command line.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::place::Place;
use crate::process::{Server, program, run};

/// Runs until the end of its test.
#[derive(Debug)]
pub(crate) struct Router {
    _server: Server,
    place: Place,
}

/// Secrets in its configuration.
pub(crate) const SECRETS: [&str; 2] = ["vty-secret-word", "enable-secret-word"];

impl Router {
    /// Starts it with one neighbour.
    pub(crate) fn start() -> Self {
        let place = Place::new();
        let [password, enable] = SECRETS;
        let config = format!(
            "hostname edge1\npassword {password}\nenable password {enable}\n!\nrouter bgp 64512\n bgp router-id 192.0.2.1\n \
             neighbor 192.0.2.2 remote-as 64513\n neighbor 192.0.2.2 description transit\n!\n"
        );
        let config = place.write("bgpd.conf", &config);
        place.write("vtysh.conf", "");
        let folder = place.path();
        let mut bgpd = Command::new(program("bgpd"));
        bgpd.args(["--skip_runas", "-A", "127.0.0.1", "-P", "0", "-p", "0", "-S"]).arg("-f").arg(config);
        bgpd.arg("-i").arg(place.join("pid")).arg("--vty_socket").arg(folder).arg("-z").arg(place.join("zserv.api"));
        let socket = place.join("bgpd.vty");
        let server = Server::start(&mut bgpd, &place.join("log")).until("socket of its shell", || socket.exists());
        // An installed router lets the members of a group in; this one has its socket in a folder of its own.
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).expect("permissions of its socket");
        Self { _server: server, place }
    }

    /// Setting of sshd that gives this user the router's shell and nothing else.
    pub(crate) fn shell_of(&self, user: &str) -> String {
        let folder = self.place.path().display();
        let vtysh = program("vtysh");
        format!("Match User {user}\n ForceCommand {} --vty_socket {folder} --config_dir {folder}", vtysh.display())
    }

    /// What the router itself prints.
    pub(crate) fn show(&self, command: &str) -> String {
        run(self.vtysh().args(["-c", command]))
    }

    /// Changes its running configuration.
    pub(crate) fn configure(&self, commands: &[&str]) {
        let mut vtysh = self.vtysh();
        vtysh.args(["-c", "configure terminal"]);
        for command in commands {
            vtysh.args(["-c", command]);
        }
        run(&mut vtysh);
    }

    fn vtysh(&self) -> Command {
        let mut vtysh = Command::new(program("vtysh"));
        vtysh.arg("--vty_socket").arg(self.place.path()).arg("--config_dir").arg(self.place.path());
        vtysh
    }
}
