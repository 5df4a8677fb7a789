//! The URL of a store.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use url::Url;

/// Longer ones are not read.
const MAX_URL: usize = 4096;

/// Where a store is: `s3://bucket/prefix`, `memory:`. It never holds a password, a query or a fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    url: Url,
    path: Path,
}

impl StoreUrl {
    /// Whether a text is meant as a URL, and not as the path of a folder.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains("://") || text == "memory:"
    }

    /// What stands before the first colon, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The bucket, container or host.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.url.host_str().filter(|host| !host.is_empty())
    }

    /// The port, where it is named.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.url.port()
    }

    /// The user, where one is named; percent-decoded.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let user = self.url.username();
        (!user.is_empty()).then(|| percent_decoded(user))
    }

    /// What follows the host: the prefix of all objects.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bucket or container.
    ///
    /// # Errors
    /// `Config` where there is none, or the URL says more than bucket and prefix.
    pub fn bucket(&self) -> Result<&str> {
        if self.user().is_some() || self.port().is_some() {
            return Err(refused("a bucket's URL has neither user nor port")
                .with("url", self)
                .hint("name the server by the option endpoint, and who logs in by the options user and credential"));
        }
        self.host().ok_or_else(|| refused("it names no bucket").with("url", self))
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Config, "read store URL", why.to_owned())
}

fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .next()
        .map_or_else(String::new, |(key, _)| key.into_owned())
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_URL {
            return Err(refused("it is too long").with("bytes", text.len()));
        }
        // Its errors do not repeat the text, which may hold a password.
        let url = Url::parse(text)
            .map_err(|e| refused("it is no URL").hint("write it like s3://bucket/prefix").because(e))?;
        if url.password().is_some() {
            return Err(refused("it holds a password").hint(
                "configurations and lists of processes would show it: name where the password is found instead",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it has a query or a fragment").hint("give options by their names"));
        }
        let path = Path::from_url_path(url.path())
            .map_err(|e| refused("its path cannot be the prefix of objects").because(e))?;
        Ok(Self { url, path })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let url: StoreUrl = "s3://bucket/pre/fix/".parse().unwrap();
        assert_eq!((url.scheme(), url.bucket().unwrap(), url.path().as_ref()), ("s3", "bucket", "pre/fix"));
        let url: StoreUrl = "sftp://back%40up@nas.example:2222/srv/a%20b".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.user().as_deref()), (Some("nas.example"), Some(2222), Some("back@up")));
        assert_eq!(url.path().as_ref(), "srv/a b");
        assert!(url.bucket().is_err());
        let url: StoreUrl = "memory:".parse().unwrap();
        assert_eq!((url.host(), url.path().as_ref()), (None, ""));
        assert_eq!("az://c".parse::<StoreUrl>().unwrap().path().as_ref(), "");
        assert!("s3:///x".parse::<StoreUrl>().unwrap().bucket().is_err());
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for bad in ["sftp://u:hunter2@host/x", "s3://u:hunter2@", "s3://b/?sig=hunter2", "s3://b/#hunter2", "hunter2"] {
            let e = bad.parse::<StoreUrl>().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(!format!("{e:?}").contains("hunter2"), "{e:?}");
        }
        assert!(format!("s3://b/{}", "x".repeat(MAX_URL)).parse::<StoreUrl>().is_err());
    }

    #[test]
    fn folders_are_not_urls() {
        for folder in [".", "./backups", "/srv/x", "C:/x", "a:b"] {
            assert!(!StoreUrl::is_meant(folder), "{folder}");
        }
        assert!(StoreUrl::is_meant("s3://b") && StoreUrl::is_meant("memory:"));
    }

    proptest! {
        #[test]
        fn what_is_read_reads_back(text in "(s3|az|gs|sftp|memory|[a-z]{0,4}):(//)?\\PC{0,40}") {
            if let Ok(url) = text.parse::<StoreUrl>() {
                let again: StoreUrl = url.to_string().parse().unwrap();
                prop_assert_eq!(&again, &url);
                prop_assert!(again.path().parts().all(|part| part.as_ref() != ".."));
            }
        }
    }
}
