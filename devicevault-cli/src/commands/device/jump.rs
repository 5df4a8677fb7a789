//! Jump hosts as people write them.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;

use devicevault_core::{Error, ErrorKind, Hop, Result, SecretRef};

use crate::login_args::secret_ref;
use crate::wiring;

/// For help texts.
pub(super) const HELP: &str = "\
A jump host on the way, an SSH server that forwards the connection. Several are passed in the order given.

  [USER@]HOST[:PORT][,SETTING=VALUE…]

Settings: credential=NAME; password-env=VAR, password-file=FILE, password-command=COMMAND; key-file=FILE,
key-passphrase-env=VAR, key-passphrase-file=FILE; certificate-file=FILE; agent, agent-key=KEY; ssh-profile=PROFILE;
host-key=TRUST. A user name or credential that is not set is the device's. Each host key is checked under its own name.

  --jump ops@bastion.example.net,key-file=/etc/dv/bastion --jump '[2001:db8::1]:2222,ssh-profile=legacy'";

/// Reads one.
pub(super) fn parse(text: &str) -> Result<Hop> {
    let wrong = |why: String| {
        Error::new(ErrorKind::Config, "read jump host", why)
            .with("jump host", text.split(',').next().unwrap_or_default().escape_debug())
            .hint("write [USER@]HOST[:PORT][,SETTING=VALUE…]")
    };
    let mut parts = text.split(',').map(str::trim);
    let address = parts.next().unwrap_or_default();
    let (user, address) = address.rsplit_once('@').map_or((None, address), |(u, a)| (Some(u), a));
    let (host, port) = host_and_port(address).ok_or_else(|| wrong("there is no such address".to_owned()))?;
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) || user == Some("") {
        return Err(wrong("there is no such address".to_owned()));
    }
    if user.is_some_and(|user| user.contains(':')) {
        return Err(Error::new(ErrorKind::Config, "read jump host", "secrets are not arguments")
            .with("jump host", host.escape_debug())
            .hint("refer to it by password-env, password-file or password-command"));
    }
    let mut hop = Hop::new(host, port);
    hop.login.username = user.map(str::to_owned);
    for part in parts {
        let (name, value) = part.split_once('=').map_or((part, None), |(n, v)| (n.trim(), Some(v.trim())));
        let needed =
            || value.filter(|v| !v.is_empty()).ok_or_else(|| wrong(format!("'{}' has no value", name.escape_debug())));
        let login = &mut hop.login;
        match name {
            "credential" => login.credential = Some(needed()?.to_owned()),
            "password-env" => login.password = secret_ref(Some(needed()?), None, None)?,
            "password-file" => login.password = secret_ref(None, Some(Path::new(needed()?)), None)?,
            "password-command" => login.password = secret_ref(None, None, Some(needed()?))?,
            "key-file" => login.private_key = secret_ref(None, Some(Path::new(needed()?)), None)?,
            "key-passphrase-env" => login.passphrase = secret_ref(Some(needed()?), None, None)?,
            "key-passphrase-file" => login.passphrase = secret_ref(None, Some(Path::new(needed()?)), None)?,
            "certificate-file" => login.certificate = secret_ref(None, Some(Path::new(needed()?)), None)?,
            "agent" if value.is_none() => login.agent = true,
            "agent-key" => {
                login.agent = true;
                login.agent_keys.insert(needed()?.to_owned());
            }
            "ssh-profile" => wiring::set_ssh_profile(&mut hop.options, needed()?)?,
            "host-key" => wiring::set_host_key(&mut hop.options, needed()?)?,
            "password" | "passphrase" | "secret" => {
                return Err(wrong("secrets are not arguments".to_owned())
                    .hint("refer to it by password-env, password-file or password-command"));
            }
            // Its value may be a secret in the wrong place.
            _ => return Err(wrong(format!("there is no setting '{}'", name.escape_debug()))),
        }
    }
    Ok(hop)
}

/// `host`, `host:port`, `[address]:port`, or an IPv6 address as it is.
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let number = |p: &str| p.parse().ok().filter(|p: &u16| *p > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(number(port)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(number(port)?))),
        None => Some((text, None)),
    }
}

/// One, for people.
pub(super) fn text(hop: &Hop) -> String {
    let mut text = String::new();
    if let Some(user) = &hop.login.username {
        let _ = write!(text, "{user}@");
    }
    let _ = match hop.port {
        Some(port) if hop.host.contains(':') => write!(text, "[{}]:{port}", hop.host),
        Some(port) => write!(text, "{}:{port}", hop.host),
        None => write!(text, "{}", hop.host),
    };
    let place = |at: &Option<SecretRef>| at.as_ref().map(crate::secrets::place);
    let login = &hop.login;
    let how = [
        login.credential.as_ref().map(|c| format!("credential {c}")),
        place(&login.password),
        place(&login.private_key),
        login.agent.then(|| "SSH agent".to_owned()),
    ];
    let how: Vec<_> = how.into_iter().flatten().chain(hop.options.iter().map(|(k, v)| format!("{k}={v}"))).collect();
    if !how.is_empty() {
        let _ = write!(text, " ({})", how.join(", "));
    }
    text
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port, user) in [
            ("bastion", "bastion", None, None),
            ("ops@bastion.example.net:2222", "bastion.example.net", Some(2222), Some("ops")),
            ("a@b@bastion", "bastion", None, Some("a@b")),
            ("[2001:db8::1]:22", "2001:db8::1", Some(22), None),
            ("2001:db8::1", "2001:db8::1", None, None),
            ("[::1]", "::1", None, None),
        ] {
            let hop = parse(text).unwrap();
            assert_eq!((hop.host.as_str(), hop.port, hop.login.username.as_deref()), (host, port, user), "{text}");
        }
        for bad in ["", "@", "u@", "h:0", "h:99999", "h:x", "[::1", "[::1]x", "@h", "a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_the_hops_own() {
        let hop = parse("ops@b,password-env=PW,ssh-profile=legacy,host-key=strict,agent,agent-key=me").unwrap();
        assert_eq!(hop.login.password, Some(SecretRef::Env("PW".to_owned())));
        assert!(hop.login.agent && hop.login.agent_keys.contains("me"));
        assert_eq!(hop.options.len(), 2);
        for bad in ["b,ssh-profile=old", "b,colour=blue", "b,password-env", "b,agent=x", "b,host-key=maybe"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for secret in ["b,password=hunter2", "u:hunter2@b", "u:hunter2@b:22,agent"] {
            let e = parse(secret).unwrap_err();
            assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_jump_host_or_an_error(text in ".*") {
            if let Ok(hop) = parse(&text) {
                prop_assert!(!hop.host.is_empty());
                let _ = super::text(&hop);
            }
        }
    }
}
