//! Destinations by URL over their whole life, as a person has them: the program against servers of others.

mod outages;
mod servers;

use std::collections::BTreeMap;

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};
use serde_json::Value;

use self::servers::{Ftp, Stores};
use crate::devicevault::{Answer, PASSWORD, Person};

/// A home with simulated devices.
pub(crate) struct Home {
    pub(crate) person: Person,
    pub(crate) fleet: Fleet,
    /// What the devices run on.
    _runtime: tokio::runtime::Runtime,
    commands: std::cell::Cell<usize>,
}

impl Home {
    /// With two switches, of which the second has so much to say that it goes to a store in parts.
    fn new(secret: &str) -> Self {
        let home = Self::with(secret, ["core-sw1", "big-sw2"].map(|name| SimDevice::cisco_ios(name).size(8 << 10)));
        let noise: Vec<u8> = (0..120_000_u64).flat_map(|i| format!(" remark {}\n", noise(i)).into_bytes()).collect();
        home.fleet.devices()[1].change(|config| {
            let end = config.windows(5).rposition(|w| w == b"\nend\n").expect("the last line") + 1;
            config.splice(end..end, noise);
        });
        // What Git does with texts is told elsewhere.
        home.good(&["destination", "disable", "git"]);
        home
    }

    /// With these devices, a sealed store and a Git repository.
    pub(crate) fn with(secret: &str, devices: impl IntoIterator<Item = SimDevice>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let fleet = runtime.block_on(Fleet::builder().devices(devices).start()).expect("devices");
        let person = Person::new().with_passphrase(secret);
        let home = Self { person, fleet, _runtime: runtime, commands: std::cell::Cell::default() };
        home.good(&["init", "--quiet"]);
        let mut csv = String::from("name,host,port,platform,user,password_env\n");
        for d in home.fleet.devices() {
            let (ip, port) = (d.addr().ip(), d.addr().port());
            csv.push_str(&format!("{},{ip},{port},{},{},{PASSWORD}\n", d.name(), d.platform(), d.username()));
        }
        std::fs::write(home.person.path("devices.csv"), csv).expect("a file");
        home.good(&["device", "import", "devices.csv"]);
        home
    }

    /// The password of the devices, for a program that is started.
    pub(crate) fn password(&self) -> String {
        self.fleet.devices().first().map(Simulated::password).unwrap_or_default()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.commands.set(self.commands.get() + 1);
        self.person.run(&self.password(), &[&["--home", "home"], args].concat())
    }

    /// Of a command that does all that was asked for.
    #[track_caller]
    pub(crate) fn good(&self, args: &[&str]) -> Answer {
        self.run(args).good()
    }

    /// Adds a destination at a place of a server.
    fn adds(&self, name: &str, stores: &Stores) {
        let (url, options) = (stores.url(name), stores.options("--option"));
        let add = ["destination", "add", name, "--kind", "plain", "--url", &url];
        self.good(&[&add[..], &words(&options)].concat());
        let tested = self.good(&["destination", "test", name, "--json"]).json();
        assert_eq!(tested[0]["usable"], true, "{tested}");
    }

    fn history(&self) -> Value {
        self.good(&["history", "--limit", "1000", "--json"]).json()
    }

    /// Versions with a good copy at a destination, by their device, artefact and hash.
    fn versions_at(&self, destination: &str) -> BTreeMap<String, String> {
        let all = self.history();
        let mut found = BTreeMap::new();
        for version in all.as_array().expect("a list") {
            let copies = version["copies"].as_array().expect("copies");
            let good =
                |c: &&Value| c["destination"] == destination && (c["status"] == "stored" || c["status"] == "extended");
            if let Some(copy) = copies.iter().find(good) {
                let text = |name: &str| version[name].as_str().unwrap_or_default().to_owned();
                let key = format!("{} {} {}", text("device_name"), text("artefact"), text("first_seen"));
                found.insert(key, copy["storage_ref"].as_str().unwrap_or_default().to_owned());
            }
        }
        assert!(!found.is_empty(), "{all}");
        found
    }

