//! Simulated devices as a person meets them: an address, a platform, a login.

use devicevault_testkit::sim::{Fleet, SimDevice, Simulated};

use crate::person::{Answer, PASSWORD, Person};

/// The devices, and a person who knows their password.
pub(crate) async fn devices(all: impl IntoIterator<Item = SimDevice>) -> (Fleet, Person) {
    let fleet = Fleet::builder().devices(all).start().await.unwrap();
    let password = fleet.devices().first().map(Simulated::password).unwrap_or_default();
    (fleet, Person::new().with_password(&password))
}

/// One Cisco switch, and a person who knows its password.
pub(crate) async fn switch() -> (Fleet, Person) {
    devices([SimDevice::cisco_ios("core-sw1")]).await
}

impl Person {
    /// The arguments of an ad hoc backup of a device into `backups`; these further ones take the place of those.
    pub(crate) fn ad_hoc(device: &Simulated, more: &[&str]) -> Vec<String> {
        let (host, port) = (device.addr().ip().to_string(), device.addr().port().to_string());
        let usual = [
            ("--host", host.as_str()),
            ("--port", &port),
            ("--platform", device.platform()),
            ("--user", device.username()),
            ("--password-env", PASSWORD),
            ("--to", "backups"),
            ("--retries", "0"),
            ("--name", device.name()),
        ];
        let password = more.iter().any(|m| m.starts_with("--password-"));
        let usual = usual.iter().filter(|(option, _)| !more.contains(option));
        let usual = usual.filter(|(option, _)| !password || *option != "--password-env");
        let usual = usual.flat_map(|(option, value)| [*option, *value]);
        std::iter::once("backup").chain(usual).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Backs a device up into `backups`, with these arguments beside or in place.
    pub(crate) async fn backs_up(&self, device: &Simulated, more: &[&str]) -> Answer {
        let args = Self::ad_hoc(device, more);
        self.asks(&args.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Sets a home up with these devices.
    pub(crate) async fn moves_in(&self, fleet: &Fleet) {
        self.asks(&["init"]).await.good();
        let mut csv = String::from("name,host,port,platform,user,password_env\n");
        for d in fleet.devices() {
            let (ip, port) = (d.addr().ip(), d.addr().port());
            csv.push_str(&format!("{},{ip},{port},{},{},{PASSWORD}\n", d.name(), d.platform(), d.username()));
        }
        self.write("devices.csv", &csv);
        self.asks(&["device", "import", "devices.csv"]).await.good();
    }
}
