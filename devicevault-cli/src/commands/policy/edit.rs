//! `devicevault policy edit`

use clap::{Args, ValueEnum};
use devicevault_core::Result;
use devicevault_core::inventory::Policy;

use super::fields::{PolicyArgs, check_here};
use crate::Exit;
use crate::context::Context;

/// Change a policy. A list that is given takes the place of the one before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault policy edit core --to store --to offsite --to git
  devicevault policy edit core --clear artefacts --clear site
  devicevault policy edit core --enabled no")]
pub(crate) struct EditArgs {
    /// What it is called
    name: String,
    #[command(flatten)]
    fields: PolicyArgs,
    /// Take what was set of this away, before anything else; may be given several times
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Field>,
    /// Whether it is in force: if not, its devices go by other policies, or by the default
    #[arg(long, value_name = "YES|NO", value_parser = ["yes", "no"])]
    enabled: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Devices,
    Site,
    Group,
    Tags,
    Platform,
    Artefacts,
    Destinations,
    Credential,
    Metadata,
    Options,
    WithoutOriginal,
}

impl Field {
    fn clear(self, p: &mut Policy) {
        match self {
            Self::Devices => p.devices.names.clear(),
            Self::Site => p.devices.site = None,
            Self::Group => p.devices.group = None,
            Self::Tags => p.devices.tags.clear(),
            Self::Platform => p.devices.platform = None,
            Self::Artefacts => p.artefacts.clear(),
            Self::Destinations => p.destinations.clear(),
            Self::Credential => p.credential = None,
            Self::Metadata => p.metadata.clear(),
            Self::Options => p.options.clear(),
            Self::WithoutOriginal => p.without_original = false,
        }
    }
}

pub(super) async fn run(context: &Context, args: EditArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let mut policy = instance.policy(&args.name).await?;
    args.clear.iter().for_each(|field| field.clear(&mut policy));
    args.fields.apply(&mut policy);
    policy.enabled = args.enabled.map_or(policy.enabled, |word| word == "yes");
    check_here(context, &instance, &policy).await?;
    instance.inventory.put_policy(&policy).await?;
    if context.ui.is_json() {
        context.ui.json(&policy)?;
    } else {
        context.ui.note(&format!("changed {}", policy.name));
    }
    Ok(Exit::Done)
}
