//! Git destinations pushed to their remotes, and how those stand.

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorRecord, Result, Timestamp};
use devicevault_storage::git::PushReport;
use futures::{StreamExt as _, stream};
use serde::Serialize;

use crate::context::Context;
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::wiring;

/// Remotes that are pushed to at a time.
const AT_ONCE: usize = 4;

/// What became of a push.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) destination: String,
    pub(crate) remote: String,
    pub(crate) done: Result<PushReport>,
}

/// How a remote stands as of the last push, as lists and answers tell it. The names are stable.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) url: String,
    pub(crate) pushed_at: Option<Timestamp>,
    pub(crate) failing_since: Option<Timestamp>,
    pub(crate) error: Option<ErrorRecord>,
}

/// Pushes these destinations, those without a remote left out.
pub(crate) async fn push(instance: &Instance, configs: Vec<DestinationConfig>) -> Vec<Push> {
    let due = configs.into_iter().filter(wiring::has_remote);
    let each = due.map(|config| async move {
        let pushed = async { wiring::repository(instance.backend_settings(&config, false)).await?.push().await };
        let done = pushed.await.map_err(|e: Error| e.with("destination", &config.name));
        let remote = config.options.get("remote").cloned().unwrap_or_default();
        Push { destination: config.name, remote, done }
    });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

/// Pushes what is pushed at the end of a round. What goes wrong is told, and no backup fails of it: the next push catches
/// up.
pub(crate) async fn after_round(context: &Context, instance: &Instance) {
    let work = async {
        let configs = instance.inventory.destinations().await?;
        let due = configs.into_iter().filter(|d| d.enabled && wiring::is_pushed(d)).collect();
        Ok(push(instance, due).await)
    };
    match cancellable(work).await {
        Ok(pushes) => {
            for p in pushes {
                if let Err(e) = p.done {
                    let why = e.to_record().message;
                    context.ui.warn(&format!("destination {}: stored, but not pushed: {why}", p.destination));
                }
            }
        }
        Err(e) => context.ui.warn(&format!("nothing was pushed to remotes: {}", e.to_record().message)),
    }
}

/// How a destination's remote stands; `None` where it has none, or its repository cannot be looked at.
pub(crate) async fn standing(instance: &Instance, config: &DestinationConfig) -> Option<Standing> {
    if !wiring::has_remote(config) {
        return None;
    }
    let state = wiring::repository(instance.backend_settings(config, false)).await.ok()?.remote_state().await?;
    let (pushed_at, failing_since, error) = (state.pushed_at, state.failing_since, state.error);
    Some(Standing { url: state.url, pushed_at, failing_since, error })
}
