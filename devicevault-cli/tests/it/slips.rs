//! What people mistype or forget, and what they are told.

use devicevault_testkit::sim::SimDevice;

use crate::person::files_below;
use crate::sight::devices;

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_nobody_reads_is_refused_wherever_it_is_given() {
    let (fleet, person) = devices([SimDevice::cisco_ios("sw1")]).await;
    person.moves_in(&fleet).await;
    let device = ["--host", "192.0.2.1", "--platform", "cisco_ios"];
    let secret = ["--option", "password=Sekret-opt"];
    let row = "name,host,platform,option.password\nx,192.0.2.1,cisco_ios,Sekret-opt\n";
    person.write("devices.csv", row);
    let table = "[[device]]\nname = \"x\"\nhost = \"192.0.2.1\"\nplatform = \"cisco_ios\"\noptions = { password = \"Sekret-opt\" }\n";
    person.write("devices.toml", table);
    for args in [
        &[&["device", "add", "x"][..], &device, &secret].concat()[..],
        &[&["device", "add", "x", "--collector", "sftp", "--option", "files.a=/a"][..], &device, &secret].concat(),
        &[&["device", "edit", "sw1"][..], &secret].concat(),
        &["device", "import", "devices.csv"],
        &["apply", "-f", "devices.toml"],
        &[&["backup", "--to", "out"][..], &device, &secret].concat(),
    ] {
        let refused = person.asks(args).await;
        assert_ne!(refused.code, 0, "{args:?}");
        assert!(refused.err.contains("password") && !refused.err.contains("Sekret"), "{args:?}: {refused:?}");
    }
    for (file, bytes) in files_below(&person.path("home")) {
        assert!(!String::from_utf8_lossy(&bytes).contains("Sekret-opt"), "{}", file.display());
    }
    let good = ["--option", "ssh.keepalive=30", "--option", "file_rules.max_size=1MB"];
    person.asks(&[&["device", "add", "x"][..], &device, &good].concat()).await.good();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_wrongly_is_told_with_what_there_is() {
    let (fleet, person) = devices(["sw1", "sw2"].map(SimDevice::cisco_ios)).await;
    person.moves_in(&fleet).await;
    for name in ["sw1", "sw2"] {
        person.asks(&["backup", name, "--quiet"]).await.good();
    }
    for args in [&["show", "sw1:nope"][..], &["download", "sw1:nope", "--to", "x"], &["diff", "sw1:nope"]] {
        let told = person.asks(args).await.ended(1);
        assert!(told.err.contains("inventory") && told.err.contains("running-config"), "{args:?}: {told:?}");
    }
    for args in [
        &["show", "sw1", "--at", "2026-02-30"][..],
        &["restore", "sw1", "--to", "x/", "--at", "2026-02-30"],
        &["download", "sw1", "--to", "x", "--at", "2026-13-01"],
        &["diff", "sw1", "2026-02-30"],
    ] {
        let told = person.asks(args).await.ended(2);
        assert!(told.err.contains("there is no such date or time"), "{args:?}: {told:?}");
    }
    // The last run of all was the other device's.
    person.asks(&["restore", "sw1", "--run", "latest", "--to", "back/"]).await.good();
    assert!(person.path("back").join("sw1-running-config.cfg").exists());
    // A run is named by its end as well as by its beginning.
    let runs = person.asks(&["run", "list", "--json"]).await.good().json();
    let id = runs[0]["id"].as_str().unwrap();
    let by_end = person.asks(&["run", "show", &id[id.len() - 10..]]).await.good();
    assert!(by_end.out.contains(id), "{by_end:?}");
    // Nothing to do is one line.
    let none = person.asks(&["backup", "--failed"]).await.good();
    assert_eq!((none.out.as_str(), none.err.trim()), ("", "nothing is left over from the last round"));
}
