//! Writing the files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use devicevault_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::{Defined, Definitions, fields};
use crate::files;

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One table each
    Toml,
    /// The same as JSON
    Json,
}

/// Writes a file of each kind into a folder, which is made where it is missing. Files of these names are replaced.
///
/// # Errors
/// They cannot be written.
pub(crate) fn write(all: &Definitions, folder: &Path, format: Format) -> Result<Vec<PathBuf>> {
    files::make_private_folder(folder)?;
    let mut written = Vec::new();
    let kinds = [
        ("credentials", text(&all.credentials, format)?),
        ("destinations", text(&all.destinations, format)?),
        ("devices", text(&all.devices, format)?),
        ("policies", text(&all.policies, format)?),
    ];
    for (name, text) in kinds {
        let extension = if format == Format::Toml { "toml" } else { "json" };
        let path = folder.join(format!("{name}.{extension}"));
        files::replace_private(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

/// The text of a file.
fn text<T: Defined>(all: &[T], format: Format) -> Result<String> {
    let tables: Vec<_> = all.iter().map(fields).collect();
    let broken = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, "write definitions", "a definition cannot be written").because(e)
    };
    if format == Format::Json {
        let whole =
            Value::Object(Map::from_iter([(T::KIND.to_owned(), tables.into_iter().map(Value::Object).collect())]));
        return serde_json::to_string_pretty(&whole).map(|text| text + "\n").map_err(|e| broken(e.into()));
    }
    let mut text = String::new();
    if tables.is_empty() {
        // A list that is empty says that there are to be none: `apply --prune` knows.
        text = format!("{} = []\n", T::KIND);
    }
    for (i, table) in tables.into_iter().enumerate() {
        let gap = if i == 0 { "" } else { "\n" };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{gap}[[{}]]", T::KIND);
        for (key, value) in in_order(table) {
            let value = toml::Value::try_from(value).map_err(|e| broken(e.into()))?;
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    Ok(text)
}

/// What a person looks for stands first, the rest by name.
fn in_order(table: Map<String, Value>) -> Vec<(String, Value)> {
    const FIRST: [&str; 7] = ["name", "id", "host", "port", "platform", "kind", "view"];
    let mut all: Vec<_> = table.into_iter().collect();
    all.sort_by_key(|(key, _)| (FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()), key.clone()));
    all
}

#[cfg(test)]
mod tests {
    use devicevault_core::inventory::{Credential, DestinationConfig, Policy};
    use devicevault_core::{Device, LoginRef, SecretRef, Timestamp, View};
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::option::of;
    use proptest::prelude::*;

    use super::super::read;
    use super::*;

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-zA-Z0-9._-]{0,8}"
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{0,12}", ".{0,6}", Just("\"quoted\" 'too' \\ # = [x]\n\t€".to_owned())]
    }

    fn secret() -> impl Strategy<Value = SecretRef> {
        (0..4, any_text()).prop_map(|(kind, text)| match kind {
            0 => SecretRef::Env(text),
            1 => SecretRef::File(text),
            2 => SecretRef::Command(text),
            _ => SecretRef::Stored(text),
        })
    }

    fn login() -> impl Strategy<Value = LoginRef> {
        (of(any_text()), of(any_text()), of(secret()), of(secret()), of(secret()), of(secret())).prop_map(
            |(credential, username, password, private_key, passphrase, enable)| {
                let mut login = LoginRef::default();
                login.credential = credential;
                login.username = username;
                login.password = password;
                login.private_key = private_key;
                login.passphrase = passphrase;
                login.enable = enable;
                login
            },
        )
    }

    fn device() -> impl Strategy<Value = Device> {
        let options = btree_map(any_text(), any_text(), 0..3);
        let tags = btree_set(any_text(), 0..3);
        (name(), any_text(), of(1u16..), of(any_text()), of(any_text()), (tags, options, login(), any::<bool>()))
            .prop_map(|(name, host, port, site, group, (tags, options, login, enabled))| {
                let mut d = Device::new(format!("id of {name}"), name, host, "cisco_ios");
                (d.port, d.site, d.group, d.tags) = (port, site, group, tags);
                (d.options, d.login, d.enabled) = (options, login, enabled);
                d
            })
    }

    fn destination() -> impl Strategy<Value = DestinationConfig> {
        (name(), any_text(), 0..3usize, btree_map(any_text(), any_text(), 0..4), any::<bool>()).prop_map(
            |(name, kind, view, options, enabled)| {
                let view = [View::Original, View::Clean, View::Redacted][view];
                let mut d = DestinationConfig::new(name, kind, view);
                (d.options, d.enabled) = (options, enabled);
                d
            },
        )
    }

    fn policy() -> impl Strategy<Value = Policy> {
        let sets = (btree_set(any_text(), 0..3), btree_set(any_text(), 0..3), btree_set(any_text(), 0..3));
        let maps = (btree_map(any_text(), any_text(), 0..3), btree_map(any_text(), any_text(), 0..3));
        (name(), sets, maps, of(any_text()), of(any_text()), any::<[bool; 3]>()).prop_map(
            |(name, (names, artefacts, destinations), (metadata, options), site, credential, flags)| {
                let mut p = Policy::new(name);
                (p.devices.names, p.devices.site, p.devices.disabled) = (names, site, flags[2]);
                (p.artefacts, p.destinations, p.credential) = (artefacts, destinations, credential);
                (p.metadata, p.options, p.enabled, p.without_original) = (metadata, options, flags[0], flags[1]);
                p
            },
        )
    }

    fn credential() -> impl Strategy<Value = Credential> {
        (name(), login(), of(any_text()), btree_set(any_text(), 0..3), any::<bool>()).prop_map(
            |(name, login, description, sites, default)| {
                let mut c = Credential::new(name, login, Timestamp::UNIX_EPOCH);
                (c.description, c.sites, c.default) = (description, sites, default);
                c
            },
        )
    }

    fn by_name<T: super::Defined>(mut all: Vec<T>) -> Vec<T> {
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all.dedup_by(|a, b| a.name() == b.name());
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn what_is_written_reads_back_exactly(
            devices in vec(device(), 0..4), destinations in vec(destination(), 0..4),
            policies in vec(policy(), 0..4), credentials in vec(credential(), 0..4), json in any::<bool>(),
        ) {
            let all = Definitions {
                devices: by_name(devices), destinations: by_name(destinations),
                policies: by_name(policies), credentials: by_name(credentials),
            };
            let folder = tempfile::tempdir().unwrap();
            write(&all, folder.path(), if json { Format::Json } else { Format::Toml }).unwrap();
            // Into an empty home.
            let wanted = read::read(folder.path(), &Definitions::default(), Timestamp::UNIX_EPOCH).unwrap();
            wanted.refuse_twice().unwrap();
            prop_assert_eq!(&values(wanted.devices), &all.devices);
            prop_assert_eq!(&values(wanted.destinations), &all.destinations);
            prop_assert_eq!(&values(wanted.policies), &all.policies);
            prop_assert_eq!(&values(wanted.credentials), &all.credentials);
        }
    }

    fn values<T>(wanted: Option<Vec<read::Located<T>>>) -> Vec<T> {
        wanted.unwrap().into_iter().map(|one| one.value).collect()
    }

    #[test]
    fn a_file_is_pleasant_to_read() {
        let mut d = Device::new("1", "core-rtr1", "192.0.2.1", "cisco_ios");
        d.login.username = Some("backup".to_owned());
        d.login.password = Some(SecretRef::Env("PW".to_owned()));
        assert_eq!(
            text(&[d], Format::Toml).unwrap(),
            "[[device]]\nname = \"core-rtr1\"\nid = \"1\"\nhost = \"192.0.2.1\"\nplatform = \"cisco_ios\"\n\
             collector = \"cli\"\nenabled = true\nlogin = { password = { env = \"PW\" }, username = \"backup\" }\n"
        );
        assert_eq!(text::<Policy>(&[], Format::Toml).unwrap(), "policy = []\n");
    }
}
