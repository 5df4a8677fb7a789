//! Bringing the epoch keys in line with the sources. What the sources say is what is wanted; this may stop anywhere and
//! be run again.

use std::fs;

use devicevault_core::{Error, Result};

use super::export;
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::kit;
use crate::keys::sources::KeySources;
use crate::wiring::keys::{Keys, destination_keys, is_sealed};

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Epoch keys that were wrapped anew.
    pub(super) changed: usize,
    /// Destinations that could not be brought up to date, and why.
    pub(super) behind: Vec<(String, Error)>,
    /// Ids of keys that are no longer needed, and gone.
    pub(super) gone: Vec<String>,
    /// The new recovery kit.
    pub(super) kit: Option<String>,
}

/// Wraps the epoch keys as the sources have it. A key that is retiring goes when nothing needs it any more, after the kit
/// of the one that takes its place was written.
///
/// # Errors
/// A key cannot be had, or the home cannot be written.
pub(super) async fn settle(context: &Context, instance: &Instance) -> Result<Settled> {
    let home = &instance.home;
    let keys = Keys::open(Some(home), &context.given_keys).await?;
    let (mut reachable, mut behind) = (Vec::new(), Vec::new());
    for config in instance.inventory.destinations().await?.into_iter().filter(is_sealed) {
        match destination_keys(instance.backend_settings(&config, false)).await {
            Ok(folder) => reachable.push((config.name, folder)),
            Err(e) => behind.push((config.name, e)),
        }
    }
    let done = keys.settle(home, reachable).await?;
    behind.extend(done.behind);
    let mut settled = Settled { changed: done.changed, behind, ..Settled::default() };
    let retiring: Vec<_> = keys.sources().retiring().cloned().collect();
    if retiring.is_empty() || !settled.behind.is_empty() {
        return Ok(settled);
    }
    match export::write_for(context, instance, &keys, None).await {
        Ok(path) => settled.kit = Some(path.display().to_string()),
        Err(e) if e.kind() == devicevault_core::ErrorKind::Unsupported => context.ui.warn(e.message()),
        Err(e) => return Err(e),
    }
    KeySources { keys: keys.sources().active().cloned().collect() }.write(home)?;
    for source in retiring {
        if let Some(file) = source.from.file(home).filter(|f| f.starts_with(home)) {
            remove(context, &file);
        }
        remove(context, &home.join(kit::file_name(&source.id)));
        settled.gone.push(source.id);
    }
    Ok(settled)
}

/// A file that stays opens nothing that is sealed from now on: it is told, and no error.
fn remove(context: &Context, path: &std::path::Path) {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            context.ui.warn(&format!("{} could not be deleted: {e}", path.display()));
        }
        _ => (),
    }
}

/// Tells what was done, and how the program ends.
pub(super) fn tell(context: &Context, settled: &Settled) -> Exit {
    for (name, e) in &settled.behind {
        context.ui.warn(&format!("the keys at {name} are not up to date: {}", e.to_record().message));
    }
    if !settled.behind.is_empty() {
        context.ui.note("run the same command again when it is back; until then, retiring keys stay in use");
    }
    for id in &settled.gone {
        context.ui.note(&format!("key {id} opens nothing any more, and is gone"));
    }
    if let Some(kit) = &settled.kit {
        context.ui.note(&format!(
            "the recovery kit is a new one: {kit}\nprint it, take it away from here, and destroy the old one"
        ));
    }
    Exit::of_parts(1, settled.behind.len())
}
