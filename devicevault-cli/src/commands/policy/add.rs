//! `devicevault policy add`

use clap::Args;
use devicevault_core::inventory::Policy;
use devicevault_core::{Error, ErrorKind, Result};

use super::fields::{PolicyArgs, check_here};
use crate::Exit;
use crate::context::Context;

/// Add a policy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault policy add core --tag core --to store --to offsite
  devicevault policy add texts --platform cisco_ios --artefact running-config --option retention.last=30
  devicevault policy add read-only --site lab --to git --without-original")]
pub(crate) struct AddArgs {
    /// What it is to be called
    name: String,
    #[command(flatten)]
    fields: PolicyArgs,
    /// Not in force yet
    #[arg(long)]
    disabled: bool,
}

pub(super) async fn run(context: &Context, args: AddArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if instance.policies().await?.iter().any(|p| p.name == args.name) {
        return Err(Error::new(ErrorKind::AlreadyExists, "add policy", "there is one of this name already")
            .with("name", args.name.escape_debug())
            .hint("`devicevault policy edit` changes it"));
    }
    let mut policy = Policy::new(&args.name);
    args.fields.apply(&mut policy);
    policy.enabled = !args.disabled;
    check_here(context, &instance, &policy).await?;
    instance.inventory.put_policy(&policy).await?;
    if context.ui.is_json() {
        context.ui.json(&policy)?;
    } else {
        context.ui.note(&format!("added {}", policy.name));
    }
    Ok(Exit::Done)
}
