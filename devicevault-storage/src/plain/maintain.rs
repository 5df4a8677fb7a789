//! Removing what was left over, and what no manifest and no catalog names.

use std::collections::HashMap;
use std::sync::Arc;

use devicevault_core::storage::{Budget, Report};
use devicevault_core::{Result, StorageRef, Timestamp};
use futures::stream::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::refused::path_of;
use super::walk::unnamed;
use super::{Plain, layout};
use crate::fault;

impl Plain {
    /// Removes what broken writers left, once it is older than the grace: whole content without a manifest only where the
    /// budget says so. A manifest without content stays: it may be all that is left of a backup that somebody removed by
    /// hand. Not to `act` is to say only what would be removed.
    pub(super) async fn maintain(self: &Arc<Self>, budget: &Budget, act: bool) -> Result<Report> {
        let clock = &self.options.clock;
        let until = clock.monotonic().saturating_add(budget.duration);
        let mut report = Report::default();
        if act {
            self.sweep(&mut report).await?;
        }
        if let Some(keep) = self.keep.as_ref().filter(|_| act) {
            let freed = keep.sweep(self.options.grace).await?;
            if freed > 0 {
                report.done.push(format!("removed {freed} bytes that broken uploads left behind"));
                report.bytes_freed += freed;
            }
        }
        if act {
            self.give_up_uploads(&mut report).await;
        }
        let freed = if act { self.remove_old_probes().await? } else { 0 };
        if freed > 0 {
            report.done.push("removed what connection tests left behind".to_owned());
            report.bytes_freed += freed;
        }
        let mut bare = Vec::new();
        let mut folders = self.clone().folders();
        while let Some(objects) = folders.next().await {
            let objects = match objects? {
                Ok(objects) => objects,
                Err(e) => {
                    let at = path_of(&e).unwrap_or_default();
                    report.done.push(format!("passed over {at}: {}", e.message()));
                    continue;
                }
            };
            if clock.monotonic() > until {
                report.done.push("the time was up before all folders were looked at".to_owned());
                break;
            }
            bare.extend(unnamed(&objects));
            for object in superseded(&objects) {
                self.remove_superseded(object, act, &mut report).await?;
            }
        }
        let places = bare.iter().map(|o| place(&o.location)).collect();
        let recorded = budget.recorded.of(places).await?;
        for object in &bare {
            if recorded.contains(&place(&object.location)) {
                report.done.push(format!("left {}: its manifest is gone, the catalog knows it", object.location));
            } else {
                self.bare(object, budget.unnamed, act, &mut report).await?;
            }
        }
        Ok(report)
    }

    /// Gives up what was begun in parts longer ago than the grace. A store that does not let us is told of, and the rest of
    /// the maintenance goes on.
    async fn give_up_uploads(&self, report: &mut Report) {
        let Some(uploads) = &self.options.uploads else { return };
        let before = self.options.clock.now().checked_sub(self.options.grace).unwrap_or(Timestamp::MIN);
        match uploads.give_up(before, layout::has_stamp).await {
            Ok(0) => {}
            Ok(count) => report.done.push(format!("gave up {count} uploads in parts that broke off")),
            Err(e) => report.done.push(format!("could not look for uploads that broke off: {}", e.to_record().message)),
        }
    }

    /// Content of a backup that was sealed anew: removed where the manifest names the other.
    async fn remove_superseded(&self, object: &ObjectMeta, act: bool, report: &mut Report) -> Result<()> {
        match self.file_of(&object.location).await {
            Ok(found) if found.content != object.location => self.remove(object, act, report).await,
            // What cannot be said of it is left alone.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Content that neither a manifest nor the catalog names.
    async fn bare(&self, object: &ObjectMeta, goes: bool, act: bool, report: &mut Report) -> Result<()> {
        // Between the listing and now, somebody may have come back to finish it.
        for manifest in layout::manifest_paths(&object.location) {
            match self.store.head(&manifest).await {
                Err(object_store::Error::NotFound { .. }) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(fault::of_store("look for manifest", &manifest, e)),
            }
        }
        if goes {
            return self.remove(object, act, report).await;
        }
        report.unnamed += 1;
        report.unnamed_bytes += object.size;
        if self.is_old(object) {
            let why = "which no manifest names: it may be the only copy of a version, and only --unnamed removes it";
            report.done.push(format!("left {}, {why}", object.location));
        }
        Ok(())
    }

    fn is_old(&self, object: &ObjectMeta) -> bool {
        let age = self.options.clock.now().as_second().saturating_sub(object.last_modified.timestamp());
        age > i64::try_from(self.options.grace.as_secs()).unwrap_or(i64::MAX)
    }

    /// What is young stays: its manifest may be on its way.
    async fn remove(&self, object: &ObjectMeta, act: bool, report: &mut Report) -> Result<()> {
        report.unnamed += 1;
        report.unnamed_bytes += object.size;
        if !self.is_old(object) {
            return Ok(());
        }
        if !act {
            report.done.push(format!("would remove {}, which no manifest names", object.location));
            report.bytes_freed += object.size;
            return Ok(());
        }
        let removed = self.remove_each(vec![Some(object.location.clone())]).await;
        removed.into_iter().collect::<Result<Vec<()>>>()?;
        report.done.push(format!("removed {}, which no manifest names", object.location));
        report.bytes_freed += object.size;
        Ok(())
    }

    /// What dead processes left in a folder's staging area.
    #[cfg(unix)]
    async fn sweep(&self, report: &mut Report) -> Result<()> {
        if let Some(folder) = &self.folder {
            let freed = folder.sweep().await?;
            if freed > 0 {
                report.done.push(format!("removed {freed} bytes that dead processes left in the staging area"));
                report.bytes_freed += freed;
            }
        }
        Ok(())
    }

    #[cfg(not(unix))]
    async fn sweep(&self, _report: &mut Report) -> Result<()> {
        Ok(())
    }
}

fn place(content: &Path) -> StorageRef {
    StorageRef(content.to_string())
}

/// Sealed contents of backups that have more than one.
pub(super) fn superseded(objects: &[ObjectMeta]) -> Vec<&ObjectMeta> {
    let mut families: HashMap<&str, Vec<&ObjectMeta>> = HashMap::new();
    for object in objects {
        if let Some(family) = layout::family(object.location.as_ref()) {
            families.entry(family).or_default().push(object);
        }
    }
    families.into_values().filter(|of_one| of_one.len() > 1).flatten().collect()
}
