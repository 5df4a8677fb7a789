//! `devicevault credential remove`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::All;
use crate::Exit;
use crate::context::Context;
use crate::keys::lock::lock_credentials;

/// So many users are named.
const TOLD: usize = 10;

/// Remove a credential that nothing uses.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential remove old-switches")]
pub(crate) struct RemoveArgs {
    /// What it is called
    name: String,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: String,
}

pub(super) async fn run(context: &Context, args: RemoveArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let _alone = lock_credentials(&instance.home).await?;
    let all = All::of(&instance).await?;
    let users = all.users(all.named(&args.name)?);
    if !users.is_empty() {
        let more = users.len().saturating_sub(TOLD);
        let mut told = users.into_iter().take(TOLD).collect::<Vec<_>>().join(", ");
        if more > 0 {
            told += &format!(" and {more} more");
        }
        return Err(Error::new(ErrorKind::Conflict, "remove credential", format!("it is in use by {told}"))
            .with("credential", args.name.escape_debug())
            .hint("name another one there first, or none: `devicevault device edit NAME --credential OTHER`"));
    }
    instance.inventory.remove_credential(&args.name).await?;
    if context.ui.is_json() {
        context.ui.json(&Removed { removed: args.name })?;
    } else {
        context.ui.note(&format!("removed {}", args.name));
    }
    Ok(Exit::Done)
}
