//! Programs of the system: found, run, started and ended.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where Debian puts servers, beside `PATH`.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/lib/frr"];

/// The program of this name.
///
/// # Panics
/// It is not installed.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed, and this test needs it"))
}

/// Runs to the end and returns what was printed.
///
/// # Panics
/// It fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs to the end with this on standard input; tells how it went.
pub(crate) fn feed(command: &mut Command, input: &str) -> Result<(), String> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    // Whoever does not read its input is known by how it ends.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("its end");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A server, killed at the end of its test.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with both outputs in a log.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        let other = file.try_clone().expect("a second handle");
        command.stdin(Stdio::null()).stdout(file).stderr(other);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// Waits until this holds.
    ///
    /// # Panics
    /// The server ends, or it does not hold within ten seconds.
    pub(crate) fn until(self, what: &str, ready: impl Fn() -> bool) -> Self {
        self.within(Duration::from_secs(10), what, ready)
    }

    /// The same for a server that takes its time to start, on a busy machine two minutes.
    pub(crate) fn patiently(self, what: &str, ready: impl Fn() -> bool) -> Self {
        self.within(Duration::from_secs(120), what, ready)
    }

    fn within(mut self, most: Duration, what: &str, ready: impl Fn() -> bool) -> Self {
        const PAUSE: Duration = Duration::from_millis(20);
        for _ in 0..most.as_millis() / PAUSE.as_millis() {
            if let Some(status) = self.child.try_wait().expect("its state") {
                panic!("the server ended with {status} before {what}:\n{}", self.log());
            }
            if ready() {
                return self;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("no {what} within {most:?}:\n{}", self.log());
    }

    /// Ends it at once, and whatever it started for its clients.
    pub(crate) fn ends(&mut self) {
        let mut all = vec![self.child.id()];
        let mut at = 0;
        while let Some(parent) = all.get(at).copied() {
            all.extend(children(parent));
            at += 1;
        }
        // Each may have ended by itself meanwhile.
        let _ =
            Command::new(program("kill")).arg("-9").args(all.iter().map(u32::to_string)).stderr(Stdio::null()).status();
        self.child.wait().expect("its end");
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The log, once this stands in it: a server writes it behind its answers.
    pub(crate) fn log_with(&self, text: &str) -> String {
        for _ in 0..100 {
            if self.log().contains(text) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that one has started and that are there still.
fn children(parent: u32) -> Vec<u32> {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything, come the state and the parent (proc(5)).
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| of(pid) == Some(parent)).collect()
}

/// A port at which nobody listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Whether somebody listens there.
pub(crate) fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
