//! The tools for platforms, as a person uses them on simulated devices.

use devicevault_testkit::sim::{SimDevice, Simulated};

use crate::person::{Answer, PASSWORD, Person};
use crate::sight::{devices, switch};

/// `platform COMMAND … --host …` on a device.
async fn on(person: &Person, device: &Simulated, args: &[&str]) -> Answer {
    let (host, port) = (device.addr().ip().to_string(), device.addr().port().to_string());
    let at = ["--host", &host, "--port", &port, "--user", device.username(), "--password-env", PASSWORD];
    person.asks(&[&["platform"], args, &at].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_recognised_recorded_and_tried_on_its_recording() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    let found = on(&person, device, &["detect", "--json"]).await.good().json();
    assert_eq!(found["platform"], "cisco_ios");

    on(&person, device, &["record", "--to", "sw.rec.toml"]).await.good();
    let text = std::fs::read_to_string(person.path("sw.rec.toml")).unwrap();
    assert_eq!(crate::person::mode(&person.path("sw.rec.toml")), 0o600);
    assert!(!text.contains(&device.password()) && text.contains("show running-config"), "{text}");
    // What the configuration hides is in no recording.
    let config = String::from_utf8(device.config().to_vec()).unwrap();
    let secrets = config.lines().filter_map(|l| l.strip_prefix("snmp-server community ")?.split(' ').next());
    let secrets: Vec<_> = secrets.collect();
    assert!(!secrets.is_empty() && secrets.iter().all(|s| !text.contains(s)), "{secrets:?}");
    // A file that is there is not written over.
    on(&person, device, &["record", "--to", "sw.rec.toml"]).await.ended(1);

    let checked = person.run(&["platform", "check", "cisco_ios", "--recording", "sw.rec.toml", "--json"]).good().json();
    assert_eq!(checked["good"], true, "{checked}");
    assert!(checked["artefacts"][0]["masked"].as_u64().unwrap() > 2, "{checked}");
    let found = person.run(&["platform", "detect", "--recording", "sw.rec.toml", "--json"]).good().json();
    assert_eq!(found["platform"], "cisco_ios");
    let other = person.run(&["platform", "check", "huawei_vrp", "--recording", "sw.rec.toml", "--json"]);
    assert_ne!(other.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_told_step_by_step_and_its_trace_has_no_secret() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    let told = on(&person, device, &["test", "--platform", "cisco_ios", "--trace", "wire.txt"]).await.good();
    for part in ["connected: SSH-2.0-", "cipher: ", "`show running-config`", "confirmed by an empty line", "masked"] {
        assert!(told.out.contains(part), "{part}: {}", told.out);
    }
    let trace = std::fs::read_to_string(person.path("wire.txt")).unwrap();
    assert!(trace.contains("> show running-config\\n") && !trace.contains(&device.password()), "{trace}");
    let config = String::from_utf8(device.config().to_vec()).unwrap();
    let community = config.lines().find_map(|l| l.strip_prefix("snmp-server community ")).unwrap();
    assert!(!trace.contains(community.split(' ').next().unwrap()), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drafted_platform_backs_the_device_up() {
    let (fleet, person) = switch().await;
    let device = &fleet.devices()[0];
    std::fs::create_dir(person.path("own")).unwrap();
    on(&person, device, &["new", "my_switch", "--to", "own/my_switch.toml"]).await.good();
    let checked = person.run(&["platform", "check", "own/my_switch.toml"]).good();
    assert!(checked.err.contains("my_switch: good"), "{}", checked.err);
    let done = person.backs_up(device, &["--platform", "my_switch", "--platforms-dir", "own", "--json"]).await.good();
    let all = done.json();
    let config = all.as_array().unwrap().iter().find(|a| a["artefact"] == "running-config").unwrap();
    assert_eq!(config["status"], "stored", "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_is_found_out_once_and_kept() {
    let all = [SimDevice::cisco_ios("sw1"), SimDevice::juniper_junos("rtr1"), SimDevice::mikrotik_routeros("gw1")];
    let (fleet, person) = devices(all).await;
    let switch = &fleet.devices()[0];
    let first = person.backs_up(switch, &["--platform", "auto"]).await.good();
    assert!(first.err.contains("recognised as cisco_ios"), "{}", first.err);
    let again = person.backs_up(switch, &["--platform", "auto"]).await.good();
    assert!(!again.err.contains("recognised"), "{}", again.err);

    person.asks(&["init"]).await.good();
    let mut csv = String::from("name,host,port,platform,user,password_env\n");
    for d in fleet.devices() {
        csv.push_str(&format!("{},{},{},auto,{},{PASSWORD}\n", d.name(), d.addr().ip(), d.addr().port(), d.username()));
    }
    person.write("devices.csv", &csv);
    person.asks(&["device", "import", "devices.csv"]).await.good();
    person.asks(&["backup", "--all"]).await.good();
    let listed = person.asks(&["device", "list", "--json"]).await.good().json();
    let platforms: Vec<_> = listed.as_array().unwrap().iter().map(|d| d["platform"].as_str().unwrap()).collect();
    assert_eq!(platforms.len(), 3);
    assert!(["cisco_ios", "juniper_junos", "mikrotik_routeros"].iter().all(|p| platforms.contains(p)), "{platforms:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_recognised_is_not_added() {
    let sim = SimDevice::cisco_ios("odd1").answering("show version", "Acme OS 1.0\n").greeting("\n");
    let (fleet, person) = devices([sim]).await;
    let device = &fleet.devices()[0];
    let unsure = on(&person, device, &["detect"]).await.ended(1);
    assert!(unsure.err.contains("not sure") && unsure.err.contains("hint:"), "{}", unsure.err);
    person.asks(&["init"]).await.good();
    let (host, port) = (device.addr().ip().to_string(), device.addr().port().to_string());
    let add = ["device", "add", "odd1", "--host", &host, "--port", &port, "--platform", "auto"];
    let login = ["--user", device.username(), "--password-env", PASSWORD];
    person.asks(&[&add[..], &login].concat()).await.ended(1);
    assert_eq!(person.asks(&["device", "list", "--json"]).await.good().json().as_array().unwrap().len(), 0);
}
