//! Which credential a device logs in with, and who uses one.
//!
//! A device's own fields come first. What they leave open is taken from one credential: the one that the device names;
//! else, for a device that names nothing to log in with, the one of its site, of a policy that has it, or the default
//! one. Credentials are not mixed, and a device that says itself how it is logged in to is offered none that was not
//! named for it.

use std::collections::BTreeSet;

use crate::inventory::{Credential, Policy};
use crate::{Device, Error, ErrorKind, LoginRef, Result};

/// Why a credential is a device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because<'a> {
    /// The device names it.
    Device,
    /// It is for the device's site.
    Site(&'a str),
    /// A policy that has the device names it.
    Policy(&'a str),
    /// It is for devices for which nothing else is named.
    Default,
}

/// Chooses the credential of a device; `None`: there is none for it.
///
/// # Errors
/// `Config` when one is named that is not there, or two are for it with equal right.
pub fn choose<'a>(
    device: &'a Device,
    credentials: &'a [Credential],
    policies: &'a [Policy],
) -> Result<Option<(&'a Credential, Because<'a>)>> {
    if let Some(name) = &device.login.credential {
        return named(credentials, name).map(|c| Some((c, Because::Device)));
    }
    if device.login.proves() {
        return Ok(None);
    }
    if let Some(site) = &device.site {
        let of_site = credentials.iter().filter(|c| c.sites.contains(site));
        if let Some(found) = only(of_site, &format!("for the site {}", site.escape_debug()))? {
            return Ok(Some((found, Because::Site(site))));
        }
    }
    let in_force = policies.iter().filter(|p| p.enabled && p.devices.matches(device));
    let naming: Vec<_> = in_force.filter_map(|p| Some((p, p.credential.as_deref()?))).collect();
    let wanted: BTreeSet<&str> = naming.iter().map(|(_, name)| *name).collect();
    if let Some((policy, name)) = naming.first() {
        if wanted.len() > 1 {
            return Err(ambiguous(&wanted.into_iter().collect::<Vec<_>>(), "of policies that have this device"));
        }
        return named(credentials, name).map(|c| Some((c, Because::Policy(&policy.name))));
    }
    let default = only(credentials.iter().filter(|c| c.default), "the default")?;
    Ok(default.map(|c| (c, Because::Default)))
}

/// The credential of this name.
///
/// # Errors
/// `Config` when there is none.
pub fn named<'a>(credentials: &'a [Credential], name: &str) -> Result<&'a Credential> {
    credentials.iter().find(|c| c.name == name).ok_or_else(|| {
        Error::new(ErrorKind::Config, "find credential", "there is none of this name")
            .with("credential", name.escape_debug())
            .hint("`devicevault credential list` shows all")
    })
}

fn only<'a>(mut found: impl Iterator<Item = &'a Credential>, whose: &str) -> Result<Option<&'a Credential>> {
    let first = found.next();
    match (first, found.next()) {
        (Some(first), Some(second)) => Err(ambiguous(&[&first.name, &second.name], whose)),
        _ => Ok(first),
    }
}

fn ambiguous(names: &[&str], whose: &str) -> Error {
    let names: Vec<_> = names.iter().map(|n| n.escape_debug().to_string()).collect();
    Error::new(ErrorKind::Config, "choose credential", format!("two are {whose}: {}", names.join(" and ")))
        .hint("name one on the device")
}

/// A login with what it leaves open taken from a credential. What proves who somebody is, a password, a key or an agent,
/// is taken whole or not at all.
#[must_use]
pub fn filled(own: &LoginRef, credential: &Credential) -> LoginRef {
    let (mut login, from) = (own.clone(), &credential.login);
    login.credential = Some(credential.name.clone());
    if login.username.is_none() {
        login.username.clone_from(&from.username);
    }
    if login.password.is_none() && login.private_key.is_none() && !login.agent {
        login.password.clone_from(&from.password);
        login.private_key.clone_from(&from.private_key);
        login.passphrase.clone_from(&from.passphrase);
        login.certificate.clone_from(&from.certificate);
        login.agent = from.agent;
        login.agent_keys.clone_from(&from.agent_keys);
    }
    if login.enable.is_none() {
        login.enable.clone_from(&from.enable);
        if login.enable_username.is_none() {
            login.enable_username.clone_from(&from.enable_username);
        }
    }
    login
}

