//! Where another repository is.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Result};

/// The URL of a repository, as Git takes it: `https://…`, `ssh://[user@]host[:port]/path`, `[user@]host:path`, or the path
/// of a folder. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    text: String,
    scheme: Scheme,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Ssh,
    File,
}

impl RemoteUrl {
    /// As Git takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one of a repository among several: with its name for `{repository}`.
    ///
    /// # Errors
    /// `Config` where that makes no URL.
    pub(in super::super) fn of_repository(&self, name: &str) -> Result<Self> {
        self.text.replace("{repository}", name).parse()
    }

    /// Git's name of the protocol.
    pub(super) fn protocol(&self) -> &'static str {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ssh => "ssh",
            Scheme::File => "file",
        }
    }

    /// Whether it is reached over HTTP or HTTPS, which take a user name and a token.
    #[must_use]
    pub fn is_http(&self) -> bool {
        matches!(self.scheme, Scheme::Http | Scheme::Https)
    }

    pub(super) fn is_ssh(&self) -> bool {
        self.scheme == Scheme::Ssh
    }

    /// Whether what goes over the network can be read there. What stays on this machine cannot.
    pub(super) fn is_clear_text(&self) -> bool {
        let host = self.text.strip_prefix("http://").unwrap_or_default();
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        let local = ["127.0.0.1", "localhost", "[::1]"];
        let is_local =
            |name: &str| host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        self.scheme == Scheme::Http && !local.into_iter().any(is_local)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RemoteUrl {
    type Err = Error;

    /// # Errors
    /// `Config`, without the URL where it holds a secret.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, "read remote", why.to_owned());
        let shown = |e: Error| {
            e.with("remote", text.escape_debug())
                .hint("write https://host/path.git, ssh://git@host/path.git, git@host:path.git or the path of a folder")
        };
        if text.is_empty() || text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(shown(wrong("this is not the URL of a repository")));
        }
        // `ext::` and the like start programs.
        let colon = text.find(':');
        if colon.is_some_and(|at| text.get(at..).is_some_and(|rest| rest.starts_with("::"))) {
            return Err(shown(wrong("remote helpers are not used")));
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, Some(rest)),
            Some(("http", rest)) => (Scheme::Http, Some(rest)),
            Some(("ssh", rest)) => (Scheme::Ssh, Some(rest)),
            Some(("file", _)) => (Scheme::File, None),
            Some(_) => return Err(shown(wrong("it has a scheme that is not used here"))),
            // A slash before the colon makes it a path.
            None => match text.split_once(':') {
                Some((host, path)) if !host.contains('/') && !host.is_empty() && !path.is_empty() => {
                    (Scheme::Ssh, Some(host))
                }
                _ => (Scheme::File, None),
            },
        };
        // Nothing that a repository is found by, and where tokens are put that are read off lists and logs.
        if text.contains("://") && rest.is_some_and(|rest| rest.contains(['?', '#'])) {
            return Err(wrong(
                "a repository's URL ends with its path: what stands behind a ? or # is shown in lists and logs",
            )
            .hint("name the credential, or where the token is found, by an option of the destination"));
        }
        if let Some(rest) = rest {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            if user.contains(':') || (!user.is_empty() && scheme != Scheme::Ssh) {
                return Err(wrong("a URL is no place for a user name and password: it is shown in lists and logs")
                    .hint("name the credential, or where the token is found, by an option of the destination"));
            }
            if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
                return Err(shown(wrong("it names no host")));
            }
        }
        if rest.is_none() && !text.starts_with('/') && !text.starts_with("file:///") {
            return Err(shown(wrong("the path of a folder is written from the root")));
        }
        Ok(Self { text: text.to_owned(), scheme })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_git_takes_is_taken() {
        for (text, protocol) in [
            ("https://git.example.net/noc/configs.git", "https"),
            ("http://127.0.0.1:8080/x.git", "http"),
            ("ssh://git@git.example.net:2222/noc/configs.git", "ssh"),
            ("git@git.example.net:noc/configs.git", "ssh"),
            ("host:/srv/x.git", "ssh"),
            ("/srv/git/x.git", "file"),
            ("/srv/a:b/x.git", "file"),
            ("/srv/a#b/x?.git", "file"),
            ("file:///srv/git/x.git", "file"),
        ] {
            let url: RemoteUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.protocol()), (text, protocol));
        }
        assert!("http://git.example.net/x".parse::<RemoteUrl>().unwrap().is_clear_text());
        assert!("http://127.0.0.1.example.net/x".parse::<RemoteUrl>().unwrap().is_clear_text());
        assert!(!"http://127.0.0.1:80/x".parse::<RemoteUrl>().unwrap().is_clear_text());
    }

    #[test]
    fn secrets_and_programs_are_refused_and_secrets_not_told() {
        for bad in [
            "",
            "-oProxyCommand=x",
            "ext::sh -c x",
            "fd::3",
            "x::y",
            "git://host/x",
            "ssh://-oProxyCommand=x/y",
            "-x@host:y",
            "relative/path",
            "https:///x",
            "a b",
            "https://host/\n",
        ] {
            assert!(bad.parse::<RemoteUrl>().is_err(), "{bad:?}");
        }
        for secret in [
            "https://user:s3cret@host/x",
            "https://s3cret@host/x",
            "ssh://git:s3cret@host/x",
            "https://host/x.git?private_token=s3cret",
            "https://host/x.git#s3cret",
            "https://host?s3cret",
            "ssh://git@host/x?token=s3cret",
        ] {
            let e = secret.parse::<RemoteUrl>().unwrap_err();
            assert!(!format!("{e:?} {e}").contains("s3cret"), "{e:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_none(text in any::<String>()) {
            if let Ok(url) = text.parse::<RemoteUrl>() {
                prop_assert!(!url.as_str().starts_with('-'));
            }
        }
    }
}
