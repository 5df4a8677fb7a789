//! `keys.toml` in a home: where the keys come from that open its epoch keys. It holds no secret.

use std::io;
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result, SecretRef};
use devicevault_storage::regular;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::secrets::place;

/// Name of the file.
pub(crate) const SOURCES: &str = "keys.toml";

const HEAD: &str = "\
# Where the keys come from that open the epoch keys in keys/. There is no secret in this file.
# `devicevault key` writes it.

";

/// All sources of a home, the ones that are tried first before the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySources {
    #[serde(default, rename = "key")]
    pub(crate) keys: Vec<KeySource>,
}

/// One key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeySource {
    /// The key's id.
    pub(crate) id: String,
    /// It still opens what it has wrapped, wraps nothing new, and goes as soon as no epoch key needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) retiring: bool,
    #[serde(flatten)]
    pub(crate) from: KeyFrom,
}

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "lowercase")]
pub(crate) enum KeyFrom {
    /// 64 hexadecimal digits; a file's path begins at the home.
    Key { at: SecretRef },
    /// Argon2id of a passphrase; without a place it is asked for.
    Passphrase {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<SecretRef>,
        salt: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    /// A key in a token, by PKCS#11; without a place the PIN is asked for.
    Token {
        module: PathBuf,
        token: String,
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pin: Option<SecretRef>,
        canary: String,
    },
}

impl KeyFrom {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Key { at } => place(at),
            Self::Passphrase { at: None, .. } => "passphrase, asked for".to_owned(),
            Self::Passphrase { at: Some(at), .. } => format!("passphrase from {}", place(at)),
            Self::Token { token, key, .. } => format!("key {key} in token {token}"),
        }
    }

    /// The file that holds the key, where it is one.
    pub(crate) fn file(&self, home: &Path) -> Option<PathBuf> {
        match self {
            Self::Key { at: SecretRef::File(path) } => Some(home.join(path)),
            _ => None,
        }
    }
}

impl KeySources {
    /// Whether a home has keys.
    pub(crate) fn exist(home: &Path) -> bool {
        home.join(SOURCES).exists()
    }

    /// Reads those of a home; none where there is no file.
    ///
    /// # Errors
    /// `Config` that names the line.
    pub(crate) fn read(home: &Path) -> Result<Self> {
        let path = home.join(SOURCES);
        let text = match regular::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(files::failed(&e, "read key sources", "it cannot be read", &path)),
        };
        toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |at| text.get(..at.start).unwrap_or_default().lines().count().max(1));
            Error::new(ErrorKind::Config, "read key sources", e.message().to_owned())
                .with("file", path.display())
                .with("line", line)
        })
    }

    /// Replaces the file in one step.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, home: &Path) -> Result<()> {
        let defect = |e| Error::new(ErrorKind::Internal, "write key sources", "they do not serialise").because(e);
        let text = toml::to_string_pretty(self).map_err(defect)?;
        files::replace_private(&home.join(SOURCES), format!("{HEAD}{text}").as_bytes())
    }

    /// Those that new epoch keys are wrapped by.
    pub(crate) fn active(&self) -> impl Iterator<Item = &KeySource> {
        self.keys.iter().filter(|k| !k.retiring)
    }

    /// The ids of those that are on their way out.
    pub(crate) fn retiring(&self) -> impl Iterator<Item = &KeySource> {
        self.keys.iter().filter(|k| k.retiring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_mistakes_are_placed() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(KeySources::read(home.path()).unwrap(), KeySources::default());
        let source = |id: &str, retiring, from| KeySource { id: id.to_owned(), retiring, from };
        let salt = "00".repeat(16);
        let at = Some(SecretRef::Command("pass show \"x\"".to_owned()));
        let all = KeySources {
            keys: vec![
                source("aa", false, KeyFrom::Key { at: SecretRef::File("kek.key".to_owned()) }),
                source("bb", true, KeyFrom::Key { at: SecretRef::Env("KEK".to_owned()) }),
                source("cc", false, KeyFrom::Passphrase { at, salt, memory_kib: 1, passes: 2, lanes: 3 }),
                source(
                    "dd",
                    false,
                    KeyFrom::Token {
                        module: "/usr/lib/x.so".into(),
                        token: "backup".to_owned(),
                        key: "kek".to_owned(),
                        pin: None,
                        canary: "00".to_owned(),
                    },
                ),
            ],
        };
        all.write(home.path()).unwrap();
        all.write(home.path()).unwrap();
        assert_eq!(KeySources::read(home.path()).unwrap(), all);
        assert_eq!(all.keys[0].from.file(Path::new("/h")), Some("/h/kek.key".into()));
        assert_eq!(files::entries(home.path()).unwrap().len(), 1, "nothing lies beside it");

        std::fs::write(home.path().join(SOURCES), "[[key]]\nid = \"aa\"\nfrom = \"nowhere\"\n").unwrap();
        let e = KeySources::read(home.path()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(e.to_string().contains("line"), "{e}");
    }
}
