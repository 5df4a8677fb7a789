//! Credentials as a round finds them at its beginning: which one a device logs in with, and the secrets that it stores.

use devicevault_core::inventory::{Credential, Policy};
use devicevault_core::{Device, Error, ErrorKind, Inventory, LoginRef, Result, SecretString, credential};

use crate::instance::Instance;
use crate::wiring;
use crate::wiring::keys::Keys;

/// A snapshot: a credential that is rotated meanwhile is used as it was, by every device of the round.
#[derive(Debug, Default)]
pub(crate) struct SharedLogins {
    credentials: Vec<Credential>,
    policies: Vec<Policy>,
    keys: Keys,
}

impl SharedLogins {
    /// Those of an instance; none, where its inventory keeps none.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub(crate) async fn of(instance: &Instance) -> Result<Self> {
        let or_none = |e: Error| if e.kind() == ErrorKind::Unsupported { Ok(Vec::new()) } else { Err(e) };
        Ok(Self {
            credentials: instance.inventory.credentials().await.or_else(or_none)?,
            policies: match instance.inventory.policies().await {
                Err(e) if e.kind() != ErrorKind::Unsupported => return Err(e),
                policies => policies.unwrap_or_default(),
            },
            keys: instance.keys.clone(),
        })
    }

    /// The credentials of an inventory, without policies: for what no device is.
    ///
    /// # Errors
    /// The inventory cannot be read.
    pub(crate) async fn of_inventory(inventory: &dyn Inventory, keys: &Keys) -> Result<Self> {
        let or_none = |e: Error| if e.kind() == ErrorKind::Unsupported { Ok(Vec::new()) } else { Err(e) };
        let credentials = inventory.credentials().await.or_else(or_none)?;
        Ok(Self { credentials, policies: Vec::new(), keys: keys.clone() })
    }

    /// A device's login, with what it leaves open taken from the credential that is chosen for it.
    ///
    /// # Errors
    /// `Config` when it is not clear which, or it is not there.
    pub(crate) fn of_device(&self, device: &Device) -> Result<LoginRef> {
        let chosen = credential::choose(device, &self.credentials, &self.policies)?;
        Ok(chosen.map_or_else(|| device.login.clone(), |(c, _)| credential::filled(&device.login, c)))
    }

    /// The login of a jump host, with what it leaves open taken from the credential that it names.
    ///
    /// # Errors
    /// `Config` when that is not there.
    pub(crate) fn filled(&self, login: &LoginRef) -> Result<LoginRef> {
        match &login.credential {
            Some(name) => Ok(credential::filled(login, credential::named(&self.credentials, name)?)),
            None => Ok(login.clone()),
        }
    }

    /// A secret that a credential stores.
    ///
    /// # Errors
    /// `Config` where no credential is named; `NotFound`, `KeyUnavailable` or `Corrupt`.
    pub(crate) async fn open(&self, credential: Option<&str>, field: &str) -> Result<SecretString> {
        let Some(name) = credential else {
            let why = "a stored secret is a credential's, and none is named";
            return Err(Error::new(ErrorKind::Config, "open secret", why)
                .hint("store it with `devicevault credential add`, and name that credential"));
        };
        wiring::open_secret(&self.keys, credential::named(&self.credentials, name)?, field).await
    }
}
