//! A `devicevault` of one's own: the shipped program, with one more kind of destination.
//!
//! ```sh
//! cargo run -p devicevault-examples --bin own_devicevault -- init
//! cargo run -p devicevault-examples --bin own_devicevault -- --help
//! ```
//!
//! Every command works as in the shipped program. A destination of the kind `shelf` has the option `path`.

use std::sync::Arc;

use devicevault_cli::{App, BackendSettings};
use devicevault_core::{Result, StorageBackend};
use devicevault_examples::shelf::Shelf;

fn main() -> std::process::ExitCode {
    App::new().backend("shelf", open).run(std::env::args_os()).into()
}

async fn open(settings: BackendSettings) -> Result<Arc<dyn StorageBackend>> {
    Ok(Arc::new(Shelf::open(&settings.path()?)?))
}
