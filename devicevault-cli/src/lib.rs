//! The `devicevault` program, as a library: [`App`] is what `main` runs, and what a program of your own runs with more
//! collectors and backends.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use devicevault_cli::App;
//! # use devicevault_core::{ArtifactInfo, Collector, CollectorInfo, Result, Sink, StorageBackend, Target};
//! # #[derive(Debug)] struct MyCollector;
//! # impl MyCollector { fn new() -> Self { Self } }
//! # #[async_trait::async_trait]
//! # impl Collector for MyCollector {
//! #     fn info(&self) -> &CollectorInfo { unimplemented!() }
//! #     fn artefacts(&self, _: &Target) -> Result<Vec<ArtifactInfo>> { unimplemented!() }
//! #     async fn collect(&self, _: &Target, _: &mut dyn Sink) -> Result<()> { unimplemented!() }
//! # }
//! # async fn open(_: std::path::PathBuf) -> Result<Arc<dyn StorageBackend>> { unimplemented!() }
//!
//! fn main() -> std::process::ExitCode {
//!     App::new()
//!         .collector(Arc::new(MyCollector::new()))
//!         .backend("mine", |settings| async move { open(settings.path()?).await })
//!         .run(std::env::args_os())
//!         .into()
//! }
//! ```
//!
//! Standard output carries what was asked for, as a table or (`--json`) as JSON; standard error everything else. [`Exit`]
//! lists the exit codes. The environment, printing and the process's end are named in this crate alone, concrete
//! collectors and stores in one module of it.

mod accepted;
mod adhoc;
mod apart;
mod app;
mod archive;
mod args;
mod artefacts;
mod askpass;
mod checker;
mod clear_secrets;
mod collectors;
mod commands;
mod context;
mod copying;
mod cores;
mod definitions;
mod delivery;
mod destinations;
mod diff_view;
mod document;
mod draft;
mod exit;
mod files;
mod folder;
mod importing;
mod instance;
mod interrupt;
mod keys;
mod last_round;
mod login_args;
mod logs;
mod naming;
mod pace;
mod place;
mod process_group;
mod purging;
mod pushing;
mod quarantine;
mod range;
mod recognition;
mod recovered;
mod reference;
mod report;
mod round;
mod routing;
mod secrets;
mod selection;
mod settings;
mod shared_logins;
mod sightings;
mod ui;
mod unready;
mod versions;
mod views;
mod wiring;

pub use app::{App, BackendSettings};
pub use exit::Exit;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
