//! Destinations on file servers: `sftp://`, `ftps://` and `ftp://`.

use std::path::Path;
use std::sync::Arc;

use devicevault_collectors::ssh_credentials;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, ExposeSecret as _, Login, Result};
use devicevault_ssh::{Endpoint, HostKeyPolicy, HostKeyStore, HostKeysInMemory, KnownHostsFile, Profile, SSH_PORT};
use devicevault_storage::ftp::{FtpOptions, FtpSecurity, FtpServer};
use devicevault_storage::objects::{LoginSource, StoreOptions, StoreUrl};
use devicevault_storage::remote::{RemoteStore, Server};
use devicevault_storage::sftp::{SftpOptions, SftpServer};

use super::places::{Objects, URL};
use crate::app::BackendSettings;

const SFTP: &[&str] = &["ssh_profile", "host_key", "timeout"];
const FTPS: &[&str] = &["tls", "ca_file", "connections", "timeout"];
const FTP: &[&str] = &["connections", "timeout"];

/// The options of a scheme of a file server; `None` for another scheme.
pub(super) fn options_of(url: &StoreUrl) -> Option<&'static [&'static str]> {
    match url.scheme() {
        "sftp" => Some(SFTP),
        "ftps" => Some(FTPS),
        "ftp" => Some(FTP),
        _ => None,
    }
}

/// Opens, and sets up where that is wanted, the folder that a URL names.
///
/// # Errors
/// The options are wrong, the server does not let us in, or the folder is not there.
pub(super) async fn open(settings: &BackendSettings, url: &StoreUrl, login: &dyn LoginSource) -> Result<Objects> {
    let login = login.login().await?;
    let told = |e: Error| e.with("url", url);
    if url.scheme() == "sftp" {
        let options = sftp(settings, url, &login).map_err(told)?;
        return home(settings, || Ok(SftpServer::new(options.clone()))).await.map(Objects::Sftp);
    }
    let options = ftp(settings, url, &login).map_err(told)?;
    home(settings, || FtpServer::new(options.clone())).await.map(Objects::Ftp)
}

async fn home<S: Server>(settings: &BackendSettings, server: impl Fn() -> Result<S>) -> Result<RemoteStore<S>> {
    let (id, clock) = (&settings.config.id, settings.clock.clone());
    if settings.unmarked {
        return RemoteStore::unmarked(server()?, id, clock).await;
    }
    match (settings.any_destination, settings.set_up) {
        (true, _) => RemoteStore::open_any(server()?, clock).await,
        (false, true) => RemoteStore::init(server()?, id, clock).await,
        (false, false) => RemoteStore::open(server()?, id, clock).await,
    }
}

fn sftp(settings: &BackendSettings, url: &StoreUrl, login: &Login) -> Result<SftpOptions> {
    let options = StoreOptions::new(&settings.config.options);
    let username = username(url, login)?;
    let endpoint = Endpoint::new(host(url)?, url.port().unwrap_or(SSH_PORT));
    let wrong = |name: &str, e: devicevault_ssh::SshError| refused(&e.to_string()).with("option", name);
    let profile = options.text("ssh_profile")?.map(str::parse::<Profile>).transpose();
    let profile = profile.map_err(|e| wrong("ssh_profile", e))?.unwrap_or_default();
    let policy = match options.text("host_key")? {
        Some("strict") => HostKeyPolicy::Strict,
        Some("first-use") => HostKeyPolicy::FirstUse,
        Some(pinned) => HostKeyPolicy::pinned(pinned)
            .map_err(|e| wrong("host_key", e).hint("write first-use, strict, or the fingerprint SHA256:…"))?,
        // Without a home nothing is remembered: a server is trusted by its fingerprint, or not at all.
        None if settings.known_hosts.is_none() => HostKeyPolicy::Strict,
        None => HostKeyPolicy::FirstUse,
    };
    let host_keys: Arc<dyn HostKeyStore> = match &settings.known_hosts {
        Some(file) => Arc::new(KnownHostsFile::new(file)),
        None => Arc::new(HostKeysInMemory::default()),
    };
    let now = u64::try_from(settings.clock.now().as_second()).unwrap_or_default();
    let mut made = SftpOptions::new(endpoint, folder(url)?, &username, host_keys)
        .with_credentials(ssh_credentials(&username, login))
        .with_ssh(|ssh| ssh.with_profile(profile).with_host_key(policy).with_now(now));
    if let Some(timeout) = options.seconds("timeout")? {
        made = made.with_timeout(timeout);
    }
    Ok(made)
}

