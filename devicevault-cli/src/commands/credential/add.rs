//! `devicevault credential add`

use clap::Args;
use devicevault_core::inventory::Credential;
use devicevault_core::{Error, ErrorKind, LoginRef, Result};

use super::given::GivenArgs;
use super::show;
use super::{All, put};
use crate::Exit;
use crate::context::Context;

/// Add a credential.
///
/// Its password is asked for, twice, and kept sealed in the catalog, unless the options say where it is found.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential add switches --user backup --ask-password --ask-enable
  devicevault credential add zurich --user backup --password-command 'pass show net/zurich' --site zurich
  devicevault credential add linux --user backup --key-file ~/.ssh/backup --store --ask-passphrase --default
  vault read -field=password net/edge | devicevault credential add edge --user backup --password-stdin

With --store, what the options point to is read now and kept; without, where it is found is kept. A copy of the catalog
opens no secret without the keys of the home (see `devicevault key`).")]
pub(crate) struct AddArgs {
    /// What it is called
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Devices of this site use it that say nothing else; may be given several times
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// Devices use it for which nothing else is named
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    given: GivenArgs,
}

pub(super) async fn run(context: &Context, args: AddArgs) -> Result<Exit> {
    check_name(&args.name)?;
    let instance = context.instance().await?;
    let all = All::of(&instance).await?;
    if all.named(&args.name).is_ok() {
        return Err(Error::new(ErrorKind::AlreadyExists, "add credential", "there is one of this name")
            .with("credential", &args.name)
            .hint("replace its secrets with `devicevault credential rotate`, or choose another name"));
    }
    let mut credential = Credential::new(&args.name, LoginRef::default(), context.clock().now());
    credential.description = args.description;
    credential.sites = args.sites.into_iter().collect();
    credential.default = args.default;
    all.check_is_alone(&credential)?;
    args.given.apply(context, &instance, &mut credential, &["password"]).await?;
    put(context, &instance, &mut credential, None).await?;
    if context.ui.is_json() {
        context.ui.json(&show::Shown::of(&credential, Vec::new()))?;
    } else {
        context.ui.note(&format!("added {}; try it with `devicevault credential test {0} --device NAME`", args.name));
    }
    Ok(Exit::Done)
}

/// A name that can stand in a file, a list of jump hosts and a table.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_alphanumeric() || "-_.@+".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(good) {
        return Err(Error::new(ErrorKind::Config, "add credential", "this is no name of a credential")
            .with("name", name.escape_debug())
            .hint("use letters, digits and -_.@+, at most 128 of them"));
    }
    Ok(())
}
