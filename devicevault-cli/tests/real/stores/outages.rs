//! A server that is killed in the middle of a round and comes back.

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::Duration;

use devicevault_testkit::sim::{Quirk, SimDevice, Simulated};

use super::Home;
use super::servers::{self, Stores};

/// Devices that answer at once, and those that are still talked to when the server goes.
const QUICK: usize = 4;
const SLOW: usize = 8;

/// Copies at a destination, by their status, over all versions.
fn copies(home: &Home, destination: &str, status: &str) -> usize {
    let all = home.history();
    let copies = all.as_array().expect("a list").iter().flat_map(|v| v["copies"].as_array().expect("copies"));
    copies.filter(|c| c["destination"] == destination && c["status"] == status).count()
}

fn logins(home: &Home) -> u64 {
    home.fleet.stats().logins
}

/// Runs a round in which the server goes, and with it perhaps the program.
fn goes_in_the_middle(home: &Home, stores: &mut Stores, kills: bool) {
    let args = ["--home", "home", "backup", "--all", "--quiet", "--log-format", "json", "--log-level", "info"];
    let mut program = home.person.program(&home.password(), &args);
    let mut child = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program");
    let log = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut lines = log.lines().map_while(Result::ok);
    assert_eq!(lines.by_ref().filter(|l| l.contains("run_finished")).take(QUICK).count(), QUICK);
    stores.stops();
    if kills {
        assert!(lines.by_ref().any(|l| l.contains("store_parked")), "nothing was parked");
        child.kill().expect("to kill it");
        child.wait().expect("its end");
        return;
    }
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("its end").code(), Some(3), "{rest:#?}");
    assert_eq!(rest.iter().filter(|l| l.contains("store_parked")).count(), SLOW, "{rest:#?}");
}

#[allow(clippy::print_stdout, reason = "a test tells how much it did")]
fn goes_and_comes_back(mut stores: Stores) {
    let quick = (0..QUICK).map(|i| SimDevice::cisco_ios(format!("quick{i}")));
    let slow =
        (0..SLOW).map(|i| SimDevice::cisco_ios(format!("slow{i}")).quirk(Quirk::ThinkTime(Duration::from_millis(700))));
    let home = Home::with(&stores.secret, quick.chain(slow));
    home.adds("off", &stores);
    home.good(&["backup", "--all", "--quiet"]);
    let mut waited = Vec::new();
    for kills in [false, true] {
        home.fleet.devices().iter().for_each(Simulated::change_something);
        goes_in_the_middle(&home, &mut stores, kills);
        if !kills {
            // The other destinations have all of it.
            for other in ["store", "git"] {
                assert_eq!(copies(&home, other, "pending") + copies(&home, other, "failed"), 0, "{other}");
            }
            assert_eq!(copies(&home, "off", "pending"), SLOW);
        }
        // And away for the next round, too.
        home.fleet.devices().iter().for_each(Simulated::change_something);
        let told = home.run(&["backup", "--all", "--json"]);
        assert_eq!(told.code, 3, "{told:?}");
        for row in told.json().as_array().expect("rows").iter().filter(|r| r["artefact"] == "running-config") {
            assert_eq!(row["run_state"], "partial", "{row}");
            for copy in row["copies"].as_array().expect("copies") {
                let waits = copy["destination"] == "off";
                assert_eq!((&copy["status"] == "pending", &copy["waiting"] == true), (waits, waits), "{row}");
            }
        }
        let before = (logins(&home), copies(&home, "off", "pending"));
        assert!(before.1 >= QUICK + SLOW, "{before:?}");
        waited.push(before.1);
        assert_eq!(home.run(&["run", "deliver", "--quiet"]).code, 1);
        stores.starts_again();
        home.good(&["run", "deliver", "--quiet"]);
        assert_eq!((logins(&home), copies(&home, "off", "pending")), (before.0, 0), "a device was asked");
    }
    // Nothing is left to be done, and everything is everywhere.
    let rows = home.good(&["backup", "--all", "--json"]).json();
    assert!(rows.as_array().expect("rows").iter().all(|r| r["status"] == "unchanged"), "{rows}");
    let found = home.good(&["verify", "--json"]).json();
    assert_eq!(found["checked"], found["good"], "{found}");
    // What a killed program had parked is a version, once it is delivered. What it had stored and not recorded is one too,
    // where it was: the server was away then.
    let (off, store) = (home.versions_at("off"), home.versions_at("store"));
    let lacking: Vec<_> = store.keys().filter(|version| !off.contains_key(*version)).collect();
    assert!(lacking.len() <= SLOW && lacking.iter().all(|version| version.starts_with("slow")), "{lacking:?}");
    for device in home.fleet.devices() {
        home.good(&["restore", device.name(), "running-config", "--from", "off", "--to", "restored", "--force"]);
        let config = String::from_utf8_lossy(&device.config()).into_owned();
        let line = config.lines().find(|l| l.contains("description ")).expect("a description").to_owned();
        assert!(String::from_utf8_lossy(&home.file("restored")).contains(&line), "{}", device.name());
    }
    println!("{}: 2 outages, {waited:?} copies waited and arrived, {} commands", stores.url(""), home.commands.get());
}

#[test]
#[ignore = "needs s3s-fs"]
fn a_bucket_goes_in_the_middle_of_a_round_and_comes_back() {
    goes_and_comes_back(servers::s3s());
}

#[test]
#[ignore = "needs sshd and root"]
fn a_folder_of_openssh_goes_in_the_middle_of_a_round_and_comes_back() {
    goes_and_comes_back(servers::sftp());
}
