//! `kill -9` at any moment: the next run goes well by itself, and what was reported is there.

use std::collections::BTreeSet;
use std::process::Stdio;

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

use crate::person::{Person, files_below};
use crate::sight::devices;

/// How often the program is killed, unless `DEVICEVAULT_KILLS` says otherwise.
const KILLS: u32 = 12;

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_kill_the_next_run_goes_well() {
    let seed = number("DEVICEVAULT_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("DEVICEVAULT_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (fleet, person) = devices((0..20).map(|i| SimDevice::cisco_ios(format!("sw{i:02}")).size(8 << 10))).await;
    person.moves_in(&fleet).await;
    // How long a whole run takes, so that kills fall everywhere in it.
    let clock = devicevault_core::SystemClock;
    let begun = devicevault_core::Clock::monotonic(&clock);
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let whole = devicevault_core::Clock::monotonic(&clock) - begun;

    for kill in 0..number("DEVICEVAULT_KILLS").unwrap_or(KILLS) {
        fleet.devices().iter().for_each(Simulated::change_something);
        let mut program = person.program(&["backup", "--all", "--quiet"]);
        let mut child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let wait = whole.mul_f64(rng.f64() * 1.1);
        tokio::time::sleep(wait).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever the catalog tells of is there and whole.
        if kill % 3 == 0 {
            person.asks(&["verify", "--quiet"]).await.good();
        }
    }
    all_is_well(&fleet, &person).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_at_any_step_the_next_run_goes_well() {
    const DEVICES: usize = 20;
    // Each device's run tells of five steps at least: begun, collected, storing (per destination), stored, recorded.
    const STEPS: usize = 5 * DEVICES;
    let (fleet, person) = devices((0..DEVICES).map(|i| SimDevice::cisco_ios(format!("sw{i:02}")).size(8 << 10))).await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let every = number("DEVICEVAULT_EVERY").unwrap_or(9);
    for step in (1..=STEPS).step_by(every) {
        fleet.devices().iter().for_each(Simulated::change_something);
        let args = ["backup", "--all", "--quiet", "--log-format", "json", "--log-level", "debug"];
        let mut child = person.program(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = std::io::BufReader::new(child.stderr.take().unwrap());
        let steps = std::io::BufRead::lines(log).map_while(Result::ok).filter(|line| line.contains("\"event\":\"run_"));
        assert!(steps.take(step).count() > 0, "the program tells of no steps");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    all_is_well(&fleet, &person).await;
}

/// The next run needs no help, and all that the catalog tells of is there, whole, and nothing half beside it.
pub(crate) async fn all_is_well(fleet: &Fleet, person: &Person) {
    fleet.devices().iter().for_each(Simulated::change_something);
    person.asks(&["backup", "--all", "--quiet", "--retries", "0"]).await.good();
    person.asks(&["verify", "--quiet"]).await.good();
    let runs = person.asks(&["run", "list", "--limit", "10000", "--json"]).await.good().json();
    for run in runs.as_array().unwrap() {
        let state = run["state"].as_str().unwrap();
        assert!(!["queued", "collecting", "storing"].contains(&state), "{run}");
    }
    for device in fleet.devices() {
        let shown = person.asks(&["show", device.name(), "--view", "original"]).await.good().out;
        assert!(shown.contains(&device.answer_tail()), "{}", device.name());
    }
    // What a killed run had stored is recorded by the next one.
    let checked = person.asks(&["catalog", "check", "store", "--json"]).await.good().json();
    assert_eq!(checked[0]["strays"], serde_json::json!([]), "{checked}");
    // Nothing half is visible: no content without its manifest, no manifest without its content. What the connection
    // test of a killed run wrote has a folder of its own.
    let store = person.path("home/store");
    let files: BTreeSet<String> = files_below(&store)
        .iter()
        .map(|(f, _)| f.strip_prefix(&store).unwrap().to_string_lossy().into_owned())
        .filter(|f| !f.starts_with('.') && !f.starts_with("devicevault-check/") && !f.starts_with("keys/"))
        .collect();
    for file in &files {
        assert!(file.ends_with(".dvo") || file.ends_with(".manifest.json"), "{file}");
        if let Some(stem) = file.strip_suffix(".manifest.json") {
            assert!(files.contains(&format!("{stem}.dvo")), "{file}");
        }
    }
    let git =
        std::process::Command::new("git").arg("-C").arg(person.path("home/git")).args(["fsck", "--full"]).output();
    let git = git.unwrap();
    assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
}

/// What the end of a device's configuration is.
trait Tail {
    fn answer_tail(&self) -> String;
}

impl Tail for Simulated {
    fn answer_tail(&self) -> String {
        let config = String::from_utf8_lossy(&self.config()).into_owned();
        let start = config.char_indices().rev().nth(200).map_or(0, |(i, _)| i);
        config[start..].trim_end().to_owned()
    }
}
