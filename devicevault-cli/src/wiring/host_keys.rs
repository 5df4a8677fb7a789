//! The host keys that an instance remembers, for people who look after them.

use std::path::Path;

use devicevault_core::{Device, Error, ErrorKind, Result};
use devicevault_ssh::{Forgotten, HostKey, HostKeyStore as _, Imported, KnownHostsFile, SSH_PORT, SshError};
use serde::Serialize;

use crate::instance::KNOWN_HOSTS;

/// Host and port of a server.
pub(crate) use devicevault_ssh::Endpoint as Server;

/// The recorded host keys of an instance.
#[derive(Debug)]
pub(crate) struct HostKeys(KnownHostsFile);

/// What a key is to its server.
const TRUSTED: &str = "trusted";

/// A recorded key.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RecordedKey {
    pub(crate) server: String,
    /// `trusted`, `revoked` or `authority`.
    pub(crate) meaning: &'static str,
    pub(crate) kind: String,
    pub(crate) fingerprint: String,
}

impl HostKeys {
    /// Those of the instance in this folder.
    pub(crate) fn of_home(home: &Path) -> Self {
        Self(KnownHostsFile::new(home.join(KNOWN_HOSTS)))
    }

    /// Where they are.
    pub(crate) fn place(&self) -> String {
        self.0.place()
    }

    /// What is recorded of a server.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) async fn of(&self, server: &Server) -> Result<Vec<RecordedKey>> {
        let mut all = self.under(server).await?;
        if !server.over.is_empty() {
            // What is recorded of the address alone is believed where the way has no key of its own.
            let own = all.iter().any(|k| k.meaning == TRUSTED);
            all.extend(self.under(&server.alone()).await?.into_iter().filter(|k| !own || k.meaning != TRUSTED));
        }
        Ok(all)
    }

    async fn under(&self, server: &Server) -> Result<Vec<RecordedKey>> {
        let recorded = self.0.recorded(server).await.map_err(|e| unusable(&e))?;
        let all = [(TRUSTED, recorded.keys), ("revoked", recorded.revoked), ("authority", recorded.authorities)];
        let one = |meaning, key: HostKey| RecordedKey {
            server: server.to_string(),
            meaning,
            kind: key.algorithm(),
            fingerprint: key.fingerprint(),
        };
        Ok(all.into_iter().flat_map(|(meaning, keys)| keys.into_iter().map(move |k| one(meaning, k))).collect())
    }

    /// Adds the lines of a known_hosts file.
    ///
    /// # Errors
    /// The file cannot be written; nothing was added then.
    pub(crate) async fn import(&self, text: &str) -> Result<Imported> {
        self.0.import(text).await.map_err(|e| unusable(&e))
    }

    /// Takes out the keys that are recorded of a server; those of its address alone too, where one of them is its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn forget(&self, server: &Server) -> Result<Forgotten> {
        let mut done = self.0.forget(server).await.map_err(|e| unusable(&e))?;
        let address = server.alone();
        if *server != address && self.under(&address).await?.iter().any(|k| done.keys.contains(&k.fingerprint)) {
            let too = self.0.forget(&address).await.map_err(|e| unusable(&e))?;
            done.keys.extend(too.keys.into_iter().filter(|k| !done.keys.contains(k)).collect::<Vec<_>>());
            done.wildcards.extend(too.wildcards);
        }
        Ok(done)
    }
}

fn unusable(e: &SshError) -> Error {
    let why = std::error::Error::source(e).map(|s| format!(": {s}")).unwrap_or_default();
    Error::new(ErrorKind::Unavailable, "use host keys", format!("{e}{why}"))
}

/// A server by its address.
pub(crate) fn server(host: &str, port: Option<u16>) -> Server {
    Server::new(host, port.unwrap_or(SSH_PORT))
}

/// The servers whose host keys a device's connections check: its jump hosts, in order, and itself.
pub(crate) fn servers(device: &Device) -> Vec<Server> {
    let mut way: Vec<Server> = Vec::new();
    let all = device.jump.iter().map(|h| server(&h.host, h.port)).chain([server(&device.host, device.port)]);
    all.map(|next| {
        let named = next.clone().over(way.iter().cloned());
        way.push(next);
        named
    })
    .collect()
}
