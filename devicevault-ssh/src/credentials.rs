//! What a login is offered.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// User name and secrets. Secrets are wiped from memory when this is dropped, and not shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) private_key: Option<Zeroizing<String>>,
    pub(crate) passphrase: Option<Zeroizing<String>>,
    pub(crate) certificate: Option<String>,
    pub(crate) agent: Option<Agent>,
}

/// An SSH agent: a program that signs with keys that it never shows. It is asked for signatures alone and never
/// forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    pub(crate) socket: PathBuf,
    pub(crate) keys: BTreeSet<String>,
}

impl Agent {
    /// The agent behind this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), keys: BTreeSet::new() }
    }

    /// Offers these keys alone, named by fingerprint (`SHA256:…`) or comment. Without, the first five are offered:
    /// servers end a login after a few refused ones.
    #[must_use]
    pub fn with_keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys = keys.into_iter().collect();
        self
    }
}

impl Credentials {
    /// A user name; without more, only a server that asks nothing lets it in.
    pub fn new(username: impl Into<String>) -> Self {
        Self { username: username.into(), ..Self::default() }
    }

    /// Password; the answer to keyboard-interactive questions where the server does not offer `password`.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// Private key as text (OpenSSH, PKCS#1, PKCS#8 or SEC1). It is offered before the password.
    #[must_use]
    pub fn with_private_key(mut self, key: impl Into<String>, passphrase: Option<String>) -> Self {
        self.private_key = Some(Zeroizing::new(key.into()));
        self.passphrase = passphrase.map(Zeroizing::new);
        self
    }

    /// OpenSSH user certificate as text (the content of a `-cert.pub` file), of the private key or of a key that the
    /// agent holds. It is offered before the bare key.
    #[must_use]
    pub fn with_certificate(mut self, certificate: impl Into<String>) -> Self {
        self.certificate = Some(certificate.into());
        self
    }

    /// Asks an agent to sign. Its keys are offered after the private key and before the password.
    #[must_use]
    pub fn with_agent(mut self, agent: Agent) -> Self {
        self.agent = Some(agent);
        self
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |o: &Option<_>| if o.is_some() { "set" } else { "none" };
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &set(&self.password))
            .field("private_key", &set(&self.private_key))
            .field("certificate", &self.certificate.is_some())
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}
