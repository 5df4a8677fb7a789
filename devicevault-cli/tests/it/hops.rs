//! Devices of one private address behind different jump hosts.

use devicevault_testkit::sim::{Fleet, SimDevice};

use crate::person::{PASSWORD, Person};
use crate::sight::devices;

/// A jump host of a network of its own, in which every address is this device's.
async fn network_of(fleet: &Fleet, device: usize) -> Fleet {
    let jump_host = SimDevice::linux(format!("j{device}")).forwarding_to(fleet.devices()[device].addr());
    Fleet::builder().device(jump_host).start().await.unwrap()
}

fn way(jump_host: &Fleet) -> String {
    let device = &jump_host.devices()[0];
    format!("{}@{},password-env={PASSWORD}", device.username(), device.addr())
}

fn known_hosts(person: &Person) -> String {
    std::fs::read_to_string(person.path("home/known_hosts")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn namesakes_behind_jump_hosts_have_host_keys_of_their_own() {
    let (fleet, person) = devices(["a", "b"].map(SimDevice::cisco_ios)).await;
    let (first, second) = (network_of(&fleet, 0).await, network_of(&fleet, 1).await);
    person.asks(&["init"]).await.good();
    for (name, jump_host) in [("a", &first), ("b", &second)] {
        let device = ["device", "add", name, "--host", "10.0.0.1", "--platform", "cisco_ios", "--user", "admin"];
        let way = ["--password-env", PASSWORD, "--jump", &way(jump_host)];
        person.asks(&[&device[..], &way].concat()).await.good();
    }
    let backs_up = async |name: &str| person.asks(&["backup", name, "--retries", "0"]).await;
    backs_up("a").await.good();
    // As earlier releases recorded it: by its address alone.
    let port = first.devices()[0].addr().port();
    let named = known_hosts(&person);
    let old = named.replace(&format!("10.0.0.1@[127.0.0.1]:{port} "), "10.0.0.1 ");
    assert_ne!(old, named);
    person.write("home/known_hosts", &old);
    // Whose key that is cannot be told yet.
    let answer = backs_up("b").await.ended(1);
    let [a, b] = [0, 1].map(|i| fleet.devices()[i].fingerprint());
    assert!(answer.err.contains("host_key_rejected") && answer.err.contains("another jump host"), "{answer:?}");
    assert!(answer.err.contains(&format!("--host-key {b}")) && answer.err.contains(&a), "{answer:?}");
    let answer = person.asks(&["device", "host-key", "forget", "b"]).await.ended(1);
    assert!(answer.err.contains("other device: a"), "{answer:?}");
    assert_eq!(fleet.devices()[1].stats().password_attempts, 0);
    // Once it was seen where it belongs both are known, and stay known.
    for name in ["a", "b", "a", "b"] {
        backs_up(name).await.good();
    }
    let shown = person.asks(&["device", "host-key", "show", "b", "--json"]).await.good().json();
    let shown: Vec<_> = shown.as_array().unwrap().iter().map(|k| k["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(shown, [second.devices()[0].fingerprint(), b]);
    // A changed key is refused behind each, and forgotten for each by itself.
    fleet.devices()[0].change_host_key();
    let answer = backs_up("a").await.ended(1);
    let address = format!("10.0.0.1:22@127.0.0.1:{port}");
    assert!(answer.err.contains("has changed") && answer.err.contains(&address), "{answer:?}");
    let before = known_hosts(&person);
    person.asks(&["device", "host-key", "forget", "--address", &address]).await.good();
    assert!(!known_hosts(&person).contains(&format!("10.0.0.1@[127.0.0.1]:{port} ")));
    person.write("home/known_hosts", &before);
    person.asks(&["device", "host-key", "forget", "a"]).await.good();
    for name in ["b", "a", "b"] {
        backs_up(name).await.good();
    }
}
