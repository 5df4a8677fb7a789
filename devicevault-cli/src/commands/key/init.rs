//! `devicevault key init`

use clap::Args;
use devicevault_core::{Error, ErrorKind, Result};

use super::export;
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::new::NewKeyArgs;
use crate::wiring::keys::Keys;

/// Make the first keys of a home that has none. `devicevault init` does so by itself.
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
    Keys::create(&instance.home, &args.new.key()?, context.clock().now()).await?;
    let instance = Instance::open(context, &instance.home).await?;
    match export::write(context, &instance, None).await {
        Ok(kit) => context.ui.note(&export::advice(&kit)),
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            context.ui.warn(&format!("{}; {}", e.message(), e.hint_text().unwrap_or_default()));
        }
        Err(e) => return Err(e),
    }
    context.ui.note("a destination with the option seal = \"yes\" is sealed with them from now on");
    Ok(Exit::Done)
}
