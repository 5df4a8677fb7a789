//! A program of one's own: the shipped one with another collector and another kind of destination.

use std::sync::Arc;

use devicevault_cli::{App, Exit};
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Inventory as _, StorageBackend, View};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::memory::MemoryBackend;
use devicevault_testkit::scripted::{Script, ScriptedArtefact, ScriptedCollector};

use crate::person::Person;

#[test]
fn a_collector_and_a_backend_of_ones_own_take_part() {
    let person = Person::new();
    let home = person.path("home").display().to_string();
    let binary: Vec<u8> = (0..=255).collect();
    let script = Script::config("hostname odd1\nend\n").artefact(ScriptedArtefact::binary("state", binary.clone()));
    let collector = Arc::new(ScriptedCollector::new());
    collector.set_others(script);
    let key = devicevault_core::Collector::info(&*collector).key.clone();
    let memory = MemoryBackend::new();
    let run = |args: &[&str]| {
        let memory = memory.clone();
        let app = App::new().collector(collector.clone()).backend("memory", move |_| {
            let memory: Arc<dyn StorageBackend> = Arc::new(memory.clone());
            async move { Ok(memory) }
        });
        let words = ["devicevault", "--home", &home, "--quiet"];
        app.run(words.iter().chain(args).map(ToString::to_string))
    };

    assert_eq!(run(&["init"]), Exit::Done);
    assert_eq!(run(&["device", "add", "odd1", "--host", "h", "--platform", "any", "--collector", &key]), Exit::Done);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let catalog = SqliteCatalog::open(person.path("home/catalog.db"), SqliteOptions::default()).await.unwrap();
        catalog.put_destination(&DestinationConfig::new("mem", "memory", View::Original)).await.unwrap();
        catalog.close().await;
    });
    assert_eq!(run(&["backup", "odd1"]), Exit::Done);
    assert_eq!(memory.len(), 2);
    assert_eq!(run(&["backup", "odd1"]), Exit::Done);
    assert_eq!(memory.len(), 2, "nothing changed");
    let file = person.path("state.bin").display().to_string();
    assert_eq!(run(&["download", "odd1:state", "--to", &file]), Exit::Done);
    assert_eq!(std::fs::read(file).unwrap(), binary);
    assert_eq!(run(&["verify"]), Exit::Done);

    // The shipped program does not know them, and says so.
    let answer = person.run(&["backup", "odd1"]).ended(2);
    assert!(answer.err.contains("there is no such collector"), "{answer:?}");
    assert!(answer.err.contains("mem"), "{answer:?}");
    // A binary is no text, wherever it is to be read.
    let shown = person.run(&["history", "odd1", "--artefact", "state"]).good();
    assert!(shown.out.contains("256 B"), "{shown:?}");
}
