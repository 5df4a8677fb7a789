//! The collectors that a command can use: those that the program ships and those that were registered with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use devicevault_core::{Collector, Error, ErrorKind, Result};

use crate::context::Context;
use crate::instance::{KNOWN_HOSTS, PLATFORMS};
use crate::wiring;

/// Collectors by their keys. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Collectors(Arc<BTreeMap<String, Arc<dyn Collector>>>);

impl Collectors {
    /// Those of an instance in this folder: platform files of the user's own, and host keys, are found there.
    ///
    /// # Errors
    /// A platform file of the user's own is wrong.
    pub(crate) fn of_home(context: &Context, home: &Path) -> Result<Self> {
        let own = home.join(PLATFORMS);
        let platforms = context.settings.platforms_dir().map(Path::to_owned).or_else(|| own.is_dir().then_some(own));
        let shipped = wiring::shipped_collectors(platforms.as_deref(), &home.join(KNOWN_HOSTS))?;
        let mut all: BTreeMap<_, _> = shipped.into_iter().map(|c| (c.info().key.clone(), c)).collect();
        // A collector that was registered goes before the shipped one of its key.
        all.extend(context.parts.collectors.iter().map(|(k, c)| (k.clone(), c.clone())));
        Ok(Self(Arc::new(all)))
    }

    /// The collector of this key.
    ///
    /// # Errors
    /// `Config` that lists those there are.
    pub(crate) fn get(&self, key: &str) -> Result<Arc<dyn Collector>> {
        self.0.get(key).cloned().ok_or_else(|| {
            let known: Vec<_> = self.0.keys().map(String::as_str).collect();
            Error::new(ErrorKind::Config, "find collector", "there is no such collector")
                .with("collector", key.escape_debug())
                .hint(format!("this program has: {}", known.join(", ")))
        })
    }
}
