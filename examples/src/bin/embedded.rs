//! The engine inside a program of one's own: two simulated switches are backed up over real SSH into memory, one is
//! changed, and the second round finds the change.
//!
//! ```sh
//! cargo run -p devicevault-examples --bin embedded
//! ```

use std::sync::Arc;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::catalog::{Page, Query};
use devicevault_core::diff::{Diff, DiffOptions};
use devicevault_core::engine::{Destination, DestinationOptions, Job};
use devicevault_core::text::InstanceKey;
use devicevault_core::{
    Device, Engine, Error, ErrorKind, Login, Result, StorageBackend, StorageBackendExt as _, SystemClock, Target, View,
};
use devicevault_ssh::HostKeysInMemory;
use devicevault_testkit::memory::{MemoryBackend, MemoryCatalog};
use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

#[tokio::main]
async fn main() -> Result<()> {
    let told = story().await?;
    #[allow(clippy::print_stdout, reason = "this is a program")]
    {
        print!("{told}");
    }
    Ok(())
}

/// Two rounds over two switches; what happened, for people.
async fn story() -> Result<String> {
    let fleet = Fleet::builder()
        .device(SimDevice::cisco_ios("core-sw1").size(20 * 1024).volatile())
        .device(SimDevice::cisco_ios("core-sw2").size(20 * 1024).volatile())
        .start()
        .await?;

    // The parts: who talks to devices, where backups go, who remembers. Each is a trait; these keep all in memory.
    let host_keys = Arc::new(HostKeysInMemory::default());
    let collector = Arc::new(CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(SshDialer::new(host_keys))));
    let originals: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let shared: Arc<dyn StorageBackend> = Arc::new(MemoryBackend::new());
    let destination = |id: &str, backend: &Arc<dyn StorageBackend>, view| {
        let options = DestinationOptions::default().with_view(view);
        Destination::new(id, backend.clone(), options, Arc::new(SystemClock))
    };
    let destinations =
        vec![destination("originals", &originals, View::Original), destination("shared", &shared, View::Redacted)];
    let catalog = Arc::new(MemoryCatalog::new());
    // A real program keeps the key as long as the catalog: it ties views together and masks secrets.
    let engine = Engine::builder(catalog.clone(), InstanceKey::new([7; 32])).instance("example").build();

    let mut told = String::new();
    for round in 1..=2 {
        for switch in fleet.devices() {
            let job = Job::new(target(switch), collector.clone(), destinations.clone());
            let run = engine.back_up(&job).await?;
            told += &format!("round {round}: {} {}\n", run.start.device_name, run.state);
        }
        fleet.devices()[0].change_line("description desk", "description moved to the cellar");
    }

    // The redacted view is for sharing: two versions of one configuration, and what is between them.
    let mut query = Query::default();
    query.device = Some("core-sw1".into());
    query.artefact = Some("running-config".to_owned());
    let history = devicevault_core::Catalog::find(&*catalog, &query, Page::first(2)).await?.items;
    let mut texts = Vec::new();
    for backup in history.iter().rev() {
        let copy = backup.copies.iter().find(|c| c.destination.as_str() == "shared");
        let at = copy.and_then(|c| c.storage_ref.as_ref());
        let missing = || Error::new(ErrorKind::NotFound, "read backup", "it has no copy at this destination");
        texts.push(shared.read_all(at.ok_or_else(missing)?, 1 << 20).await?);
    }
    if let [old, new] = &texts[..] {
        let diff = Diff::new(old, new, &DiffOptions::default().with_context(1)).unified("before", "after");
        told += &String::from_utf8_lossy(&diff);
    }
    Ok(told)
}

fn target(switch: &Simulated) -> Target {
    let mut device = Device::new(switch.name(), switch.name(), switch.addr().ip().to_string(), switch.platform());
    device.port = Some(switch.addr().port());
    let mut login = Login::default();
    login.username = switch.username().to_owned();
    login.password = Some(switch.password().into());
    Target::new(device, login)
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_second_round_finds_the_one_change() {
        let told = super::story().await.unwrap();
        let rounds = "round 1: core-sw1 succeeded\nround 1: core-sw2 succeeded\n\
                      round 2: core-sw1 succeeded\nround 2: core-sw2 unchanged\n";
        let diff = told.strip_prefix(rounds).unwrap_or_else(|| panic!("{told}"));
        let changed: Vec<_> = diff.lines().skip(2).filter(|l| l.starts_with(['+', '-'])).collect();
        assert_eq!(changed.len(), 2, "{told}");
        assert_eq!(changed[1], "+ description moved to the cellar");
    }
}
