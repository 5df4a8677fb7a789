//! Passwords in places where they would be shown, exported and logged: told before anything is kept.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;

use devicevault_core::{Device, Error, ErrorKind, Result};

/// Names of settings that would hold a secret itself, rather than say where it is.
const SECRETS: [&str; 6] = ["password", "passphrase", "passwd", "secret", "token", "community"];

/// Refuses a device that has a password in its address, at a jump host or in a setting. The text itself is not told.
///
/// # Errors
/// `Config` that names the field.
pub(crate) fn refuse(device: &Device) -> Result<()> {
    let wrong = |field: &str, why: &str| {
        // Without a name of its own, a device is called as its address.
        let name =
            if device.name.contains('@') { "(its address)".to_owned() } else { device.name.escape_debug().to_string() };
        Err(Error::new(ErrorKind::Config, "check device", why.to_owned())
            .with("field", field.escape_debug())
            .with("device", name)
            .hint("refer to it by --password-env, --password-file, --password-command or --credential; the user is --user"))
    };
    if device.host.contains('@') {
        return wrong("host", "it is no address: a user, or a password, does not go here");
    }
    for hop in &device.jump {
        if hop.login.username.as_ref().is_some_and(|user| user.contains(':')) || hop.host.contains('@') {
            return wrong("jump", "a jump host is written with a password, which would be shown and exported");
        }
    }
    match unfit(&device.options) {
        Some((name, why)) => wrong(name, why),
        None => Ok(()),
    }
}

/// Refuses settings of a destination or a policy that hold a secret. The text itself is not told.
///
/// # Errors
/// `Config` that names the setting.
pub(crate) fn refuse_options(options: &BTreeMap<String, String>) -> Result<()> {
    match unfit(options) {
        None => Ok(()),
        Some((name, why)) => Err(Error::new(ErrorKind::Config, "check options", why)
            .with("option", name.escape_debug())
            .hint("refer to it by --password-env, --password-file, --password-command or --credential; the user is --user")),
    }
}

/// The first setting that holds a secret, and why it may not.
fn unfit(options: &BTreeMap<String, String>) -> Option<(&str, &'static str)> {
    options.iter().find_map(|(name, value)| {
        let last = name.rsplit(['.', '_', '-']).next().unwrap_or(name).to_ascii_lowercase();
        let why = if SECRETS.contains(&last.as_str()) {
            "a setting is no place for a secret: it would be shown and exported"
        } else if has_password(value) {
            "a setting holds a password, which would be shown and exported"
        } else {
            return None;
        };
        Some((name.as_str(), why))
    })
}

/// Whether a word of a text is written `user:password@host`, as in URLs.
pub(crate) fn has_password(text: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '\'' | '"' | '=')).any(|word| {
        let word = word.split_once("://").map_or(word, |(_, rest)| rest);
        let authority = word.split(['/', '?', '#']).next().unwrap_or(word);
        // A password may hold a slash that nobody escaped.
        [authority, word].into_iter().any(|text| {
            let login = text.rsplit_once('@').map(|(login, _)| login);
            login
                .and_then(|l| l.split_once(':'))
                .is_some_and(|(user, password)| !user.is_empty() && !password.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_seen_and_addresses_are_left_alone() {
        for text in ["u:p@h", "http://u:p@proxy:3128", "nc -x u:p@h %h %p", "--proxy=u:p/w@h", "ssh://a:b:c@h/x"] {
            assert!(has_password(text), "{text}");
        }
        for text in
            ["", "h:22", "ssh -W %h:%p ops@bastion", "[2001:db8::1]:22", "u@h:22", "http://h:1/x", "a:@h", ":b@h"]
        {
            assert!(!has_password(text), "{text}");
        }
    }

    #[test]
    fn a_setting_with_a_secret_is_named_and_not_told() {
        let of = |name: &str, value: &str| refuse_options(&[(name.to_owned(), value.to_owned())].into());
        for (name, value) in [("endpoint", "http://u:hunter2@127.0.0.1:9000"), ("push.token", "hunter2")] {
            let e = format!("{:?}", of(name, value).unwrap_err());
            assert!(e.contains(name) && !e.contains("hunter2"), "{e}");
        }
        for (name, value) in
            [("endpoint", "http://127.0.0.1:9000"), ("remote", "git@host:x.git"), ("author", "A <a@b>")]
        {
            of(name, value).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in ".*") {
            has_password(&text);
        }
    }
}
