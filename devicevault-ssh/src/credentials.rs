//! What a login is offered.

use std::fmt;

use zeroize::Zeroizing;

/// User name and secrets. Secrets are wiped from memory when this is dropped, and not shown by `Debug`.
#[derive(Clone, Default)]
pub struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) private_key: Option<Zeroizing<String>>,
    pub(crate) passphrase: Option<Zeroizing<String>>,
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
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |o: &Option<_>| if o.is_some() { "set" } else { "none" };
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &set(&self.password))
            .field("private_key", &set(&self.private_key))
            .finish_non_exhaustive()
    }
}
