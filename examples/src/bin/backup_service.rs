//! A small backup service, as an application embeds one: a round over all devices at a fixed pace, until it is told to
//! stop. What it knows and keeps is in one folder, so that it goes on where it was after a restart.
//!
//! ```sh
//! cargo run -p devicevault-examples --bin backup_service -- /tmp/service
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::engine::{Destination, DestinationOptions, Job, Limits};
use devicevault_core::text::InstanceKey;
use devicevault_core::{Collector, Device, Engine, Login, Result, SystemClock, Target};
use devicevault_examples::shelf::Shelf;
use devicevault_ssh::KnownHostsFile;
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};
use devicevault_testkit::sim::{Fleet, SimDevice};
use futures::stream::{self, StreamExt as _};

/// A device, and the password to it.
type Known = (Device, String);

/// What a service is made of.
struct Service {
    engine: Engine,
    collector: Arc<dyn Collector>,
    destination: Arc<Destination>,
}

impl Service {
    /// Opens what there is in a folder, or begins there.
    async fn open(folder: &Path) -> Result<Self> {
        let destination = Destination::new(
            "shelf",
            Arc::new(Shelf::open(&folder.join("shelf"))?),
            DestinationOptions::default(),
            Arc::new(SystemClock),
        );
        let catalog = Arc::new(SqliteCatalog::create(folder.join("catalog.db"), SqliteOptions::default()).await?);
        // A real service makes this key once and keeps it: it masks secrets and ties the views of a text together.
        let key = InstanceKey::new([7; 32]);
        let engine =
            Engine::builder(catalog, key).instance("service").limits(Limits::default().with_sessions(20)).build();
        let dialer = SshDialer::new(Arc::new(KnownHostsFile::new(folder.join("known_hosts"))));
        let collector = Arc::new(CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer)));
        Ok(Self { engine, collector, destination })
    }

    /// One round: how each device went, in the order in which they ended.
    async fn round(&self, devices: &[Known]) -> Vec<String> {
        let (collector, destination) = (self.collector.clone(), self.destination.clone());
        let devices = devices.to_vec();
        let jobs = devices.into_iter().map(move |(device, password)| {
            let mut login = Login::default();
            login.username = device.login.username.clone().unwrap_or_default();
            login.password = Some(password.into());
            Job::new(Target::new(device, login), collector.clone(), vec![destination.clone()])
        });
        let runs = self.engine.back_up_all(stream::iter(jobs));
        // A device that fails is told, and keeps nobody else from being backed up.
        let told = runs.map(|(name, run)| match run {
            Ok(run) => format!("{name}: {}", run.state),
            Err(e) => format!("{name}: {e}"),
        });
        told.collect().await
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "service".to_owned());
    let fleet =
        Fleet::builder().device(SimDevice::cisco_ios("core-sw1")).device(SimDevice::frr("edge1")).start().await?;
    let (devices, service) = (known(&fleet), Service::open(Path::new(&folder)).await?);
    let mut pace = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            _ = pace.tick() => {
                #[allow(clippy::print_stdout, reason = "this is a program")]
                for line in service.round(&devices).await {
                    println!("{line}");
                }
            }
            // What is under way is dropped: a run is recorded whole, or found cut off by the next start.
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// The simulated devices, as an inventory would have them.
fn known(fleet: &Fleet) -> Vec<Known> {
    let each = fleet.devices().iter().map(|simulated| {
        let at = simulated.addr();
        let mut device = Device::new(simulated.name(), simulated.name(), at.ip().to_string(), simulated.platform());
        device.port = Some(at.port());
        device.login.username = Some(simulated.username().to_owned());
        (device, simulated.password().to_owned())
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::builder().device(SimDevice::cisco_ios("core-sw1")).start().await.unwrap();
        let devices = known(&fleet);
        for expected in ["core-sw1: succeeded", "core-sw1: unchanged"] {
            let service = Service::open(folder.path()).await.unwrap();
            assert_eq!(service.round(&devices).await, [expected]);
        }
        drop(fleet);
        let told = Service::open(folder.path()).await.unwrap().round(&devices).await;
        assert!(told[0].starts_with("core-sw1: failed"), "{told:?}");
    }
}
