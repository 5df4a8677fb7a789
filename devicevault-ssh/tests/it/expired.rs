//! Passwords that have to be changed before they let anybody in (RFC 4252, section 8).

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use devicevault_ssh::{Credentials, Endpoint, HostKeysInMemory, Options, SshError, connect};

/// Users are called by what happens to their password. Each attempt is printed.
const SERVER: &str = "
import asyncio, asyncssh

class Login(asyncssh.SSHServer):
    def connection_made(self, conn):
        self.conn = conn

    def password_auth_supported(self):
        return True

    async def validate_password(self, user, password):
        print(user, flush=True)
        if 'told' in user:
            self.conn.send_auth_banner('Your password has expired.\\r\\n')
        if 'greeted' in user:
            self.conn.send_auth_banner('Be patient.\\r\\n')
            await asyncio.sleep(5)
        if 'mute' in user:
            await asyncio.sleep(600)
        if 'slow' in user:
            self.conn.send_debug('thinking')
            await asyncio.sleep(6)
        if 'expired' in user:
            raise asyncssh.PasswordChangeRequired('Choose a new one:')
        return 'good' in user

async def main():
    key = asyncssh.generate_private_key('ssh-ed25519')
    server = await asyncssh.create_server(Login, '127.0.0.1', 0, server_host_keys=[key])
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()

asyncio.run(main())
";

struct Server {
    child: Child,
    said: std::io::BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let mut python = Command::new("python3");
        python.args(["-c", SERVER]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3 is installed");
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        said.read_line(&mut port).unwrap();
        Self { child, said, port: port.trim().parse().expect("asyncssh is installed") }
    }

    /// The users whose password was tried, once nobody is let in any more.
    fn tried(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::io::BufRead::lines(&mut self.said).map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3 with asyncssh"]
async fn a_password_that_has_to_be_changed_is_told_and_offered_once() {
    let server = Server::start();
    let endpoint = Endpoint::new("127.0.0.1", server.port);
    let users = ["expired", "told-expired", "greeted-good", "slow-good", "good", "wrong", "mute"];
    for user in users {
        let credentials = Credentials::new(user).with_password("word");
        let known = Arc::new(HostKeysInMemory::default());
        let mut options = Options::default();
        if user == "mute" {
            options.login_timeout = std::time::Duration::from_secs(5);
        }
        let reached = connect(&endpoint, &credentials, &options, known).await;
        match (user, reached) {
            (u, Ok(_)) if u.ends_with("good") => {}
            ("expired", Err(SshError::PasswordExpired { said })) => assert!(said.contains("a new one"), "{said}"),
            ("told-expired", Err(SshError::PasswordExpired { said })) => assert!(said.contains("expired"), "{said}"),
            // Whether it would have been a refusal nobody knows.
            ("mute", Err(SshError::PasswordUnanswered { .. })) => {}
            ("wrong", Err(SshError::AuthRejected { .. })) => {}
            (_, other) => panic!("{user}: {other:?}"),
        }
    }
    assert_eq!(server.tried(), users);
}