    /// The original of the switch's configuration as it stands in a file that a command wrote.
    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.person.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn changes(&self) {
        self.fleet.devices()[0].change_something();
        self.good(&["backup", "core-sw1", "--quiet"]);
    }
}

/// Characters that no compression makes much smaller.
fn noise(seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 40) as usize % LETTERS.len()])
    };
    std::iter::repeat_with(next).take(64).collect()
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// All that a destination by URL is for.
#[allow(clippy::print_stdout, reason = "a test tells how much it did")]
fn lives(stores: &Stores) {
    let home = Home::new(&stores.secret);
    home.adds("off", stores);
    stored_and_read(&home);
    turned_keys(&home);
    copied_and_mended(&home, stores);
    let strangers = read_from_elsewhere(&home, stores);
    rebuilt(&home, stores);
    println!("{}: {} commands at home, {strangers} elsewhere", stores.url(""), home.commands.get());
}

fn stored_and_read(home: &Home) {
    let rows = home.good(&["backup", "--all", "--json"]).json();
    let at = |row: &Value| row["copies"].as_array().expect("copies").iter().filter(|c| c["status"] == "stored").count();
    assert!(rows.as_array().expect("rows").iter().all(|row| at(row) == 2), "{rows}");
    let rows = home.good(&["backup", "core-sw1", "--json"]).json();
    assert!(rows.as_array().expect("rows").iter().all(|row| row["status"] == "unchanged"), "{rows}");
    home.changes();
    let versions = home.versions_at("off");
    assert_eq!(versions.keys().collect::<Vec<_>>(), home.versions_at("store").keys().collect::<Vec<_>>());
    let found = home.good(&["verify", "--destination", "off", "--json"]).json();
    assert_eq!((&found["checked"], &found["good"]), (&versions.len().into(), &versions.len().into()), "{found}");

    // What the folder holds, and then with the folder gone.
    for (what, file) in [("core-sw1", "small"), ("big-sw2", "big")] {
        home.good(&["download", what, "--to", file]);
    }
    let big = home.file("big");
    assert!(big.len() > 8_000_000, "{} bytes", big.len());
    std::fs::rename(home.person.path("home/store"), home.person.path("away")).expect("the folder");
    for (what, file) in [("core-sw1", "small"), ("big-sw2", "big")] {
        let again = format!("{file}-again");
        home.good(&["download", what, "--to", &again]);
        assert!(home.file(&again) == home.file(file), "{what}");
        let shown = home.good(&["show", what, "--view", "original"]).out;
        assert!(shown.into_bytes() == home.file(file), "{what}");
    }
    // Beyond the first part, across ends of segments and frames, and the end.
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("65530-1048599", 65_530, 1_048_600),
        ("5242000-6000000", 5_242_000, 6_000_001),
        ("-100", big.len() - 100, big.len()),
    ] {
        home.good(&["download", "big-sw2", "--range", range, "--to", "part", "--force"]);
        assert!(home.file("part") == big[from..to], "{range}");
    }
    home.good(&["restore", "core-sw1", "running-config", "--to", "restored"]);
    assert_eq!(home.file("restored"), home.file("small"));
    home.good(&["restore", "core-sw1", "--from", "off", "--to", "all/"]);
    let diff = home.good(&["diff", "core-sw1", "--json"]).json();
    assert_eq!(diff["equal"], false, "{diff}");
    std::fs::rename(home.person.path("away"), home.person.path("home/store")).expect("the folder");
}

fn turned_keys(home: &Home) {
    home.good(&["key", "rotate", "--scope", "epoch"]);
    home.changes();
    home.good(&["verify", "--quiet"]);
    home.good(&["key", "rotate", "--scope", "data"]);
    let found = home.good(&["verify", "--json"]).json();
    assert_eq!(found["checked"], found["good"], "{found}");
    // The oldest version of all, under the newest key.
    home.good(&["restore", "core-sw1", "running-config", "latest~2", "--from", "off", "--to", "oldest"]);
    home.good(&["restore", "core-sw1", "running-config", "latest~2", "--from", "store", "--to", "oldest-too"]);
    assert_eq!(home.file("oldest"), home.file("oldest-too"));
    let told = home.good(&["destination", "maintain", "off", "--json"]);
    home.good(&["verify", "--quiet"]);
    assert!(!told.out.is_empty());
}