/// Who uses a credential, as people call them: `device core-rtr1`, `policy daily`. Beside those that name it these are
/// the devices that it is chosen for, by their site or as the default.
#[must_use]
pub fn users(
    credential: &Credential,
    credentials: &[Credential],
    devices: &[Device],
    policies: &[Policy],
) -> Vec<String> {
    let name = Some(credential.name.as_str());
    let mut all: Vec<String> = Vec::new();
    for device in devices {
        let told = |how: &str| format!("device {}{how}", device.name.escape_debug());
        let chosen = || choose(device, credentials, policies).ok().flatten();
        if device.login.credential.as_deref() == name {
            all.push(told(""));
        } else if device.jump.iter().any(|h| h.login.credential.as_deref() == name) {
            all.push(told(" (a jump host)"));
        } else if let Some((_, because)) = chosen().filter(|(c, _)| c.name == credential.name) {
            match because {
                Because::Site(_) => all.push(told(" (its site)")),
                Because::Default => all.push(told(" (the default)")),
                Because::Device | Because::Policy(_) => {}
            }
        }
    }
    let naming = policies.iter().filter(|p| p.credential.as_deref() == name);
    all.extend(naming.map(|p| format!("policy {}", p.name.escape_debug())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SecretRef, Timestamp};

    fn credential(name: &str) -> Credential {
        let stored = |field: &str| Some(SecretRef::Stored(field.to_owned()));
        let login = LoginRef {
            username: Some(format!("user-of-{name}")),
            password: stored("password"),
            enable: stored("enable"),
            ..LoginRef::default()
        };
        Credential::new(name, login, Timestamp::UNIX_EPOCH)
    }

    fn device() -> Device {
        let mut device = Device::new("d", "r1", "192.0.2.1", "frr");
        device.site = Some("zurich".to_owned());
        device
    }

    fn chosen(device: &Device, credentials: &[Credential], policies: &[Policy]) -> Result<Option<String>> {
        choose(device, credentials, policies).map(|c| c.map(|(c, _)| c.name.clone()))
    }

    #[test]
    fn the_nearest_credential_is_chosen() {
        let mut all = vec![credential("own"), credential("site"), credential("policy"), credential("default")];
        all[1].sites.insert("zurich".to_owned());
        all[3].default = true;
        let mut policy = Policy::new("daily");
        policy.credential = Some("policy".to_owned());
        let mut policies = vec![Policy::new("another"), policy];
        let mut device = device();
        let is = |device: &Device, all: &[Credential], policies: &[Policy], want: Option<&str>| {
            assert_eq!(chosen(device, all, policies).unwrap().as_deref(), want);
        };
        device.login.credential = Some("own".to_owned());
        is(&device, &all, &policies, Some("own"));
        device.login.credential = None;
        is(&device, &all, &policies, Some("site"));
        device.site = None;
        is(&device, &all, &policies, Some("policy"));
        policies[1].enabled = false;
        is(&device, &all, &policies, Some("default"));
        all[3].default = false;
        is(&device, &all, &policies, None);
        all[3].default = true;
        device.login.username = Some("me".to_owned());
        is(&device, &all, &policies, Some("default"));
        device.login.password = Some(SecretRef::Env("PW".to_owned()));
        is(&device, &all, &policies, None);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let mut all = vec![credential("a"), credential("b")];
        let mut device = device();
        device.login.credential = Some("nobody".to_owned());
        assert_eq!(chosen(&device, &all, &[]).unwrap_err().kind(), ErrorKind::Config);
        device.login.credential = None;
        for c in &mut all {
            c.sites.insert("zurich".to_owned());
        }
        assert!(chosen(&device, &all, &[]).unwrap_err().message().contains("a and b"));
        device.site = None;
        let policies = ["a", "b"].map(|name| {
            let mut policy = Policy::new(name);
            policy.credential = Some(name.to_owned());
            policy
        });
        assert!(chosen(&device, &all, &policies).unwrap_err().message().contains("a and b"));
    }

    #[test]
    fn own_fields_come_first_and_what_proves_is_not_mixed() {
        let shared = credential("shared");
        let mut own = LoginRef { username: Some("me".to_owned()), ..LoginRef::default() };
        let login = filled(&own, &shared);
        assert_eq!(login.username.as_deref(), Some("me"));
        assert_eq!(login.password, shared.login.password);
        own.private_key = Some(SecretRef::File("key".to_owned()));
        let login = filled(&own, &shared);
        assert_eq!((login.password, login.enable), (None, shared.login.enable.clone()));
    }

    #[test]
    fn all_who_use_one_are_told() {
        let mut all = [credential("shared"), credential("other")];
        all[0].sites.insert("zurich".to_owned());
        let mut named = device();
        named.name = "r2".to_owned();
        named.login.credential = Some("shared".to_owned());
        let mut behind = device();
        behind.name = "r3".to_owned();
        behind.login.password = Some(SecretRef::Env("PW".to_owned()));
        let mut hop = crate::Hop::new("bastion", None);
        hop.login.credential = Some("shared".to_owned());
        behind.jump.push(hop);
        let devices = [device(), named, behind];
        let mut policy = Policy::new("daily");
        policy.credential = Some("shared".to_owned());
        let of = |c: &Credential| users(c, &all, &devices, std::slice::from_ref(&policy));
        assert_eq!(of(&all[0]), ["device r1 (its site)", "device r2", "device r3 (a jump host)", "policy daily"]);
        assert_eq!(of(&all[1]), Vec::<String>::new());
    }
}
