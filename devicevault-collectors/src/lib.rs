//! How bytes come out of network devices.
//!
//! - A [`Platform`] is what is known of a vendor's operating system, as data: a TOML file with its prompt, commands,
//!   volatile lines and secrets. [`PlatformSet`] holds those that are built in and a user's own.
//! - A transport ([`Dialer`], [`Link`], [`Terminal`], [`Running`]) moves bytes: [`SshDialer`] over SSH, [`TelnetDialer`]
//!   over Telnet, [`OpenSshDialer`] by the system's `ssh`, [`Transports`] by whichever a device asks for, [`ReplayDialer`] in memory for tests.
//! - A session finds the prompt, applies what a terminal would apply, answers pagers, and knows when an answer is
//!   complete: not when a line looks like a prompt, but when an empty line typed there is answered by that prompt alone.
//! - [`CliCollector`] brings them together as a [`Collector`](devicevault_core::Collector).
//! - [`SftpCollector`] and [`ScpCollector`] fetch files; their options are told in [`files`].
//!
//! # Options of a device
//! | option | values | meaning |
//! |---|---|---|
//! | `ssh.profile` | `modern`, `legacy`, `ancient` | which algorithms are offered; before the platform's own |
//! | `ssh.host_key` | `strict`, `first-use`, `pinned` | how an unknown host key is met |
//! | `ssh.host_key_fingerprint` | `SHA256:…`, several with blanks between | the pinned keys |
//! | `ssh.proxy_command` | a command with `%h`, `%p`, `%r` | its input and output are the connection |
//! | `ssh.source_address` | an IP address | where connections come from |
//! | `ssh.keepalive` | seconds | after so much silence the server is asked whether it is there |
//! | `cli.channel` | `shell`, `exec` | how commands are given, against what the platform says |
//! | `cli.transport` | `ssh`, `telnet`, `openssh` | how the device is reached, against what the platform prefers |

mod collector;
mod conversation;
mod detect;
mod draft;
mod escape;
pub mod files;
pub mod options;
mod platform;
mod reading;
mod recording;
mod refusal;
mod remarks;
mod session;
mod transport;
mod trial;

pub use collector::CliCollector;
pub use detect::{Candidate, Detector, Recognition};
pub use draft::Draft;
pub use files::{ScpCollector, SftpCollector};
pub use platform::{
    ArtefactOutline, Channel, Confirm, Echo, Platform, PlatformOutline, PlatformSet, PlatformSource,
    platform_reference, platform_schema,
};
pub use recording::{Disguise, Recording, Step, Suspicion};
pub use transport::{
    ASKPASS_VARIABLE, Dialer, Greeting, Link, Moment, OpenSshDialer, OpenSshOptions, Piece, RecordedDialer, Replay,
    ReplayDialer, RunEnd, Running, SshDialer, TELNET_PORT, Tape, TapeDialer, TelnetDialer, Terminal, Transport,
    Transports, Wire, answer_from, ssh_credentials,
};
pub use trial::{Change, ChangedLine, EndedBy, Exchange, State as TriedState, Trial, TriedArtefact};
