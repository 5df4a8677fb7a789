//! `devicevault credential rotate`

use clap::Args;
use devicevault_core::Result;

use super::given::{GivenArgs, typed};
use super::show;
use super::{All, put};
use crate::Exit;
use crate::context::Context;
use crate::ui::human;

/// Replace secrets of a credential. What is not given stays; a backup that is under way ends with the old ones.
///
/// Without an option, every stored secret that a person can type is asked for, twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential rotate switches
  devicevault credential rotate switches --ask-enable
  devicevault credential rotate linux --key-file ~/.ssh/new --store
  devicevault credential rotate edge --password-stdin < new-password")]
pub(crate) struct RotateArgs {
    /// What it is called
    name: String,
    #[command(flatten)]
    given: GivenArgs,
}

pub(super) async fn run(context: &Context, args: RotateArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let all = All::of(&instance).await?;
    let mut credential = all.named(&args.name)?.clone();
    let typed = typed(&credential.login);
    let ask = if typed.is_empty() { vec!["password"] } else { typed };
    args.given.apply(context, &instance, &mut credential, &ask).await?;
    credential.rotated_at = context.clock().now();
    put(context, &instance, &mut credential, Some(all.named(&args.name)?)).await?;
    let users = all.users(&credential);
    if context.ui.is_json() {
        context.ui.json(&show::Shown::of(&credential, users))?;
    } else {
        context.ui.note(&format!("rotated {}; it has {}", credential.name, human::count(users.len(), "user")));
    }
    Ok(Exit::Done)
}
