//! Simulated devices: real SSH on loopback, with the command line of a router or switch behind it.
//!
//! A [`Fleet`] is any number of devices in one process, each with a name, an address, a host key and a configuration of
//! its own. A device has the manners of a platform, and misbehaves as its [`Quirk`]s say: it pauses, pages, cuts off,
//! stalls, prints its own prompt in the middle of a text. Configurations are made up from a seed, of any size, and hold
//! secrets that a test can search for.
//!
//! ```
//! use devicevault_testkit::sim::{Fleet, Quirk, SimDevice};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> devicevault_core::Result<()> {
//! let fleet = Fleet::builder()
//!     .device(SimDevice::cisco_ios("core-sw1").size(20 * 1024).enable_secret("letMeConfigure"))
//!     .device(SimDevice::juniper_junos("edge-rtr1").quirk(Quirk::ThinkTime(std::time::Duration::from_millis(50))))
//!     .start()
//!     .await?;
//! let switch = &fleet.devices()[0];
//! println!("ssh -p {} {}@{}", switch.addr().port(), switch.username(), switch.addr().ip());
//! switch.change_line("interface GigabitEthernet1/0/1", "interface GigabitEthernet1/0/99");
//! assert_eq!(switch.stats().commands, 0);
//! # Ok(())
//! # } // the devices are gone with the fleet
//! ```

mod channel;
mod config;
mod device;
mod fleet;
mod keys;
mod personality;
mod quirk;
mod server;
mod shell;
mod socket;
mod spec;
mod state;
mod stats;
mod storm;
mod terminal;
#[cfg(test)]
mod tests;

pub use device::Simulated;
pub use fleet::{Fleet, FleetBuilder};
pub use quirk::Quirk;
pub use spec::SimDevice;
pub use stats::Stats;

/// Who may log in to a device that was told nothing else.
pub const USERNAME: &str = "admin";
/// The password of a device that was told nothing else.
pub const PASSWORD: &str = "sim-Passw0rd";
