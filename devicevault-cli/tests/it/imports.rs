//! Devices from a CSV file.

use std::fmt::Write as _;

use crate::person::Person;

fn home() -> Person {
    let person = Person::new();
    person.run(&["init"]).good();
    person
}

#[test]
fn all_lines_are_imported_or_none() {
    let person = home();
    person
        .write("good.csv", "name,host,platform,site,tags\nr1,192.0.2.1,cisco_ios,zrh,core;edge\nr2,192.0.2.2,frr,,\n");
    let imported = person.run(&["device", "import", "good.csv", "--json"]).good().json();
    assert_eq!(imported, serde_json::json!({"added": 2, "updated": 0, "unchanged": 0}));

    person.write(
        "bad.csv",
        "name,host,platform\nr3,192.0.2.3,cisco_ios\nr4,192.0.2.4,nonesuch\nr1,192.0.2.9,frr\nr3,h,frr\n",
    );
    insta::assert_snapshot!(person.told(&person.run(&["device", "import", "bad.csv"])), @r"
    exit code 2
    error: import devices: 3 lines are wrong, so nothing was imported (file: bad.csv)
      Caused by: line 3: find platform: there is no platform of this name (platform: nonesuch, device: r4)
      Caused by: line 4: there is a device named r1 already (--update changes it)
      Caused by: line 5: the name r3 stands in line 2 already
    ");
    assert_eq!(person.run(&["device", "list", "--json"]).json().as_array().unwrap().len(), 2);

    person.write(
        "new.csv",
        "name,host,platform,site,tags\nr1,192.0.2.9,cisco_ios,zrh,core;edge\nr2,192.0.2.2,frr,,\nr3,h,frr,,\n",
    );
    let updated = person.run(&["device", "import", "new.csv", "--update", "--json"]).good().json();
    assert_eq!(updated, serde_json::json!({"added": 1, "updated": 1, "unchanged": 1}));
}

#[test]
fn a_shared_credential_is_a_column() {
    let person = home();
    person.run(&["credential", "add", "branch", "--user", "backup", "--password-env", "PW"]).good();
    let file =
        |credential: &str| format!("name,host,platform,credential\nr1,192.0.2.1,frr,{credential}\nr2,192.0.2.2,frr,\n");
    person.write("wrong.csv", &file("brnch"));
    let answer = person.run(&["device", "import", "wrong.csv"]).ended(2);
    assert!(answer.err.contains("line 2") && answer.err.contains("brnch"), "{answer:?}");
    person.write("good.csv", &file("branch"));
    person.run(&["device", "import", "good.csv"]).good();
    let shown = person.run(&["device", "show", "r1", "--json"]).good().json();
    assert_eq!(shown["device"]["login"]["credential"], "branch", "{shown}");
}

#[test]
fn a_file_that_is_none_is_refused() {
    let person = home();
    for (name, text) in [("empty.csv", ""), ("password.csv", "name,host,platform,password\nr1,h,frr,hunter2\n")] {
        person.write(name, text);
        let answer = person.run(&["device", "import", name]).ended(2);
        assert!(answer.err.contains(name) && !answer.err.contains("hunter2"), "{answer:?}");
    }
    person.run(&["device", "import", "nonesuch.csv"]).ended(2);
}

#[test]
fn thirty_thousand_devices_take_seconds() {
    let person = home();
    let mut csv = String::from("name,host,platform,site,user,password_env\n");
    for i in 0..30_000 {
        writeln!(csv, "rtr-{i:05},10.{}.{}.{},cisco_ios,site-{},backup,PW", i / 65_536, i / 256 % 256, i % 256, i % 97)
            .unwrap();
    }
    person.write("many.csv", &csv);
    let imported = person.run(&["device", "import", "many.csv", "--json"]).good().json();
    assert_eq!(imported["added"], 30_000);
    let again = person.run(&["device", "import", "many.csv", "--json"]).good().json();
    assert_eq!(again["unchanged"], 30_000);
    let site = person.run(&["device", "list", "--site", "site-5", "--json"]).good().json();
    assert_eq!(site.as_array().unwrap().len(), 310);
}
