//! The collectors `sftp` and `scp`: files of a device.
//!
//! # Options of a device
//! Artefacts are declared one by one. Their names hold no dot here, so that a setting stands behind one.
//!
//! | option | values | meaning |
//! |---|---|---|
//! | `files.NAME` | path, or for `sftp` a pattern | where artefact NAME is; relative paths begin where the login does |
//! | `files.NAME.kind` | `binary` (default), `text` | text has views and differences |
//! | `files.NAME.take` | `one` (default), `newest`, `last`, `all` | which of the files that a pattern meets |
//! | `files.NAME.min_size` | `0`, `512`, `4KiB`, `1MB`, … (1 unless set) | a smaller file is suspect |
//! | `files.NAME.max_size` | as above | a larger file fails before it is fetched |
//! | `files.NAME.mandatory` | `yes` (default), `no` | whether a run without it can be a success |
//! | `files.NAME.extension` | letters and digits | of the stored file; that of the path unless set |
//! | `sftp.window` | `64KiB` to `64MiB` (16MiB unless set) | how much a server may send ahead; RouterOS stalls above 2MiB |
//! | `sftp.in_flight` | `1` to `64` (64 unless set) | how many reads wait for an answer at a time |
//!
//! In a pattern `*` stands for any part of a name, `?` for one character, `[a-c]` and `[!a-c]` for one of a set or none
//! of it, `\` takes the next character as it is; nothing stands for `/`. `one` wants exactly one file to meet it,
//! `newest` takes the one that changed last, `last` the last by name, and `all` packs every one into a tar archive in
//! the order of their paths. A path without `*`, `?` or `[` is taken as it stands. A folder that a pattern meets and the
//! login may not look into makes what was found suspect: files may be missing.
//!
//! The options `ssh.…` are those of the collector `cli`.

mod bounds;
mod error;
mod options;
mod scp;
mod sftp;
mod tar;

use devicevault_core::{ArtifactInfo, ErrorKind, Result, Sink};

use error::Fault;
pub use scp::ScpCollector;
pub use sftp::SftpCollector;

/// Tells the sink of an artefact that failed, and whether the conversation goes on: an error ends it.
async fn settle(fault: Fault, info: &ArtifactInfo, begun: bool, out: &mut dyn Sink) -> Result<()> {
    let error = match fault {
        Fault::File(e) => e,
        // What is taken of this file, and of no other.
        Fault::Sink(e) if begun && matches!(e.kind(), ErrorKind::Quarantined | ErrorKind::TooLarge) => e,
        Fault::Session(e) | Fault::Sink(e) => return Err(e),
    };
    let error = error.with("artefact", &info.name);
    if !begun && !info.mandatory && error.kind() == ErrorKind::NotFound {
        out.absent(info.clone(), error, true);
        return Ok(());
    }
    if !begun {
        out.begin(info.clone()).await?;
    }
    out.fail(error).await
}

/// What a run's log says of a device whose platform is not known here.
fn unknown_platform(name: &str) -> String {
    format!(
        "there is no platform '{}': of the secrets in texts, only those that every text may hold are recognised",
        name.escape_debug()
    )
}
