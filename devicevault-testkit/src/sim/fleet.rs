//! Any number of simulated devices in one process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::device::Simulated;
use super::spec::SimDevice;
use super::state::State;
use super::stats::Stats;
use super::{keys, server};

/// Where the devices of a fleet listen.
#[derive(Debug, Clone, Copy, Default)]
enum Placement {
    /// On a free port of 127.0.0.1 each.
    #[default]
    FreePorts,
    /// On ports of 127.0.0.1 one after the other.
    Ports(u16),
    /// On one port of 127.10.0.1, 127.10.0.2, … each.
    Addresses(u16),
}

/// What a fleet is made of. See the [module](super).
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct FleetBuilder {
    devices: Vec<SimDevice>,
    placement: Placement,
}

impl FleetBuilder {
    /// One device more.
    pub fn device(mut self, device: SimDevice) -> Self {
        self.devices.push(device);
        self
    }

    /// More devices.
    pub fn devices(mut self, devices: impl IntoIterator<Item = SimDevice>) -> Self {
        self.devices.extend(devices);
        self
    }

    /// They listen on ports of 127.0.0.1 one after the other, from this one. Unless told, each takes a free port.
    pub fn on_ports_from(mut self, first: u16) -> Self {
        self.placement = Placement::Ports(first);
        self
    }

    /// They listen on this port, each on an address of its own from 127.10.0.1 on. Linux answers for all of 127/8.
    pub fn on_addresses(mut self, port: u16) -> Self {
        self.placement = Placement::Addresses(port);
        self
    }

    /// Starts them on the current tokio runtime. They listen when this returns.
    ///
    /// # Errors
    /// `Config` where there are more devices than ports or addresses, `Unavailable` where one cannot listen: its port
    /// is taken, or the process may not open that many files (a device needs one, and one for each connection).
    pub async fn start(self) -> Result<Fleet> {
        let rsa = match self.devices.iter().any(|d| keys::needs_rsa(&d.quirks)) {
            true => Some(keys::rsa().await?),
            false => None,
        };
        let mut fleet = Fleet { devices: Vec::with_capacity(self.devices.len()), listeners: Vec::new() };
        for (i, device) in self.devices.into_iter().enumerate() {
            let wanted = self.placement.address(i)?;
            let listen = |e: io::Error| {
                Error::new(ErrorKind::Unavailable, "start simulated device", "it cannot listen")
                    .with("device", device.name.escape_debug())
                    .with("address", wanted)
                    .hint("choose other ports, or allow more open files (`ulimit -n`)")
                    .because(e)
            };
            let listener = TcpListener::bind(wanted).await.map_err(listen)?;
            let addr = listener.local_addr().map_err(listen)?;
            let state = Arc::new(State::new(device, addr, rsa.clone()));
            fleet.listeners.push(tokio::spawn(accept(listener, state.clone())).abort_handle());
            fleet.devices.push(Simulated(state));
        }
        Ok(fleet)
    }
}

impl Placement {
    fn address(self, device: usize) -> Result<SocketAddr> {
        let too_many = || {
            Error::new(ErrorKind::Config, "start simulated device", "there are more devices than addresses")
                .with("device number", device + 1)
        };
        Ok(match self {
            Self::FreePorts => (Ipv4Addr::LOCALHOST, 0).into(),
            Self::Ports(first) => {
                let offset = u16::try_from(device).map_err(|_| too_many())?;
                (Ipv4Addr::LOCALHOST, first.checked_add(offset).ok_or_else(too_many)?).into()
            }
            Self::Addresses(port) => {
                // The last byte goes from 1 to 250: neither 0 nor 255, which some take for a network.
                let third = u8::try_from(device / 250).map_err(|_| too_many())?;
                let fourth = u8::try_from(device % 250 + 1).map_err(|_| too_many())?;
                (IpAddr::from([127, 10, third, fourth]), port).into()
            }
        })
    }
}

async fn accept(listener: TcpListener, device: Arc<State>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(server::serve(stream, device.clone()));
            }
            // Too many open files: others close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Simulated devices that run. Dropping it stops them, and cuts whatever is connected.
#[derive(Debug)]
pub struct Fleet {
    devices: Vec<Simulated>,
    listeners: Vec<AbortHandle>,
}

impl Fleet {
    /// Without any device yet.
    pub fn builder() -> FleetBuilder {
        FleetBuilder::default()
    }

    /// The devices, in the order in which they were given.
    #[must_use]
    pub fn devices(&self) -> &[Simulated] {
        &self.devices
    }

    /// The device of this name.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<&Simulated> {
        self.devices.iter().find(|d| d.name() == name)
    }

    /// What all devices together were asked.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.devices.iter().fold(Stats::default(), |mut sum, device| {
            sum += device.stats();
            sum
        })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
        self.devices.iter().for_each(|device| device.0.cut_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_addresses_of_their_own() {
        let of = |placement: Placement, device| placement.address(device).map(|a| a.to_string()).ok();
        assert_eq!(of(Placement::Ports(22_000), 3).as_deref(), Some("127.0.0.1:22003"));
        assert_eq!(of(Placement::Ports(65_535), 1), None);
        assert_eq!(of(Placement::Addresses(22), 0).as_deref(), Some("127.10.0.1:22"));
        assert_eq!(of(Placement::Addresses(22), 250).as_deref(), Some("127.10.1.1:22"));
        assert_eq!(of(Placement::Addresses(22), 63_999).as_deref(), Some("127.10.255.250:22"));
        assert_eq!(of(Placement::Addresses(22), 64_000), None);
    }
}
