//! A file of 4 GiB and an empty one, from a real server into a sealed store and out of it, by a program that may use
//! 128 MiB of memory.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::devicevault::{PASSWORD, Person};
use crate::place::Place;
use crate::sshd::Sshd;
use crate::user::User;

const LENGTH: u64 = 4 << 30;
const LIMIT: u64 = 128 << 20;
/// What stands in the file, at its ends and beyond what 32 bits count; the rest are holes.
const MARKS: [u64; 4] = [0, (2 << 30) + 12_345, LENGTH - 65_600, LENGTH - 8];

/// A control group that holds a program to the limit, where the system lets us make one; gone with its test.
struct Bounded(Option<PathBuf>);

impl Bounded {
    fn new() -> Self {
        let name = format!("devicevault-test-{}", std::process::id());
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_memory = own.lines().find_map(|l| l.split_once(":memory:").map(|(_, path)| path.to_owned()));
        // The first version of control groups has a tree for memory; the second one has a tree for all.
        let first = of_memory.map(|path| Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/')));
        let second = PathBuf::from("/sys/fs/cgroup");
        let made =
            [(first, "memory.limit_in_bytes"), (Some(second), "memory.max")].into_iter().find_map(|(in_, file)| {
                let group = in_?.join(&name);
                fs::create_dir(&group).ok()?;
                let set = fs::write(group.join(file), LIMIT.to_string());
                // A group without that file is a folder of another tree.
                set.inspect_err(|_| drop(fs::remove_dir(&group))).ok().map(|()| group)
            });
        Self(made)
    }

    /// A program in it.
    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_devicevault");
        let Some(group) = &self.0 else { return Command::new(program) };
        let mut command = Command::new("sh");
        let procs = group.join("cgroup.procs").display().to_string();
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\"", &procs, program]);
        command
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            // A process may still be leaving it.
            for _ in 0..100 {
                if fs::remove_dir(group).is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Runs the program within the limit; what it printed, and the most memory of its own that it had in use, in KiB.
fn run(person: &Person, password: &str, bounded: &Bounded, args: &[&str], code: i32) -> (String, u64) {
    let mut program = bounded.program();
    program.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    program.env("HOME", person.path("")).env(PASSWORD, password);
    program.current_dir(person.path("")).args(["--home", "home"]).args(args);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program under test");
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    while child.try_wait().expect("its state").is_none() {
        // Between its end and our asking there is nothing to read.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap_or_default();
        peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut told = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
    child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
    let end = child.wait().expect("its end");
    assert_eq!(end.code(), Some(code), "{args:?} ended with {end}: {told}");
    (told, peak)
}

#[test]
#[ignore = "needs sshd and root"]
#[allow(clippy::print_stdout, reason = "a test that measures tells its figures")]
fn four_gibibytes_and_nothing_at_all_pass_through_128_mebibytes() {
    let (user, person, files) = (User::add(), Person::new(), Place::new());
    let sshd = Sshd::start("Subsystem sftp internal-sftp");
    let (huge, empty) = (files.join("huge.img"), files.join("empty.bin"));
    let file = File::create(&huge).expect("a file");
    file.set_len(LENGTH).expect("its length");
    for at in MARKS {
        file.write_all_at(b"the mark", at).expect("a mark");
    }
    fs::write(&empty, b"").expect("a file");
    for file in [&huge, &empty] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("its permissions");
    }
    let bounded = Bounded::new();
    let port = sshd.port.to_string();
    let good = |args: &[&str]| person.run(&user.password, &[&["--home", "home"], args].concat()).good();
    good(&["init", "--quiet"]);
    let options = [format!("files.image={}", huge.display()), format!("files.empty={}", empty.display())];
    let add = ["device", "add", "nas1", "--host", "127.0.0.1", "--port", &port, "--platform", "linux"];
    let login = ["--collector", "sftp", "--user", &user.name, "--password-env", PASSWORD];
    good(&[&add[..], &login, &["--option", &options[0], "--option", &options[1]]].concat());

    let run = |args: &[&str], code| run(&person, &user.password, &bounded, args, code);
    // An empty file is a file, and one to look at.
    let (told, up) = run(&["backup", "nas1"], 3);
    assert!(told.contains("it has 0 bytes") && !told.contains("failed"), "{told}");
    let (_, checked) = run(&["verify", "--quiet"], 0);
    let mut down = 0;
    for at in MARKS {
        let range = format!("{at}-{}", at + 7);
        let args = ["download", "nas1:image", "--range", &range, "--to", "part", "--force", "--quiet"];
        down = down.max(run(&args, 0).1);
        assert_eq!(fs::read(person.path("part")).expect("the part"), b"the mark", "{range}");
    }
    run(&["accept", "nas1:empty"], 0);
    run(&["restore", "nas1", "empty", "--to", "nothing", "--quiet"], 0);
    assert_eq!(fs::metadata(person.path("nothing")).expect("the file").len(), 0);
    let versions = good(&["history", "nas1", "--json"]).json();
    let sizes: Vec<_> = versions.as_array().expect("a list").iter().map(|v| v["size"].as_u64()).collect();
    assert!(sizes.contains(&Some(LENGTH)) && sizes.contains(&Some(0)), "{versions}");
    let held = if bounded.0.is_some() { "held to 128 MiB by a control group" } else { "watched alone" };
    println!("4 GiB and an empty file, {held}: {up} KiB in, {checked} KiB verified, {down} KiB for parts of it");
    assert!(up.max(checked).max(down) < LIMIT >> 10, "{up}, {checked} and {down} KiB");
}
