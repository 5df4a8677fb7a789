//! Servers of others that keep what destinations by URL store.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use devicevault_core::{Clock as _, SystemClock};
use devicevault_testkit::cloud::Double;

use crate::place::Place;
use crate::process::{Server, free_port, listens, program, run};
use crate::sshd::Sshd;
use crate::user::User;

/// The bucket or container of all tests.
const BUCKET: &str = "backups";
/// Azurite's account and key, which its documentation tells to everybody.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that runs, and how a destination on it is named. It ends with this value.
pub(crate) struct Stores {
    /// What a place's name is put behind.
    url: String,
    /// How it is reached, each as `NAME=VALUE`.
    options: Vec<String>,
    /// What somebody without a home gives besides.
    stranger: Vec<String>,
    /// What logs in, handed over in the environment.
    pub(crate) secret: String,
    /// Removes an object behind the program's back.
    remover: Remover,
    server: Box<dyn Running>,
}

/// A server, which ends with its value.
trait Running {
    /// Ends it in the middle of whatever it does.
    fn stops(&mut self) {
        panic!("this server is not stopped");
    }

    /// Starts it again, at its port with what it holds.
    fn starts_again(&mut self) {
        panic!("this server is not started again");
    }
}

/// One that is there from the beginning of its test to the end.
struct Always<T>(#[allow(dead_code, reason = "it is held")] T);

impl<T> Running for Always<T> {}

/// A program that keeps what it holds on disk.
struct OnDisk {
    server: Server,
    start: Box<dyn Fn() -> Server>,
    _place: Place,
}

impl Running for OnDisk {
    fn stops(&mut self) {
        self.server.ends();
    }

    fn starts_again(&mut self) {
        self.server = (self.start)();
    }
}

struct OfUser {
    sshd: Sshd,
    _user: User,
    _place: Place,
}

impl Running for OfUser {
    fn stops(&mut self) {
        self.sshd.stops();
    }

    fn starts_again(&mut self) {
        self.sshd.starts_again();
    }
}

enum Remover {
    /// Objects are files below this folder.
    Folder(PathBuf),
    /// A server at this port that asks nobody who they are.
    Request(u16),
    /// The test cannot.
    None,
}

impl Stores {
    /// The URL of a place.
    pub(crate) fn url(&self, place: &str) -> String {
        format!("{}/{place}", self.url)
    }

    /// Options of a destination, each behind this option of the program.
    pub(crate) fn options(&self, option: &str) -> Vec<String> {
        self.options.iter().flat_map(|o| [option.to_owned(), o.clone()]).collect()
    }

    /// What somebody gives who has no home.
    pub(crate) fn of_stranger(&self) -> Vec<String> {
        let all = self.options.iter().chain(&self.stranger);
        all.flat_map(|o| ["--from-option".to_owned(), o.clone()]).collect()
    }

    /// Ends the server in the middle of whatever it does.
    pub(crate) fn stops(&mut self) {
        self.server.stops();
    }

    /// Starts it again, at its port with what it holds.
    pub(crate) fn starts_again(&mut self) {
        self.server.starts_again();
    }

    /// Removes an object; tells whether the test can.
    pub(crate) fn remove(&self, place: &str, object: &str) -> bool {
        match &self.remover {
            Remover::Folder(folder) => std::fs::remove_file(folder.join(place).join(object)).expect("an object's file"),
            Remover::Request(port) => request(*port, &format!("DELETE /{BUCKET}/{place}/{object}"), &[]),
            Remover::None => return false,
        }
        true
    }
}

fn clouds(scheme: &str, port: u16, secret: &str, server: Box<dyn Running>, remover: Remover) -> Stores {
    let account = if scheme == "az" { format!("/{ACCOUNT}") } else { String::new() };
    let who = if scheme == "az" { format!("account={ACCOUNT}") } else { "user=user".to_owned() };
    let endpoint = format!("endpoint=http://127.0.0.1:{port}{account}");
    Stores {
        url: format!("{scheme}://{BUCKET}"),
        options: vec![endpoint, "allow_http=yes".to_owned(), who, password()],
        stranger: Vec::new(),
        secret: secret.to_owned(),
        remover,
        server,
    }
}

fn password() -> String {
    format!("password_env={}", crate::devicevault::PASSPHRASE)
}

/// Starts it at a free port; another program may take that before it does.
fn start(name: &str, place: &Place, args: impl Fn(u16) -> Vec<String>) -> (Server, u16) {
    let port = free_port();
    let mut command = Command::new(program(name));
    command.args(args(port)).current_dir(place.path());
    let log = place.join("log");
    (Server::start(&mut command, &log).patiently("an open port", || listens(port)), port)
}

/// PyPI's `moto[server,s3]`.
pub(crate) fn moto() -> Stores {
    let place = Place::new();
    let words = |port: u16| ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned).to_vec();
    let (server, port) = start("moto_server", &place, words);
    request(port, &format!("PUT /{BUCKET}"), &[]);
    clouds("s3", port, "s3cret-of-moto", Box::new(Always((server, place))), Remover::Request(port))
}

