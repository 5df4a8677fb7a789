//! Files of 250 MiB from a real server into a sealed store, and back.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::devicevault::{PASSWORD, Person};
use crate::place::Place;
use crate::process::{program, run};
use crate::sshd::Sshd;
use crate::user::User;

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 250 * MIB;
/// The most memory of its own that the program may have in use at any time, in kibibytes. The pages of the program's file do
/// not count here: in a build for tests they are half as many again as in one for users, of which the bench `seal` measures the
/// whole.
const BOUND: u64 = 32 << 10;

/// A server with two files, and a home that knows it as a device.
struct Setting {
    person: Person,
    user: User,
    files: Place,
    _sshd: Sshd,
}

impl Setting {
    fn new(collector: &str) -> Self {
        let (user, person, files) = (User::add(), Person::new(), Place::new());
        let sshd = Sshd::start("Subsystem sftp internal-sftp");
        compressible(&files.join("compressible.bin"));
        random(&files.join("random.img"));
        for name in ["compressible.bin", "random.img"] {
            fs::set_permissions(files.join(name), fs::Permissions::from_mode(0o644)).expect("its permissions");
        }
        let setting = Self { person, user, files, _sshd: sshd };
        let port = setting._sshd.port.to_string();
        setting.run(&["--home", "home", "init", "--quiet"]);
        let (first, second) = (setting.option("compressible"), setting.option("random"));
        let add = ["--home", "home", "device", "add", "nas1", "--host", "127.0.0.1", "--port", &port];
        let how = ["--platform", "linux", "--collector", collector, "--user", &setting.user.name];
        let files = ["--password-env", PASSWORD, "--option", &first, "--option", &second];
        setting.run(&[&add[..], &how, &files].concat());
        setting
    }

    fn option(&self, name: &str) -> String {
        let extension = if name == "random" { "img" } else { "bin" };
        format!("files.{name}={}", self.files.join(&format!("{name}.{extension}")).display())
    }

    /// A command that does all that was asked for; what it printed.
    fn run(&self, args: &[&str]) -> String {
        self.person.run(&self.user.password, args).good().out
    }

    /// The same, and the most memory of its own that it had in use, in kibibytes.
    fn measured(&self, args: &[&str]) -> u64 {
        let mut program = Command::new(env!("CARGO_BIN_EXE_devicevault"));
        program.env_clear().env("HOME", self.person.path("")).env(PASSWORD, &self.user.password);
        program.current_dir(self.person.path("")).args(args).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("the program under test");
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        while child.try_wait().expect("its state").is_none() {
            // Between its end and our asking there is nothing to read.
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap_or_default();
            peak = peak.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut told = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
        assert!(child.wait().expect("its end").success(), "{told}");
        peak
    }
}

/// Lines that repeat, as a database or a log does, no two mebibytes the same.
fn compressible(path: &Path) {
    let mut file = File::create(path).expect("a file");
    for piece in 0..LENGTH / MIB {
        let mut block = Vec::with_capacity(MIB as usize + 80);
        for line in 0.. {
            if block.len() as u64 >= MIB {
                break;
            }
            let _ = writeln!(block, "{piece:06} {line:08} interface GigabitEthernet1/0/{} up up 1500", line % 48);
        }
        block.truncate(MIB as usize);
        file.write_all(&block).expect("its content");
    }
}

fn random(path: &Path) {
    let mut from = File::open("/dev/urandom").expect("random bytes").take(LENGTH);
    std::io::copy(&mut from, &mut File::create(path).expect("a file")).expect("its content");
}

fn sha256(path: &Path) -> String {
    let told = run(Command::new(program("sha256sum")).arg(path));
    told.split_whitespace().next().expect("a hash and a name").to_owned()
}

fn part(path: &Path, from: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(path).expect("the file").read_exact_at(&mut bytes, from).expect("its bytes");
    bytes
}

#[allow(clippy::print_stdout, reason = "a test that measures tells its figures")]
fn there_and_back(collector: &str) {
    let setting = Setting::new(collector);
    let person = &setting.person;
    let up = setting.measured(&["--home", "home", "backup", "nas1", "--quiet"]);
    for (name, extension) in [("compressible", "bin"), ("random", "img")] {
        let what = format!("nas1:{name}");
        let down = setting.measured(&["--home", "home", "download", &what, "--to", "back/", "--quiet"]);
        let (there, back) = (setting.files.join(&format!("{name}.{extension}")), person.path("back"));
        let back = back.join(format!("nas1-{name}.{extension}"));
        assert_eq!(sha256(&back), sha256(&there), "{name}");
        println!("{collector} {name}: {up} KiB for both on the way in, {down} KiB on the way out");
        assert!(up < BOUND && down < BOUND, "{up} and {down} KiB");
        let mode = fs::metadata(&back).expect("the file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
    assert!(person.path("home/store").exists());
    let random = setting.files.join("random.img");

    // A part of it, across the ends of segments and frames, and its end.
    for (range, from, length) in [("65530-1048599", 65530, 983_070), ("-100", LENGTH - 100, 100)] {
        let args = ["--home", "home", "download", "nas1:random", "--range", range, "--to", "part", "--force", "--json"];
        let told: serde_json::Value = serde_json::from_str(&setting.run(&args)).expect("JSON");
        assert_eq!(told[0]["range"]["start"], from, "{told}");
        assert_eq!(told[0]["kind"], "binary", "{told}");
        assert_eq!(fs::read(person.path("part")).expect("the part"), part(&random, from, length), "{range}");
    }
    let refused = person.run("", &["--home", "home", "download", "nas1:random", "--range", "262144000-", "--to", "x"]);
    assert!(refused.code == 2 && refused.err.contains("behind the end"), "{refused:?}");
    assert!(!person.path("x").exists());

    // Something is put in at the beginning, and something in the middle becomes another.
    let mut changed = part(&random, 0, LENGTH as usize);
    changed.splice(0..0, b"a new header".iter().copied());
    fs::write(&random, &changed).expect("the file");
    let mut file = File::options().write(true).open(&random).expect("the file");
    file.seek(SeekFrom::Start(LENGTH / 2)).expect("its middle");
    file.write_all(&[0; 4096]).expect("other bytes");
    drop((changed, file));
    setting.measured(&["--home", "home", "backup", "nas1", "--quiet"]);
    let told: serde_json::Value =
        serde_json::from_str(&setting.run(&["--home", "home", "diff", "nas1:random", "--json"])).expect("JSON");
    let share = told["share_in_common"].as_f64().expect("a share");
    assert!(share > 0.99 && share < 1.0 && told["equal"] == false, "{told}");
    let peak = setting.measured(&["--home", "home", "diff", "nas1:random"]);
    println!("{collector}: {share} in common, found with {peak} KiB");
    assert!(peak < BOUND, "{peak} KiB");
    let people = setting.run(&["--home", "home", "diff", "nas1:random"]);
    assert!(people.contains("sha256:") && people.contains("in common: 99."), "{people}");
    setting.run(&["--home", "home", "verify", "--quiet"]);
}

#[test]
#[ignore = "needs sshd and root"]
fn large_files_go_over_sftp_into_a_sealed_store_and_back() {
    there_and_back("sftp");
}

#[test]
#[ignore = "needs sshd and root"]
fn large_files_go_over_scp_into_a_sealed_store_and_back() {
    there_and_back("scp");
}
