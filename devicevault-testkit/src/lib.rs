//! What tests of DeviceVault and of its plugins stand on.
//!
//! - [`conformance`]: suites that hold an implementation of a trait to every promise of the trait's contract. They are
//!   for plugin authors as for the implementations in this workspace.
//! - [`memory`]: implementations that keep everything in memory, for tests and for embedders who need no more.
//! - [`scripted`] and [`recording`]: a collector that says and does what it is told, a sink and an event sink that
//!   remember.
//! - [`clock`], [`faulty`], [`bodies`], [`cancel`]: time that moves when told, calls that fail when told, bodies that
//!   misbehave, futures that are dropped half-way.
//! - `sim`, with the feature of that name: simulated devices, real SSH on loopback.
//! - `cloud`, with the feature of that name: a server that keeps objects as S3 and Google Cloud Storage do, well or badly.
//! - `relay`, with the feature of that name: a connection that is slow, breaks or falls silent.
//! - [`samples`]: data that tests need and do not care about.

pub mod bodies;
pub mod cancel;
pub mod clock;
#[cfg(feature = "cloud")]
pub mod cloud;
pub mod conformance;
pub mod faulty;
pub mod memory;
pub mod recording;
#[cfg(feature = "relay")]
pub mod relay;
pub mod samples;
pub mod scripted;
#[cfg(feature = "sim")]
pub mod sim;