fn copied_and_mended(home: &Home, stores: &Stores) {
    home.adds("second", stores);
    let all = home.versions_at("off");
    let done = home.good(&["destination", "copy", "off", "second", "--json"]).json();
    assert_eq!((&done["copied"], &done["there"]), (&all.len().into(), &0.into()), "{done}");
    let done = home.good(&["destination", "copy", "off", "second", "--json"]).json();
    assert_eq!((&done["copied"], &done["there"]), (&0.into(), &all.len().into()), "{done}");
    assert_eq!(home.versions_at("second").keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());

    // An object that somebody deleted is told, and stored anew out of another destination.
    let (_, gone) = all.iter().find(|(name, _)| name.contains("running-config")).expect("a configuration");
    if stores.remove("off", &actual(home, stores, gone)) {
        let found = home.run(&["verify", "--destination", "off", "--json"]);
        assert_eq!(found.code, 3, "{found:?}");
        assert_eq!(found.json()["bad"][0]["verdict"], "missing", "{found:?}");
        let found = home.good(&["verify", "--destination", "off", "--repair", "--json"]).json();
        assert_eq!(found["bad"][0]["repair"]["status"], "repaired", "{found}");
    }
    let found = home.good(&["verify", "--json"]).json();
    assert_eq!((&found["checked"], &found["good"]), (&(3 * all.len()).into(), &(3 * all.len()).into()), "{found}");

    // Retention takes the older ones there, and nothing else.
    home.good(&["destination", "edit", "second", "--option", "retention.last=1", "--option", "retention.days=0"]);
    let applied = home.run(&["retention", "apply", "--destination", "second", "--json"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    home.good(&["verify", "--quiet"]);
    home.good(&["catalog", "check", "--quiet"]);
    home.good(&["destination", "maintain", "second"]);
}

/// Where the content of a reference is: one that was sealed anew has another name.
fn actual(home: &Home, stores: &Stores, at: &str) -> String {
    let (url, options) = (stores.url("off"), stores.of_stranger());
    let listed = home.good(&[&["history", "--from", &url, "--limit", "1000", "--json"], &words(&options)[..]].concat());
    let listed = listed.json();
    let refs = listed.as_array().expect("a list").iter().filter_map(|v| v["copies"][0]["storage_ref"].as_str());
    let stem = |name: &str| name.split('.').next().map(str::to_owned);
    let found = refs.into_iter().find(|r| stem(r) == stem(at)).map(str::to_owned);
    found.unwrap_or_else(|| panic!("no {at} in {listed}"))
}

/// Somebody with an empty home, the recovery kit and the URL.
fn read_from_elsewhere(home: &Home, stores: &Stores) -> usize {
    let stranger = Person::new().with_passphrase(&stores.secret);
    let (url, options) = (stores.url("off"), stores.of_stranger());
    let kit = std::fs::read_dir(home.person.path("home")).expect("the home").flatten();
    let kit = kit.map(|e| e.path()).find(|p| p.display().to_string().contains("recovery-kit-")).expect("the kit");
    std::fs::copy(kit, stranger.path("kit.txt")).expect("the kit");
    let asks =
        |args: &[&str], key: &[&str]| stranger.run("", &[args, &["--from", &url], &words(&options)[..], key].concat());
    let key = ["--kek-file", "kit.txt"];
    let versions = home.versions_at("off").len();
    // Without a key: what can be said of it.
    let partly = asks(&["verify", "--json"], &[]);
    assert_eq!((partly.code, &partly.json()["good"]), (3, &versions.into()), "{partly:?}");
    asks(&["verify", "--depth", "stored"], &[]).good();
    let found = asks(&["verify", "--json"], &key).good().json();
    assert_eq!((&found["checked"], &found["good"]), (&versions.into(), &versions.into()), "{found}");
    let listed = asks(&["history", "--limit", "1000", "--json"], &key).good().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(versions));
    let read = |name: &str| std::fs::read(stranger.path(name)).expect("a file");
    asks(&["download", "big-sw2", "--to", "big"], &key).good();
    assert!(read("big") == home.file("big"));
    asks(&["download", "big-sw2", "--range", "5242000-6000000", "--to", "part"], &key).good();
    assert!(read("part") == home.file("big")[5_242_000..6_000_001]);
    asks(&["restore", "core-sw1", "running-config", "latest~2", "--to", "oldest"], &key).good();
    assert_eq!(read("oldest"), home.file("oldest"));
    asks(&["diff", "core-sw1"], &key).good();
    let shown = asks(&["show", "core-sw1", "--view", "original"], &key).good();
    assert!(shown.out.contains("hostname"), "{shown:?}");

    // And a home of their own out of it.
    let args = ["--home", "new", "catalog", "rebuild", "--json"];
    let told = asks(&args, &key).good().json();
    assert_eq!((&told["backups"], &told["devices"]), (&versions.into(), &2.into()), "{told}");
    let at_home = |args: &[&str]| stranger.run("", &[&["--home", "new"], args, &key].concat());
    let found = at_home(&["verify", "--json"]).good().json();
    assert_eq!((&found["checked"], &found["good"]), (&versions.into(), &versions.into()), "{found}");
    12
}

/// The catalog is lost, and comes back out of the store.
fn rebuilt(home: &Home, stores: &Stores) {
    let before = home.versions_at("off");
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        // A log may have been merged.
        let _ = std::fs::remove_file(home.person.path("home").join(file));
    }
    std::fs::remove_dir_all(home.person.path("home/catalog.db.d")).expect("the folder of the catalog");
    let from = |place: &str, more: &[&str]| {
        let (url, options) = (stores.url(place), stores.options("--from-option"));
        home.good(&[&["catalog", "rebuild", "--json", "--from", &url], &words(&options)[..], more].concat()).json()
    };
    let told = from("off", &[]);
    assert!(told["refused"].as_array().is_some_and(Vec::is_empty), "{told}");
    assert_eq!(told["backups"], before.len(), "{told}");
    assert_eq!(home.versions_at("off").keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let told = from("second", &["--into"]);
    assert_eq!(told["from"], serde_json::json!(["second"]), "{told}");
    home.good(&["verify", "--quiet"]);
    home.good(&["catalog", "check", "--quiet"]);
    // It is gone on with, once devices have their logins again.
    let device = &home.fleet.devices()[0];
    let port = device.addr().port().to_string();
    let login = ["--user", device.username(), "--password-env", PASSWORD, "--port", &port];
    home.good(&[&["device", "edit", "core-sw1"], &login[..]].concat());
    let versions = home.versions_at("off").len();
    home.changes();
    assert!(home.versions_at("off").len() > versions);
    home.good(&["verify", "--quiet"]);
}

#[test]
#[ignore = "needs moto"]
fn a_bucket_of_moto_lives() {
    lives(&servers::moto());
}

#[test]
#[ignore = "needs s3s-fs"]
fn a_bucket_of_s3s_lives() {
    lives(&servers::s3s());
}

#[test]
#[ignore = "needs azurite"]
fn a_container_of_azurite_lives() {
    lives(&servers::azurite());
}

#[test]
#[ignore = "needs sshd and root"]
fn a_folder_of_openssh_lives() {
    lives(&servers::sftp());
}

#[test]
#[ignore = "needs vsftpd, openssl and root"]
fn a_folder_of_vsftpd_lives() {
    lives(&servers::ftp(Ftp::Explicit));
}

#[test]
#[ignore = "needs vsftpd, openssl and root"]
fn a_folder_of_vsftpd_with_tls_from_the_first_byte_lives() {
    lives(&servers::ftp(Ftp::Implicit));
}

#[test]
#[ignore = "needs vsftpd, openssl and root"]
fn a_folder_of_vsftpd_in_clear_text_lives() {
    lives(&servers::ftp(Ftp::ClearText));
}

/// No server of others speaks as Google's does: against a double of ours.
#[test]
fn a_bucket_of_googles_double_lives() {
    lives(&servers::google());
}