fn ftp(settings: &BackendSettings, url: &StoreUrl, login: &Login) -> Result<FtpOptions> {
    let options = StoreOptions::new(&settings.config.options);
    let words = [("explicit", FtpSecurity::Explicit), ("implicit", FtpSecurity::Implicit)];
    let security = match options.one_of("tls", &words)? {
        _ if url.scheme() == "ftp" => FtpSecurity::ClearText,
        Some(chosen) => chosen,
        None if url.port() == Some(FtpSecurity::Implicit.port()) => FtpSecurity::Implicit,
        None => FtpSecurity::Explicit,
    };
    let port = url.port().unwrap_or(security.port());
    let mut made =
        FtpOptions::new(host(url)?, folder(url)?, username(url, login)?).with_port(port).with_security(security);
    if login.private_key.is_some() {
        return Err(refused("FTP knows no keys").hint("name where the password is found, or use sftp://"));
    }
    if let Some(password) = &login.password {
        made = made.with_password(password.expose_secret());
    }
    if let Some(file) = options.text("ca_file")? {
        let file = settings.home.join(file);
        let pem = std::fs::read(&file)
            .map_err(|e| refused("the file of certificates cannot be read").with("path", file.display()).because(e))?;
        made = made.with_authorities(pem);
    }
    if let Some(text) = options.text("connections")? {
        let connections = text.parse().ok().filter(|n| (2..=32).contains(n)).ok_or_else(|| {
            refused("an option is no number of connections")
                .with("option", "connections")
                .hint("it is a whole number from 2 to 32")
        })?;
        made = made.with_connections(connections);
    }
    if let Some(timeout) = options.seconds("timeout")? {
        made = made.with_timeout(timeout);
    }
    made.check().map(|()| made)
}

/// The option before the URL: it may be a stored credential's.
fn username(url: &StoreUrl, login: &Login) -> Result<String> {
    let named = Some(login.username.clone()).filter(|u| !u.is_empty()).or_else(|| url.user());
    named.ok_or_else(|| {
        refused("nobody is named who logs in")
            .hint("write the user into the URL (sftp://user@host/folder), or give --user")
    })
}

fn host(url: &StoreUrl) -> Result<String> {
    let host = url.host().ok_or_else(|| refused("the URL names no host"))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// `/srv/x` of `sftp://host/srv/x`; `x` of `sftp://host/~/x`.
fn folder(url: &StoreUrl) -> Result<String> {
    let path = url.path().as_ref();
    match path.strip_prefix("~/") {
        Some(relative) if !relative.is_empty() => Ok(relative.to_owned()),
        None if !path.is_empty() && path != "~" => Ok(format!("/{path}")),
        _ => Err(refused("the URL names no folder").hint(
            "write an absolute one (sftp://user@host/srv/backups), or one of the login's own (sftp://user@host/~/backups)",
        )),
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Config, "open destination", why.to_owned())
}

/// What to know of a destination that is reached in clear text; `None`: it is not.
pub(crate) fn clear_text_store(config: &DestinationConfig) -> Option<String> {
    let is_ftp = config.options.get(URL).is_some_and(|url| url.to_ascii_lowercase().starts_with("ftp://"));
    is_ftp.then(|| {
        format!(
            "{} is reached by FTP without TLS: the password, and what is not sealed, pass in clear text; ftps:// or sftp:// \
             keep them private",
            config.name
        )
    })
}

/// Where host keys of file servers are remembered: in the home, if there is one.
pub(super) fn known_hosts(home: &Path) -> std::path::PathBuf {
    home.join(crate::instance::KNOWN_HOSTS)
}
