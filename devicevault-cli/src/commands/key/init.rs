//! `devicevault key init`

use std::path::{Path, PathBuf};

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};

use super::{export, take_over};
use crate::Exit;
use crate::commands::destination::refuse_new_key_inside;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::new::{NewKey, NewKeyArgs};
use crate::keys::sources::KeySources;
use crate::wiring::keys::{KEK_FILE, Keys, make_source};

/// Make the first keys of a home that has none. `devicevault init` does so by itself, and `devicevault catalog rebuild` with a kit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key init                             a new key in kek.key of the home
  devicevault key init --ask-passphrase
  devicevault key init --token backup --token-key kek --token-module /usr/lib/softhsm/libsofthsm2.so --pin-file pin")]
pub(crate) struct InitArgs {
    #[command(flatten)]
    new: NewKeyArgs,
}

pub(super) async fn run(context: &Context, args: &InitArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    if !instance.keys.epochs().is_empty() {
        return Err(Error::new(ErrorKind::AlreadyExists, "make keys", "this home has keys already")
            .hint("`devicevault key add` lets one more key open them, `devicevault key rotate` replaces them"));
    }
    let key = args.new.key()?;
    refuse_new_key_inside(&instance, &key).await?;
    make(context, &instance.home, &key).await?;
    context.ui.note("a destination with the option seal = \"yes\" is sealed with them from now on");
    Ok(Exit::Done)
}

/// Makes a home's first keys, lets them open what sealed destinations hold, as far as a key at hand does, and writes the
/// kit, all of which is told. Where the kit is; `None` where every key stays in its token. Whoever calls it holds the lock.
///
/// # Errors
/// A key cannot be had, or the home cannot be written.
pub(crate) async fn make(context: &Context, home: &Path, key: &NewKey) -> Result<Option<PathBuf>> {
    let typed = &context.given_keys.typed;
    if !KeySources::exist(home) {
        let sources = KeySources { keys: vec![make_source(home, key, Some(KEK_FILE), typed).await?] };
        let instance = Instance::open(context, home).await?;
        // The kit first: there is no moment in which a key seals what no kit opens.
        match export::write_for(context, &instance, &instance.keys.with_sources(&sources), None).await {
            Err(e) if e.kind() != ErrorKind::Unsupported => return Err(e),
            _ => sources.write(home)?,
        }
    }
    Keys::create(home, key, typed, context.clock().now()).await?;
    let instance = Instance::open(context, home).await?;
    let adopted = take_over(context, &instance).await?;
    let kit = match export::write(context, &instance, None).await {
        Ok(kit) => kit,
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            context.ui.warn(&format!("{}; {}", e.message(), e.hint_text().unwrap_or_default()));
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    context.ui.note(&export::advice(&kit));
    if adopted > 0 {
        context.ui.note("an older kit opens what was stored until now, and nothing that is stored from now on");
    }
    Ok(Some(kit))
}
