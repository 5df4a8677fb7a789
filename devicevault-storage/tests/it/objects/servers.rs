//! Servers of others that keep objects, each on a port of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_lc_rs::hmac;
use devicevault_core::{Clock as _, SystemClock};
use devicevault_storage::objects::StoreSettings;
use tempfile::TempDir;

use super::login;

/// The bucket or container of all tests.
pub(crate) const BUCKET: &str = "backups";
/// Azurite's account and key, which its documentation tells to everybody.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    scheme: &'static str,
    _folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(program: &str, scheme: &'static str, args: impl Fn(u16, &Path) -> Vec<String>) -> Server {
    // A port that is free may be taken before the server has it: then the server ends, and another one is tried.
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(args(port, folder.path())).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|e| panic!("{program} has to be in PATH: {e}"));
        let mut server = Server { child, port, scheme, _folder: folder };
        for _ in 0..1200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            if server.child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    panic!("{program} does not listen");
}

/// PyPI's `moto[server,s3]`.
pub(crate) fn moto() -> Server {
    let words = |port: u16, _: &Path| ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
    let server = start("moto_server", "s3", words);
    server.request(&format!("PUT /{BUCKET}"), &[]);
    server
}

/// crates.io's `s3s-fs`.
pub(crate) fn s3s() -> Server {
    start("s3s-fs", "s3", |port, folder| {
        std::fs::create_dir(folder.join(BUCKET)).unwrap();
        let (port, folder) = (port.to_string(), folder.to_str().unwrap());
        let words = ["--host", "127.0.0.1", "--port", &port, "--access-key", "user", "--secret-key", "secret", folder];
        words.map(str::to_owned).to_vec()
    })
}

/// npm's `azurite`.
pub(crate) fn azurite() -> Server {
    let server = start("azurite-blob", "az", |port, _| {
        let port = port.to_string();
        let words =
            ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobPort", &port];
        words.map(str::to_owned).to_vec()
    });
    let date = SystemClock.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = "2023-11-03";
    // <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    );
    let key =
        hmac::Key::new(hmac::HMAC_SHA256, &base64::Engine::decode(&base64::prelude::BASE64_STANDARD, KEY).unwrap());
    let tag = hmac::sign(&key, signed.as_bytes());
    let tag = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, tag);
    server.request(
        &format!("PUT /{ACCOUNT}/{BUCKET}?restype=container"),
        &[("x-ms-date", &date), ("x-ms-version", version), ("Authorization", &format!("SharedKey {ACCOUNT}:{tag}"))],
    );
    server
}

impl Server {
    pub(crate) fn endpoint(&self) -> String {
        let account = if self.scheme == "az" { format!("/{ACCOUNT}") } else { String::new() };
        format!("http://127.0.0.1:{}{account}", self.port)
    }

    /// What opens a place of its bucket.
    pub(crate) fn settings(&self, place: &str) -> StoreSettings {
        settings(self.scheme, &self.endpoint(), place)
    }

    /// A request without a body, which has to succeed.
    fn request(&self, line: &str, headers: &[(&str, &str)]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let headers: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
        let port = self.port;
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{line}: {answer}");
    }
}

/// What opens a place of a server.
pub(crate) fn settings(scheme: &str, endpoint: &str, place: &str) -> StoreSettings {
    let settings = StoreSettings::new(format!("{scheme}://{BUCKET}/{place}").parse().unwrap())
        .with_option("endpoint", endpoint)
        .with_option("allow_http", "yes");
    match scheme {
        "az" => settings.with_option("account", ACCOUNT).with_login(login("", KEY)),
        "gs" => settings.with_option("auth", "anonymous"),
        _ => settings.with_login(login("user", "secret")),
    }
}
