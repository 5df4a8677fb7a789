//! `devicevault system completions`

use clap::Args;
use clap_complete::Shell;
use devicevault_core::Result;

use super::commands;
use crate::Exit;
use crate::context::Context;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault system completions bash > ~/.local/share/bash-completion/completions/devicevault
  devicevault system completions zsh > ~/.zfunc/_devicevault        # a folder of $fpath
  devicevault system completions fish > ~/.config/fish/completions/devicevault.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(context: &Context, args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut commands(), "devicevault", &mut script);
    context.ui.raw(&script)?;
    Ok(Exit::Done)
}
