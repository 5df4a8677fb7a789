//! Identifiers and the names that people give to things.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new one, ordered by the time of its making (UUID version 7, RFC 9562).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                Uuid::parse_str(s).map(Self).map_err(|e| {
                    Error::new(ErrorKind::Config, "read identifier", "not a UUID").with("value", s.escape_debug()).because(e)
                })
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(s: T) -> Self {
                Self(s.into())
            }
        }
    };
}

uuid_id!(
    /// One attempt to back up one device.
    RunId
);
uuid_id!(
    /// One stored version of one artefact; its copies at several destinations share it.
    BackupId
);
uuid_id!(
    /// What a caller names an attempt by; [`Catalog::begin`](crate::Catalog::begin) is idempotent by it.
    TaskId
);
text_id!(
    /// A device, for ever: it outlives a change of its name.
    DeviceId
);
text_id!(
    /// A configured destination.
    DestinationId
);

/// The longest device name, in bytes.
pub const MAX_DEVICE_NAME: usize = 255;

/// Checks a device's name: 1 to 255 bytes of printable text, no path separators, not `.` or `..`,
/// no leading `-`, no blanks at either end.
///
/// # Errors
/// [`ErrorKind::Config`] that says which rule is broken.
pub fn check_device_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_DEVICE_NAME {
        "is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else if name.contains(['/', '\\']) {
        "holds a path separator"
    } else if name == "." || name == ".." {
        "is a folder of the file system"
    } else if name.starts_with('-') {
        "begins with a hyphen and would read as an option"
    } else if name.trim() != name {
        "begins or ends with a blank"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Config, "check device name", format!("the name {why}"))
        .with("name", name.escape_debug())
        .hint("use letters, digits, dots, hyphens and underscores"))
}

/// Checks an artefact's name: 1 to 64 of `a-z 0-9 . _ -`, beginning with a letter or digit.
///
/// # Errors
/// [`ErrorKind::Config`].
pub fn check_artefact_name(name: &str) -> Result<()> {
    let ok = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if ok {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        "check artefact name",
        "an artefact's name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore, beginning with a letter or digit",
    )
    .with("name", name.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_device_names_are_refused() {
        for bad in ["", ".", "..", "../../etc/x", "a/b", "a\\b", "a\0b", " a", "a ", "-rf", "a\nb"] {
            assert!(check_device_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_device_name(&"a".repeat(256)).is_err());
        for good in ["core-rtr1", "sw1.example.net", "10.0.0.1", "Zürich 3", "a".repeat(255).as_str()] {
            assert!(check_device_name(good).is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_path_component(name in ".*") {
            if check_device_name(&name).is_ok() {
                let path = std::path::Path::new(&name);
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }
    }
}
