//! One control connection, logged in.

use std::net::IpAddr;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result};
use suppaftp::tokio::AsyncRustlsFtpStream;
use suppaftp::types::FileType;
use suppaftp::{FtpError, FtpResult, Mode, Status};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::fault::of_ftp;
use super::tls::Trust;
use super::{FtpOptions, FtpSecurity};

/// A control connection, and what its server can do.
pub(super) struct Session {
    pub(super) ftp: AsyncRustlsFtpStream,
    pub(super) facts: Facts,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// What a server says that it can do, and where the login begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// `MLSD` and `MLST`.
    pub(super) machine_listings: bool,
    /// `REST` before `RETR`, as far as the server says.
    pub(super) ranges: bool,
    /// Whether `LIST -a` lists the folder itself; nobody asked yet where it is not said.
    pub(super) all_names: Option<bool>,
    /// It shows no more than a number of names of a folder, and says so behind them alone: Pure-FTPd.
    pub(super) cuts_listings: bool,
    /// The destination's folder, absolute.
    pub(super) base: String,
}

/// Waits for what says something over a control connection, no longer than `limit`.
///
/// To a task that has had its share of the thread a socket says that it is full. What is written over TLS then stays in a
/// buffer, the client does not flush it, and both sides would wait for each other: so there is no share here.
pub(super) async fn within<F: Future>(limit: Duration, conversation: F) -> std::result::Result<F::Output, Elapsed> {
    timeout(limit, unconstrained(conversation)).await
}

/// Connects, and logs in.
pub(super) async fn open(options: &FtpOptions, trust: &Trust) -> Result<Session> {
    let operation = "connect to destination";
    let server = format!("{}:{}", options.host, options.port);
    let told = |e: FtpError| of_ftp(operation, &e).with("server", &server);
    let mut ftp = match options.security {
        FtpSecurity::Implicit => {
            let address = (options.host.as_str(), options.port);
            let open = AsyncRustlsFtpStream::connect_secure_implicit(address, trust.connector(), &options.host);
            open.await.map_err(|e| unreachable(told(e)))?
        }
        security => {
            let stream = TcpStream::connect((options.host.as_str(), options.port)).await;
            let stream = stream.map_err(|e| unreachable(told(FtpError::ConnectionError(e))))?;
            let plain = AsyncRustlsFtpStream::connect_with_stream(stream).await.map_err(told)?;
            match security {
                FtpSecurity::ClearText => plain,
                _ => plain.into_secure(trust.connector(), &options.host).await.map_err(|e| no_tls(e, told))?,
            }
        }
    };
    let peer = {
        let socket = ftp.get_ref().await;
        // Without it every command waits for the acknowledgement of the one before.
        let _ = socket.set_nodelay(true);
        socket.peer_addr().map(|a| a.ip())
    };
    ftp.login(options.username.as_str(), options.password.as_str()).await.map_err(told)?;
    let facts = prepare(&mut ftp, options, peer.ok()).await.map_err(told)?;
    tracing::debug!(server, "FTP session opened");
    Ok(Session { ftp, facts })
}

async fn prepare(ftp: &mut AsyncRustlsFtpStream, options: &FtpOptions, peer: Option<IpAddr>) -> FtpResult<Facts> {
    if options.security == FtpSecurity::Implicit {
        let ok = [Status::CommandOk];
        ftp.custom_command("PBSZ 0", &ok).await?;
        ftp.custom_command("PROT P", &ok).await?;
    }
    ftp.transfer_type(FileType::Binary).await?;
    let features = refused_is(ftp.feat().await, Default::default())?;
    let offers = |name: &str| features.keys().any(|k| k.eq_ignore_ascii_case(name));
    if offers("UTF8") {
        // Some want to be told, others refuse: the names are UTF-8 in either case.
        refused_is(ftp.opts("UTF8", Some("ON")).await, ())?;
    }
    // Files and folders for the owner alone, where the server knows how.
    refused_is(ftp.site("UMASK 077").await.map(drop), ())?;
    // The address in an answer to PASV is not believed: it is wrong behind translation, and may point elsewhere.
    let extended = offers("EPSV") || peer.is_some_and(|ip| ip.is_ipv6());
    ftp.set_mode(if extended { Mode::ExtendedPassive } else { Mode::Passive });
    ftp.set_passive_nat_workaround(true);
    let base = match options.folder.as_str() {
        absolute if absolute.starts_with('/') => absolute.trim_end_matches('/').to_owned(),
        relative => {
            let home = ftp.pwd().await?;
            format!("{}/{}", home.trim_end_matches('/'), relative.trim_end_matches('/'))
        }
    };
    let rest = features.iter().any(|(k, v)| {
        k.eq_ignore_ascii_case("REST") && v.as_deref().is_some_and(|v| v.to_ascii_uppercase().contains("STREAM"))
    });
    Ok(Facts {
        machine_listings: offers("MLST") || offers("MLSD"),
        ranges: rest,
        all_names: None,
        // Commands that no other server has.
        cuts_listings: offers("ESTP") || offers("SPSV"),
        base: base.trim_end_matches('/').to_owned(),
    })
}

/// A command that may be refused.
fn refused_is<T>(done: FtpResult<T>, otherwise: T) -> FtpResult<T> {
    match done {
        Err(FtpError::UnexpectedResponse(r)) if r.status != Status::NotAvailable => Ok(otherwise),
        other => other,
    }
}

fn unreachable(e: Error) -> Error {
    if e.kind() != ErrorKind::Unavailable {
        return e;
    }
    let cause = std::error::Error::source(&e).map_or_else(|| e.message().to_owned(), ToString::to_string);
    let mut made =
        Error::new(ErrorKind::Unreachable, "connect to destination", "no connection to the server").because(cause);
    for (name, value) in e.context() {
        if name == "server" {
            made = made.with("server", value);
        }
    }
    made.hint("check address, port and that the FTP service runs")
}

/// A server that does not know `AUTH TLS`.
fn no_tls(e: FtpError, told: impl FnOnce(FtpError) -> Error) -> Error {
    let refused = matches!(&e, FtpError::UnexpectedResponse(_));
    let told = told(e);
    if !refused {
        return told;
    }
    Error::new(ErrorKind::Unsupported, "connect to destination", "the server does not offer TLS on this port")
        .because(told)
        .hint("switch on TLS at the server; ftp:// goes without, and shows the password to whoever listens")
}
