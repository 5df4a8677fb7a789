//! `devicevault credential edit`

use clap::{Args, ValueEnum};
use devicevault_core::Result;

use super::All;
use super::show;
use crate::Exit;
use crate::context::Context;
use crate::keys::lock::lock_credentials;

/// Change what a credential is for: what is given is set, the rest stays. Secrets are changed by `rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential edit zurich --site zurich --site winterthur
  devicevault credential edit switches --clear default --description 'access switches'")]
pub(crate) struct EditArgs {
    /// What it is called
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Devices of this site, too, use it that say nothing else; may be given several times
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// Devices use it for which nothing else is named
    #[arg(long)]
    default: bool,
    /// Empty a field before the others are set; may be given several times
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Clear>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clear {
    Description,
    Sites,
    Default,
}

pub(super) async fn run(context: &Context, args: EditArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let _alone = lock_credentials(&instance.home).await?;
    let all = All::of(&instance).await?;
    let mut credential = all.named(&args.name)?.clone();
    for field in &args.clear {
        match field {
            Clear::Description => credential.description = None,
            Clear::Sites => credential.sites.clear(),
            Clear::Default => credential.default = false,
        }
    }
    credential.description = args.description.or(credential.description);
    credential.sites.extend(args.sites);
    credential.default |= args.default;
    all.check_is_alone(&credential)?;
    instance.inventory.put_credential(&credential).await?;
    if context.ui.is_json() {
        context.ui.json(&show::Shown::of(&credential, all.users(&credential)))?;
    } else {
        context.ui.note(&format!("changed {}", credential.name));
    }
    Ok(Exit::Done)
}
