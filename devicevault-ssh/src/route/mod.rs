//! The way to a server: straight, over jump hosts, or by a proxy command.

mod command;
mod process;
mod tunnel;

use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};

pub use command::ProxyCommand;
pub use tunnel::Tunnel;

use crate::connection::{connect_over, within};
use crate::{Credentials, Endpoint, HostKeyStore, Options, Result, SshError};

/// What lies between here and a server. Empty: nothing.
#[derive(Debug, Clone, Default)]
pub struct Route {
    proxy: Option<ProxyCommand>,
    hops: Vec<Hop>,
}

/// A jump host, with what is particular to it.
#[derive(Debug, Clone)]
pub struct Hop {
    server: Endpoint,
    credentials: Credentials,
    options: Options,
}

impl Hop {
    /// Its address, as the hop before it knows it, and how to log in there. Its host key is checked under this address
    /// by the policy of these options.
    #[must_use]
    pub fn new(server: Endpoint, credentials: Credentials, options: Options) -> Self {
        Self { server, credentials, options }
    }
}

impl Route {
    /// Nothing in between.
    #[must_use]
    pub fn direct() -> Self {
        Self::default()
    }

    /// Reaches the first server on the way by this command in place of a TCP connection.
    #[must_use]
    pub fn by(mut self, proxy: ProxyCommand) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Passes one more jump host, after those before it.
    #[must_use]
    pub fn over(mut self, hop: Hop) -> Self {
        self.hops.push(hop);
        self
    }

    /// Whether nothing lies in between.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.proxy.is_none() && self.hops.is_empty()
    }

    /// Opens the way to a server, which need not speak SSH. `user` is what `%r` of the proxy command means where there
    /// is no jump host; source address and time to connect are those of the options.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, `NotForwarded`, `Config`; `AtHop` with the reason for what failed at a jump host.
    ///
    /// Dropping the future, or the tunnel, closes every connection on the way and ends the proxy command.
    pub async fn open(
        &self,
        to: &Endpoint,
        user: &str,
        options: &Options,
        host_keys: &Arc<dyn HostKeyStore>,
    ) -> Result<Tunnel> {
        let first = self.hops.first();
        let (nearest, its_options) = first.map_or((to, options), |h| (&h.server, &h.options));
        let at_first = |e: SshError| if let Some(hop) = first { e.at_hop(&hop.server) } else { e };
        let mut tunnel = match &self.proxy {
            Some(proxy) => {
                let user = first.map_or(user, |h| h.credentials.username.as_str());
                Tunnel::by(proxy.start(nearest, user)?)
            }
            None => Tunnel::straight(dial(nearest, its_options).await.map_err(at_first)?),
        };
        for (i, hop) in self.hops.iter().enumerate() {
            let said = tunnel.said();
            let connection = connect_over(tunnel, &hop.server, &hop.credentials, &hop.options, host_keys.clone()).await;
            let connection = match connection {
                Ok(connection) => connection,
                Err(e) => return Err(e.by_proxy(said).await.at_hop(&hop.server)),
            };
            let next = self.hops.get(i + 1).map_or(to, |h| &h.server);
            let opening = within(hop.options.connect_timeout, "connect", connection.forward(next)).await;
            let stream = opening.flatten().map_err(|e| e.at_hop(&hop.server))?;
            tunnel = Tunnel::through(stream, connection);
        }
        Ok(tunnel)
    }
}

/// A TCP connection, from the source address where one is set.
async fn dial(to: &Endpoint, options: &Options) -> Result<TcpStream> {
    let unreachable = |source| SshError::Unreachable { endpoint: to.to_string(), source };
    let dialing = async {
        let Some(source) = options.source else { return TcpStream::connect((to.host.as_str(), to.port)).await };
        let mut last = None;
        for address in tokio::net::lookup_host((to.host.as_str(), to.port)).await? {
            if address.is_ipv4() != source.is_ipv4() {
                continue;
            }
            let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.bind((source, 0).into())?;
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, "no address is of the source address's family")
        }))
    };
    let stream = within(options.connect_timeout, "connect", dialing).await?.map_err(unreachable)?;
    // Keystrokes are small; without this each would wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|e| SshError::closed("connect", e))?;
    Ok(stream)
}

impl SshError {
    fn at_hop(self, hop: &Endpoint) -> Self {
        Self::AtHop { hop: hop.to_string(), error: Box::new(self) }
    }
}
