//! Plugins from outside the workspace: a crate with a collector, a storage backend and a catalog of its own, built
//! against the published traits and held to the published suites.

use std::path::Path;
use std::process::Command;

use crate::place::Place;

#[test]
#[ignore = "builds a crate of its own"]
fn plugins_from_outside_the_workspace_keep_every_promise() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().expect("the workspace");
    let sources = manifest.join("tests/real/outside");
    let place = Place::new();
    for folder in ["src", "tests"] {
        std::fs::create_dir(place.join(folder)).expect("a folder");
        for file in std::fs::read_dir(sources.join(folder)).expect("the sources") {
            let file = file.expect("a source");
            std::fs::copy(file.path(), place.join(folder).join(file.file_name())).expect("a copy");
        }
    }
    let template = std::fs::read_to_string(sources.join("Cargo.toml.in")).expect("the manifest");
    place.write("Cargo.toml", &template.replace("@ROOT@", root.to_str().expect("UTF-8")));
    // The same versions as in the workspace: they are at hand without a network.
    std::fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock")).expect("the lock file");

    let target = Path::new(env!("CARGO_BIN_EXE_devicevault")).ancestors().nth(2).expect("the target folder");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--offline", "--quiet", "--", "--nocapture"]).current_dir(place.path());
    let output = cargo.env("CARGO_TARGET_DIR", target).output().expect("cargo");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for suite in ["Collector", "StorageBackend", "Catalog"] {
        let line = out.lines().find(|l| l.contains(&format!("{suite}: ")));
        assert!(line.is_some_and(|l| l.contains(", 0 broken, ")), "{suite}: {line:?}\n{out}");
    }
}
