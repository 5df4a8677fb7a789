//! The names that other tools use for the same platforms.

use std::collections::BTreeMap;
use std::path::Path;

use devicevault_collectors::PlatformSet;

#[derive(serde::Deserialize)]
struct Names {
    names: Vec<String>,
    exceptions: BTreeMap<String, String>,
}

fn of(tool: &str) -> Names {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/names").join(format!("{tool}.toml"));
    toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn names_of_other_tools_lead_to_a_platform_or_are_excepted_with_a_reason() {
    let set = PlatformSet::built_in();
    for tool in ["oxidized", "rancid", "netmiko", "scrapli", "napalm"] {
        let list = of(tool);
        assert!(list.names.len() > 20, "{tool}");
        for name in &list.names {
            set.get(name).unwrap_or_else(|e| panic!("{tool}: {name}: {e}"));
        }
        for (name, why) in &list.exceptions {
            assert!(set.get(name).is_err(), "{tool}: {name} is no exception any more");
            assert!(why.len() > 8, "{tool}: {name} is excepted without a reason");
        }
    }
}

#[test]
fn endings_that_name_a_transport_are_no_part_of_a_name() {
    let set = PlatformSet::built_in();
    for name in of("netmiko").names {
        for ending in ["_ssh", "_telnet", "_serial"] {
            let platform = set.get(&format!("{name}{ending}")).unwrap();
            assert_eq!(platform.name(), set.get(&name).unwrap().name(), "{name}{ending}");
        }
    }
    assert!(set.get("_ssh").is_err() && set.get("nothing_ssh").is_err() && set.get("cisco_ios_ssh_ssh").is_err());
}
