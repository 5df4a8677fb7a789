//! Options that say which devices and artefacts are meant.

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::Result;
use devicevault_core::engine::Selection;
use devicevault_core::inventory::Selector;

/// Which devices.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which devices")]
pub(crate) struct SelectorArgs {
    /// At this site
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// In this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// With this tag; of several, with all of them
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Of this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

impl SelectorArgs {
    pub(crate) fn selector(&self) -> Selector {
        let mut selector = Selector::default();
        selector.site.clone_from(&self.site);
        selector.group.clone_from(&self.group);
        selector.tags = self.tags.iter().cloned().collect();
        selector.platform.clone_from(&self.platform);
        selector
    }
}

/// Which artefacts; none named means all.
///
/// # Errors
/// `Config` for what cannot be an artefact's name.
pub(crate) fn artefacts(names: &[String]) -> Result<Selection> {
    if names.is_empty() {
        return Ok(Selection::All);
    }
    let names: BTreeSet<String> = names.iter().cloned().collect();
    names.iter().try_for_each(|n| devicevault_core::check_artefact_name(n))?;
    Ok(Selection::Only(names))
}
