//! `devicevault credential`: logins under a name, shared by devices.

mod add;
mod edit;
mod given;
mod list;
mod remove;
mod rotate;
mod show;
mod test;

use clap::Subcommand;
use devicevault_core::inventory::{Credential, DestinationConfig, Policy, Selector};
use devicevault_core::{Device, Error, ErrorKind, LoginRef, Result, SecretRef};

use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::lock::lock_credentials;
use crate::secrets;
use crate::wiring::keys::Keys;
use crate::wiring::{self, CREDENTIAL};

/// Look after credentials: logins under a name, shared by devices.
///
/// A credential's secrets are kept sealed in the catalog, or found elsewhere: in the environment, a file, or by a
/// command. A device uses the one that it names; else, if it has no login of its own, that of its site, of a policy, or
/// the default one. A secret is never an argument, and never shown.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault credential add switches --user backup --ask-enable
  devicevault credential test switches --device core-sw1
  devicevault device edit core-sw1 --credential switches
  devicevault credential rotate switches")]
pub(crate) enum CredentialCommand {
    /// Add a credential
    Add(Box<add::AddArgs>),
    /// List credentials
    List(list::ListArgs),
    /// Show a credential and who uses it; never its secrets
    Show(show::ShowArgs),
    /// Change what a credential is for
    Edit(edit::EditArgs),
    /// Replace secrets of a credential
    Rotate(Box<rotate::RotateArgs>),
    /// Remove a credential that nothing uses
    Remove(remove::RemoveArgs),
    /// Log in to a device once, and say what happened
    Test(test::TestArgs),
}

pub(crate) async fn run(context: &Context, command: CredentialCommand) -> Result<Exit> {
    match command {
        CredentialCommand::Add(args) => add::run(context, *args).await,
        CredentialCommand::List(args) => list::run(context, args).await,
        CredentialCommand::Show(args) => show::run(context, args).await,
        CredentialCommand::Edit(args) => edit::run(context, args).await,
        CredentialCommand::Rotate(args) => rotate::run(context, *args).await,
        CredentialCommand::Remove(args) => remove::run(context, args).await,
        CredentialCommand::Test(args) => Box::pin(test::run(context, args)).await,
    }
}

/// Everything that has to do with one another: who names which credential.
struct All {
    credentials: Vec<Credential>,
    devices: Vec<Device>,
    policies: Vec<Policy>,
    destinations: Vec<DestinationConfig>,
}

impl All {
    async fn of(instance: &Instance) -> Result<Self> {
        let mut everybody = Selector::default();
        everybody.disabled = true;
        Ok(Self {
            credentials: instance.inventory.credentials().await?,
            devices: instance.inventory.devices(&everybody).await?,
            policies: instance.inventory.policies().await?,
            destinations: instance.inventory.destinations().await?,
        })
    }

    fn named(&self, name: &str) -> Result<&Credential> {
        self.credentials.iter().find(|c| c.name == name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find credential", "there is none of this name")
                .with("credential", name.escape_debug())
                .hint("`devicevault credential list` shows all")
        })
    }

    fn users(&self, credential: &Credential) -> Vec<String> {
        let mut users =
            devicevault_core::credential::users(credential, &self.credentials, &self.devices, &self.policies);
        let naming = self.destinations.iter().filter(|d| d.options.get(CREDENTIAL) == Some(&credential.name));
        users.extend(naming.map(|d| format!("destination {}", d.name.escape_debug())));
        users
    }

    /// Refuses a credential that is for the same as another one.
    fn check_is_alone(&self, new: &Credential) -> Result<()> {
        let taken = |what: String, by: &Credential| {
            Error::new(ErrorKind::AlreadyExists, "store credential", format!("{what} has a credential already"))
                .with("credential", by.name.escape_debug())
                .hint("take it from that one first: `devicevault credential edit`")
        };
        for other in self.credentials.iter().filter(|c| c.name != new.name) {
            if let Some(site) = other.sites.intersection(&new.sites).next() {
                return Err(taken(format!("the site {}", site.escape_debug()), other));
            }
            if other.default && new.default {
                return Err(taken("whatever names none".to_owned(), other));
            }
        }
        Ok(())
    }
}

/// Puts a credential into the catalog that was made of `before` while a person may have typed for long. Its secrets are sealed
/// under the key that is the newest by now: a rotation of data may have gone over the credentials since.
///
/// # Errors
/// `Conflict` where it was changed meanwhile; no key can be had.
async fn put(
    context: &Context,
    instance: &Instance,
    credential: &mut Credential,
    before: Option<&Credential>,
) -> Result<()> {
    let _alone = lock_credentials(&instance.home).await?;
    let all = instance.inventory.credentials().await?;
    if all.iter().find(|c| c.name == credential.name) != before {
        let why = "it was changed by another command meanwhile";
        return Err(Error::new(ErrorKind::Conflict, "store credential", why)
            .with("credential", credential.name.escape_debug())
            .hint("run this again"));
    }
    if credential.sealed.is_some() {
        let keys = Keys::open(Some(&instance.home), &context.given_keys).await?;
        wiring::reseal_secrets(&keys, credential).await?;
    }
    instance.inventory.put_credential(credential).await
}

/// Where each secret of a login is, for people: never the secret.
fn places(login: &LoginRef) -> Vec<(&'static str, String)> {
    let place = |at: &Option<SecretRef>| {
        at.as_ref()
            .map(|at| if let SecretRef::Stored(_) = at { "stored, sealed".to_owned() } else { secrets::place(at) })
    };
    let agent = login.agent.then(|| match login.agent_keys.len() {
        0 => "its first keys".to_owned(),
        _ => login.agent_keys.iter().cloned().collect::<Vec<_>>().join(", "),
    });
    let all = [
        ("password", place(&login.password)),
        ("private key", place(&login.private_key)),
        ("passphrase", place(&login.passphrase)),
        ("certificate", place(&login.certificate)),
        ("SSH agent", agent),
        ("enable user", login.enable_username.clone()),
        ("enable secret", place(&login.enable)),
    ];
    all.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}
