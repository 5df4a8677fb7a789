//! The platforms that FakeNOS simulates: an SSH server that is not ours, with answers
//! that are not ours. Most of its platforms know no configuration command: what they say instead is never a success.

use std::process::Command;

use crate::devicevault::Person;
use crate::place::Place;
use crate::process::{Server, free_port, listens, program};

/// Simulates one platform on one port.
fn serve(place: &Place, platform: &str) -> (Server, u16) {
    let port = free_port();
    let inventory = place.join(&format!("{platform}.yaml"));
    let device = format!("{{username: u, password: recorded, port: {port}, platform: {platform}}}");
    std::fs::write(&inventory, format!("hosts:\n  device: {device}\n")).expect("an inventory");
    let mut command = Command::new(program("fakenos"));
    command.arg("--inventory").arg(&inventory);
    let server = Server::start(&mut command, &place.join(&format!("{platform}.log")));
    (server.until("an open port", || listens(port)), port)
}

#[test]
#[ignore = "needs fakenos"]
fn platforms_with_a_configuration_are_stored_and_others_are_refused() {
    let place = Place::new();
    for (platform, stored) in [
        ("cisco_ios", true),
        ("arista_eos", true),
        ("cisco_nxos", false),
        ("hp_procurve", false),
        ("brocade_netiron", false),
        ("checkpoint_gaia", false),
        ("zyxel_os", false),
    ] {
        let (_server, port) = serve(&place, platform);
        let person = Person::new();
        let answer = person.back_up(port, platform, "u", "recorded", &["--retries", "0", "--timeout", "10s"]);
        let config = answer.artefact("running-config");
        assert_eq!(config["status"] == "stored", stored, "{platform}: {config}{}", answer.err);
        if !stored {
            assert_eq!(config["status"], "failed", "{platform}: {config}");
            assert!(config["error"].as_str().unwrap_or_default().contains("Unknown command"), "{config}");
        }
        let short = answer.json().as_array().into_iter().flatten().any(|a| a["status"] == "stored" && a["size"] == 16);
        assert!(!short, "{platform}: the device's refusal was stored: {}", answer.out);
    }
}
