//! Eight programs over one home at once, that back up, verify, retain and restore: nothing is lost, nothing is half.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

use crate::kills::all_is_well;
use crate::person::Person;
use crate::sight::devices;

const PROGRAMS: usize = 8;
/// How often each of them does everything.
const ROUNDS: usize = 4;
const DEVICES: usize = 4;

/// What devices ever said, and what programs were told to be stored.
#[derive(Default)]
struct Known {
    configs: Mutex<BTreeMap<String, Vec<String>>>,
    stored: Mutex<BTreeSet<String>>,
    done: Mutex<BTreeMap<&'static str, usize>>,
}

impl Known {
    /// Another line in a device's configuration, and a note of what it is then, in one step.
    fn change(&self, device: &Simulated, number: usize) {
        device.change(|config| {
            let text = String::from_utf8(std::mem::take(config)).unwrap();
            let start = text.find("description ").unwrap();
            let end = start + text[start..].find('\n').unwrap();
            let text = format!("{}description change {number}{}", &text[..start], &text[end..]);
            *config = text.clone().into_bytes();
            self.configs.lock().unwrap().entry(device.name().to_owned()).or_default().push(text);
        });
    }

    /// What was read is what the device once said, whole.
    fn is_whole(&self, device: &str, text: &str) {
        let configs = self.configs.lock().unwrap();
        assert!(configs[device].iter().any(|c| text.contains(c.trim())), "{device}: {text}");
    }

    fn did(&self, what: &'static str) {
        *self.done.lock().unwrap().entry(what).or_default() += 1;
    }
}

/// What one of the programs' users does.
async fn works(number: usize, fleet: &Fleet, person: &Person, known: &Known) {
    for round in 0..ROUNDS {
        let device = &fleet.devices()[(number + round) % DEVICES];
        known.change(device, number * 1000 + round);
        let rows = person.asks(&["backup", "--all", "--json"]).await.good().json();
        for row in rows.as_array().unwrap() {
            assert!(["stored", "unchanged"].contains(&row["status"].as_str().unwrap()), "{row}");
            known.stored.lock().unwrap().insert(row["backup"].as_str().unwrap().to_owned());
        }
        known.did("backups of all devices");
        let found = person.asks(&["verify", "--json"]).await.good().json();
        assert!(found["bad"].as_array().unwrap().is_empty(), "{found}");
        known.did("verifications");
        person.asks(&["retention", "apply", "--quiet"]).await.good();
        known.did("retentions");
        let name = fleet.devices()[(number * 3 + round) % DEVICES].name().to_owned();
        let to = format!("restored-{number}-{round}");
        person.asks(&["restore", &name, "running-config", "--to", &to]).await.good();
        known.is_whole(&name, &std::fs::read_to_string(person.path(&to)).unwrap());
        known.did("restores");
        person.asks(&["run", "deliver", "--quiet"]).await.good();
        person.asks(&["destination", "maintain", "--quiet"]).await.good();
        known.did("maintenances");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_programs_over_one_home_lose_nothing() {
    let (fleet, person) = devices((0..DEVICES).map(|i| SimDevice::cisco_ios(format!("sw{i}")).size(8 << 10))).await;
    person.moves_in(&fleet).await;
    // One destination where versions go, and one that keeps them all.
    let few = ["--option", "retention.last=2", "--option", "retention.days=0"];
    person.asks(&[&["destination", "edit", "store"], &few[..]].concat()).await.good();
    let all = ["destination", "add", "all", "--kind", "plain", "--path", "all", "--option", "retention.forever=true"];
    person.asks(&all).await.good();
    let known = Known::default();
    for device in fleet.devices() {
        known.change(device, 0);
    }
    let all = (0..PROGRAMS).map(|number| works(number, &fleet, &person, &known));
    futures::future::join_all(all).await;

    // Every version that somebody was told of is where all are kept, and is whole.
    let history = person.asks(&["history", "--limit", "10000", "--json"]).await.good().json();
    let kept = |v: &serde_json::Value| {
        let copies = v["copies"].as_array().unwrap();
        copies
            .iter()
            .any(|c| c["destination"] == "all" && ["stored", "extended"].contains(&c["status"].as_str().unwrap()))
    };
    let kept: BTreeSet<String> =
        history.as_array().unwrap().iter().filter(|v| kept(v)).map(|v| v["id"].as_str().unwrap().to_owned()).collect();
    let stored = known.stored.lock().unwrap().clone();
    let lost: Vec<_> = stored.difference(&kept).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), stored.len());
    person.asks(&["catalog", "check", "--quiet"]).await.good();
    all_is_well(&fleet, &person).await;
    println!("{PROGRAMS} programs: {:?}; {} versions, all there", known.done.lock().unwrap(), stored.len());
}
