//! The SFTP server of asyncssh on a port of 127.0.0.1: it flushes files and opens no folders, and may forbid links.

use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use devicevault_ssh::{Credentials, Endpoint, HostKeysInMemory};
use devicevault_storage::sftp::{SftpOptions, SftpServer};

use super::Peer;

const SERVER: &str = "
import asyncio, asyncssh, sys

class Files(asyncssh.SFTPServer):
    def link(self, *names):
        if 'no-links' in sys.argv:
            raise asyncssh.SFTPPermissionDenied('Permission denied')
        return super().link(*names)

class Login(asyncssh.SSHServer):
    def begin_auth(self, user):
        return False

async def main():
    key = asyncssh.generate_private_key('ssh-ed25519')
    server = await asyncssh.create_server(Login, '127.0.0.1', 0, server_host_keys=[key], sftp_factory=Files)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()

asyncio.run(main())
";

/// A running server, which lets anybody in; it ends with this value.
pub(super) struct Asyncssh {
    child: Child,
    addr: SocketAddr,
}

impl Asyncssh {
    pub(super) fn start() -> Self {
        Self::run(&[])
    }

    /// On a file system without hard links, as exFAT: asked for one the system says that it is not permitted.
    pub(super) fn without_links() -> Self {
        Self::run(&["no-links"])
    }

    fn run(arguments: &[&str]) -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", SERVER]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3 is installed");
        let mut port = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port = port.trim().parse().expect("asyncssh is installed");
        Self { child, addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

impl Peer for Asyncssh {
    type Server = SftpServer;

    fn server(&self, folder: &Path) -> SftpServer {
        let endpoint = Endpoint::new(self.addr.ip().to_string(), self.addr.port());
        let known = Arc::new(HostKeysInMemory::default());
        let options = SftpOptions::new(endpoint, folder.to_str().unwrap(), "anybody", known);
        SftpServer::new(options.with_credentials(Credentials::new("anybody")))
    }
}

impl Drop for Asyncssh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