/// crates.io's `s3s-fs`.
pub(crate) fn s3s() -> Stores {
    let place = Place::new();
    let (folder, secret, port) = (place.join("objects"), "s3cret-of-s3s", free_port());
    std::fs::create_dir_all(folder.join(BUCKET)).expect("a bucket");
    let (log, objects) = (place.join("log"), folder.clone());
    let start = move || {
        let mut command = Command::new(program("s3s-fs"));
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--access-key",
            "user",
            "--secret-key",
            secret,
        ]);
        Server::start(command.arg(&objects), &log).patiently("an open port", || listens(port))
    };
    let server = OnDisk { server: start(), start: Box::new(start), _place: place };
    clouds("s3", port, secret, Box::new(server), Remover::Folder(folder.join(BUCKET)))
}

/// npm's `azurite`.
pub(crate) fn azurite() -> Stores {
    let place = Place::new();
    let (server, port) = start("azurite-blob", &place, |port| {
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
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(KEY).expect("base64"));
    let tag = BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let who = format!("SharedKey {ACCOUNT}:{tag}");
    let line = format!("PUT /{ACCOUNT}/{BUCKET}?restype=container");
    request(port, &line, &[("x-ms-date", &date), ("x-ms-version", version), ("Authorization", &who)]);
    clouds("az", port, KEY, Box::new(Always((server, place))), Remover::None)
}

/// OpenSSH's SFTP, by password.
pub(crate) fn sftp() -> Stores {
    let (user, place) = (User::add(), Place::new());
    let sshd = Sshd::start("Subsystem sftp internal-sftp");
    let folder = of_user(&place, &user);
    Stores {
        url: format!("sftp://{}@127.0.0.1:{}{}", user.name, sshd.port, folder.display()),
        options: vec![password()],
        stranger: vec![format!("host_key={}", sshd.fingerprint())],
        secret: user.password.clone(),
        remover: Remover::Folder(folder),
        server: Box::new(OfUser { sshd, _user: user, _place: place }),
    }
}

/// A double of ours that speaks as Google Cloud Storage does: none of others does so with conditions and uploads in parts.
pub(crate) fn google() -> Stores {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let double = runtime.block_on(Double::start());
    Stores {
        url: format!("gs://{BUCKET}"),
        options: vec![
            format!("endpoint={}", double.endpoint()),
            "allow_http=yes".to_owned(),
            "auth=anonymous".to_owned(),
        ],
        stranger: Vec::new(),
        secret: String::new(),
        remover: Remover::Request(double.addr().port()),
        server: Box::new(Always((double, runtime))),
    }
}

/// How an FTP server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ftp {
    ClearText,
    /// TLS is asked for on the usual port.
    Explicit,
    /// TLS from the first byte on.
    Implicit,
}

/// vsftpd.
pub(crate) fn ftp(how: Ftp) -> Stores {
    let (user, place) = (User::add(), Place::new());
    let folder = of_user(&place, &user);
    certificates(place.path());
    let at = place.path().display().to_string();
    let port = free_port();
    let tls = match how {
        Ftp::ClearText => String::new(),
        _ => format!(
            "ssl_enable=YES\nrsa_cert_file={at}/cert.pem\nrsa_private_key_file={at}/key.pem\nssl_ciphers=HIGH\n\
             force_local_data_ssl=YES\nforce_local_logins_ssl=YES\nimplicit_ssl={}\n",
            if how == Ftp::Implicit { "YES" } else { "NO" }
        ),
    };
    let config = format!(
        "listen=YES\nbackground=NO\nlisten_address=127.0.0.1\nlisten_port={port}\nlocal_enable=YES\nwrite_enable=YES\n\
         anonymous_enable=NO\nxferlog_enable=NO\nsyslog_enable=NO\nvsftpd_log_file={at}/vsftpd.log\nseccomp_sandbox=NO\n\
         isolate=NO\nisolate_network=NO\npam_service_name=vsftpd\nsecure_chroot_dir={at}\n{tls}"
    );
    let config = place.write("vsftpd.conf", &config);
    let mut command = Command::new(program("vsftpd"));
    let server = Server::start(command.arg(config), &place.join("log")).until("an open port", || listens(port));
    let mut options = vec![password()];
    if how != Ftp::ClearText {
        options.push(format!("ca_file={at}/ca.pem"));
    }
    if how == Ftp::Implicit {
        options.push("tls=implicit".to_owned());
    }
    let scheme = if how == Ftp::ClearText { "ftp" } else { "ftps" };
    Stores {
        url: format!("{scheme}://{}@127.0.0.1:{port}{}", user.name, folder.display()),
        options,
        stranger: Vec::new(),
        secret: user.password.clone(),
        remover: Remover::Folder(folder),
        server: Box::new(Always((server, user, place))),
    }
}

/// A folder that the user may write in.
fn of_user(place: &Place, user: &User) -> PathBuf {
    let folder = place.join("srv");
    std::fs::create_dir(&folder).expect("a folder");
    run(Command::new(program("chown")).arg(&user.name).arg(&folder));
    folder
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) {
    let openssl = |args: &str| run(Command::new(program("openssl")).args(args.split(' ')).current_dir(folder));
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("a file");
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=authority -days 30"));
    openssl(&format!("req {new} -keyout key.pem -out csr.pem -subj /CN=server"));
    openssl("x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 30 -extfile ext");
}

/// A request without a body, which has to succeed.
fn request(port: u16, line: &str, headers: &[(&str, &str)]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server");
    let headers: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
    let text =
        format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 20"), "{line}: {answer}");
}
