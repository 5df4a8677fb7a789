//! The program as a value: what it is made of, and running it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Clock, Collector, Error, ErrorKind, Inventory, Result, StorageBackend, SystemClock};
use devicevault_storage::seal::keys::end_tokens;
use futures::future::BoxFuture;

use crate::args::Cli;
use crate::context::Context;
use crate::instance::KNOWN_HOSTS;
use crate::settings::Settings;
use crate::ui::{Ui, escape};
use crate::wiring::keys::Keys;
use crate::{Exit, wiring};

/// So many threads wait for disks at a time. More bring no more flushes a second, and each keeps memory of its own.
const WAIT_FOR_DISKS: usize = 96;
/// The end of the program waits so long for a token that is being asked.
const TOKENS_MAY_TAKE: Duration = Duration::from_secs(5);

/// The program `devicevault`, or one of your own with more collectors and backends.
///
/// ```no_run
/// use devicevault_cli::App;
///
/// fn main() -> std::process::ExitCode {
///     App::new().run(std::env::args_os()).into()
/// }
/// ```
#[derive(Debug)]
pub struct App {
    parts: Parts,
}

/// What a backend is opened by: its settings, and the folder that relative paths in them begin at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackendSettings {
    /// The destination as it is configured.
    pub config: DestinationConfig,
    /// The home folder of the instance.
    pub home: PathBuf,
    /// Whether the destination is being set up: only then it may be made where it is missing, so that a share that is
    /// not mounted is noticed and not filled underneath.
    pub set_up: bool,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What seals and opens.
    pub(crate) keys: Keys,
    /// Where stored credentials are found.
    pub(crate) inventory: Option<Arc<dyn Inventory>>,
    /// Whether the place may be the home of any destination: it is read as it lies there.
    pub(crate) any_destination: bool,
    /// Whether the place is looked at as it lies there, though nothing may say that it is the destination's.
    pub(crate) unmarked: bool,
    /// Where the host keys of file servers are remembered; `None`: nowhere.
    pub(crate) known_hosts: Option<PathBuf>,
}

impl BackendSettings {
    pub(crate) fn new(
        config: DestinationConfig,
        home: PathBuf,
        set_up: bool,
        clock: Arc<dyn Clock>,
        keys: Keys,
        inventory: Option<Arc<dyn Inventory>>,
    ) -> Self {
        let known_hosts = Some(home.join(KNOWN_HOSTS));
        Self { config, home, set_up, clock, keys, inventory, any_destination: false, unmarked: false, known_hosts }
    }

    /// The folder that the option `path` names; relative ones begin at the home.
    ///
    /// # Errors
    /// `Config` where there is no such option.
    pub fn path(&self) -> Result<PathBuf> {
        let path = self.config.options.get("path").ok_or_else(|| {
            Error::new(ErrorKind::Config, "open destination", "the option 'path' is missing")
                .with("destination", &self.config.name)
        })?;
        Ok(self.home.join(path))
    }
}

/// Opens a backend.
pub(crate) type Open =
    Arc<dyn Fn(BackendSettings) -> BoxFuture<'static, Result<Arc<dyn StorageBackend>>> + Send + Sync>;

/// What the program is made of, beside what every instance brings itself.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) collectors: BTreeMap<String, Arc<dyn Collector>>,
    pub(crate) backends: BTreeMap<String, Open>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.backends.keys().collect();
        f.debug_struct("Parts").field("collectors", &self.collectors).field("backends", &kinds).finish_non_exhaustive()
    }
}

impl App {
    /// With what the program ships: the collector `cli`, the backends `plain` and `git`.
    #[must_use]
    pub fn new() -> Self {
        let bare = Self {
            parts: Parts { collectors: BTreeMap::new(), backends: BTreeMap::new(), clock: Arc::new(SystemClock) },
        };
        wiring::register_backends(bare)
    }

    /// Adds a collector. Devices name it by its key (`device add --collector KEY`); one with the key of a shipped
    /// collector takes its place.
    #[must_use]
    pub fn collector(mut self, collector: Arc<dyn Collector>) -> Self {
        self.parts.collectors.insert(collector.info().key.clone(), collector);
        self
    }

    /// Adds a kind of destination. `open` is called with a destination of that kind before it is used.
    #[must_use]
    pub fn backend<F, Fut>(mut self, kind: impl Into<String>, open: F) -> Self
    where
        F: Fn(BackendSettings) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn StorageBackend>>> + Send + 'static,
    {
        self.parts.backends.insert(kind.into(), Arc::new(move |settings| Box::pin(open(settings))));
        self
    }

    /// Runs one command line, the program's name first, to its end: prints to standard output and standard error, and
    /// returns the exit code. Starts a runtime of its own.
    pub fn run<I, T>(self, args: I) -> Exit
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        crate::cores::none();
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if let Some(exit) = crate::askpass::as_helper(&args) {
            return exit;
        }
        let cli = match Cli::try_parse_from(&args) {
            Ok(cli) => cli,
            Err(e) => return usage(&e, &args),
        };
        let ui = cli.global.ui();
        let done = (|| {
            let settings = Settings::load(&cli.global)?;
            cli.global.log.start(&settings, &ui)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .max_blocking_threads(WAIT_FOR_DISKS)
                .build()
                .map_err(|e| {
                    Error::new(ErrorKind::Internal, "start program", "the runtime cannot be started").because(e)
                })?;
            let context = Context::new(self.parts, ui.clone(), settings)?;
            let done = runtime.block_on(cli.command.run(&context));
            // What was cancelled may leave a thread that waits for a disk; the process does not wait for it.
            runtime.shutdown_background();
            end_tokens(TOKENS_MAY_TAKE);
            done
        })();
        done.unwrap_or_else(|e| {
            ui.error(&e);
            Exit::from(&e)
        })
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

/// What clap has to say: help and version on standard output, mistakes on standard error.
fn usage(e: &clap::Error, args: &[OsString]) -> Exit {
    if !e.use_stderr() {
        // Nobody is left to tell that standard output is gone.
        let _ = e.print();
        return Exit::Done;
    }
    let text = e.render().to_string();
    let is_plain = escape::lines(text.as_bytes()) == text;
    if args.iter().any(|a| a == "--json") {
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let error = Error::new(ErrorKind::Config, "read arguments", message).hint("see --help");
        Ui::new(true, false, false).error(&error);
    } else if is_plain {
        let _ = e.print();
    } else {
        // It repeats an argument, which somebody else may have made up: a name out of a list, for example.
        Ui::new(false, false, false).note(text.trim_end());
    }
    Exit::Usage
}
