//! Whether a manifest can be what it says.

use crate::{Error, ErrorKind, Manifest, Result, check_artefact_name, check_device_name};

/// The longest of the short texts, in bytes.
const MAX_TEXT: usize = 255;
/// Reasons to be suspect.
const MAX_REASONS: usize = 64;

/// Refuses what no engine writes: it would become names, paths and rows.
///
/// # Errors
/// `Corrupt`.
pub(super) fn check(m: &Manifest) -> Result<()> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Corrupt, "read manifest", why.to_owned()));
    let told = |e: Error| Error::new(ErrorKind::Corrupt, "read manifest", e.message().to_owned());
    check_device_name(&m.source.device_name).map_err(told)?;
    check_artefact_name(&m.artefact).map_err(told)?;
    let source = &m.source;
    let texts = [
        Some(source.device.as_str()),
        Some(source.host.as_str()),
        Some(source.platform.as_str()),
        source.site.as_deref(),
        source.group.as_deref(),
        Some(source.collector.as_str()),
        Some(m.extension.as_str()),
        Some(m.task_identifier.as_str()),
        Some(m.instance.as_str()),
        Some(m.program.as_str()),
    ];
    if texts.iter().flatten().any(|t| t.len() > MAX_TEXT || t.chars().any(char::is_control)) {
        return refuse("one of its texts is longer than it can be, or holds control characters");
    }
    if source.device.as_str().is_empty() {
        return refuse("it names no device");
    }
    if m.extension.contains(['/', '\\', '\0']) || m.extension.starts_with('.') {
        return refuse("its extension is none");
    }
    if i64::try_from(m.size).is_err() {
        return refuse("its size is larger than anything can be");
    }
    if m.suspect.len() > MAX_REASONS {
        return refuse("it has more reasons to be suspect than there are");
    }
    Ok(())
}
