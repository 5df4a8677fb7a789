//! `devicevault key add`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{no_keys, settle};
use crate::Exit;
use crate::commands::destination::refuse_new_key_inside;
use crate::context::Context;
use crate::keys::new::NewKeyArgs;
use crate::wiring::keys::make_source;

/// Let one more key open everything: a passphrase that a second person knows, a token, a key for another machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key add --ask-passphrase
  devicevault key add --generate /media/stick/second.key
  devicevault key add --use-command 'pass show devicevault'")]
pub(crate) struct AddArgs {
    #[command(flatten)]
    new: NewKeyArgs,
}

#[derive(Debug, Serialize)]
struct Added {
    id: String,
    from: String,
    wrapped: usize,
    behind: Vec<String>,
}

pub(super) async fn run(context: &Context, args: &AddArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if !instance.keys.is_set_up() {
        return Err(no_keys());
    }
    settle::refuse_taken_over(&instance).await?;
    settle::ready(&instance.keys, |s| !s.retiring).await?;
    let key = args.new.key()?;
    refuse_new_key_inside(&instance, &key).await?;
    let source = make_source(&instance.home, &key, None, &context.given_keys.typed).await?;
    let mut sources = instance.keys.sources().clone();
    if sources.keys.iter().any(|k| k.id == source.id) {
        return Err(Error::new(ErrorKind::AlreadyExists, "add key", "it is one of this home's keys already")
            .with("key", &source.id));
    }
    instance.keys.never_retired(&source.id)?;
    let (id, from) = (source.id.clone(), source.from.describe());
    sources.keys.push(source);
    sources.write(&instance.home)?;
    let settled = settle::settle(context, &instance, None).await?;
    if context.ui.is_json() {
        let behind = settled.behind.iter().map(|(name, _)| name.clone()).collect();
        context.ui.json(&Added { id, from, wrapped: settled.changed, behind })?;
        return Ok(Exit::of_parts(1, settled.behind.len()));
    }
    context.ui.note(&format!("key {id} ({from}) opens everything from now on"));
    Ok(settle::tell(context, &settled))
}
