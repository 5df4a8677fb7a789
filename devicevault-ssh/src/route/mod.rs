//! The way to a server: straight, over jump hosts, or by a proxy command.

mod command;
mod environment;
mod logins;
mod process;
mod tunnel;

use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};

pub use command::ProxyCommand;
pub use environment::Environment;
pub use logins::HopLogins;
pub use tunnel::Tunnel;

use crate::connection::{connect_over, within};
use crate::{Connection, Credentials, Endpoint, HostKeyStore, Options, Result, SshError};

/// What lies between here and a server. Empty: nothing.
#[derive(Debug, Clone, Default)]
pub struct Route {
    proxy: Option<ProxyCommand>,
    environment: Environment,
    hops: Vec<Hop>,
    logins: Option<Arc<HopLogins>>,
}

/// A jump host, with what is particular to it.
#[derive(Debug, Clone)]
pub struct Hop {
    server: Endpoint,
    credentials: Credentials,
    options: Options,
}

impl Hop {
    /// Its address, as the hop before it knows it, and how to log in there. Its host key is checked under this address,
    /// and that of the hops before it, by the policy of these options.
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

    /// Starts the proxy command in this environment.
    #[must_use]
    pub fn in_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Passes one more jump host, after those before it.
    #[must_use]
    pub fn over(mut self, hop: Hop) -> Self {
        self.hops.push(hop);
        self
    }

    /// Has logins at jump hosts in common with the other routes that are given these.
    #[must_use]
    pub fn with_logins(mut self, logins: Arc<HopLogins>) -> Self {
        self.logins = Some(logins);
        self
    }

    /// Whether nothing lies in between.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.proxy.is_none() && self.hops.is_empty()
    }

    /// The server that an address is at the end of this way.
    pub(crate) fn leads_to(&self, server: &Endpoint) -> Endpoint {
        server.clone().over(self.hops.iter().map(|hop| hop.server.clone()))
    }

    /// Opens the way to a server, which need not speak SSH. `user` is what `%r` of the proxy command means where there
    /// is no jump host; source address, time to connect and gate are those of the options.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, `NotForwarded`, `Config`; `AtHop` with the reason for what failed at a jump host, within
    /// `Shared` where that was another's login.
    ///
    /// Dropping the future, or the tunnel, closes every connection on the way and ends the proxy command.
    pub async fn open(
        &self,
        to: &Endpoint,
        user: &str,
        options: &Options,
        host_keys: &Arc<dyn HostKeyStore>,
    ) -> Result<Tunnel> {
        let mut last = None;
        for (number, hop) in self.hops.iter().enumerate() {
            let login = self.logins.as_ref().map(|logins| logins.at(self, number, hop));
            let turn = match login {
                Some(login) => Some(login.turn(hop.options.gate.as_ref()).await?),
                None => None,
            };
            let connection = self.log_in(last, number, hop, host_keys).await;
            if let Some(turn) = turn {
                turn.came_to(&connection);
            }
            last = Some((hop, connection?));
        }
        self.reach(last, to, user, options).await
    }

    /// Logs in at a jump host, over the one before it.
    async fn log_in(
        &self,
        last: Option<(&Hop, Connection)>,
        number: usize,
        hop: &Hop,
        host_keys: &Arc<dyn HostKeyStore>,
    ) -> Result<Connection> {
        let Hop { server, credentials, options } = hop;
        let tunnel = self.reach(last, server, &credentials.username, options).await?;
        let said = tunnel.said();
        let named = server.clone().over(self.hops.iter().take(number).map(|h| h.server.clone()));
        match connect_over(tunnel, &named, credentials, options, host_keys.clone()).await {
            Ok(connection) => Ok(connection),
            Err(e) => Err(e.by_proxy(said).await.at_hop(server)),
        }
    }

    /// The stream to the next server on the way.
    async fn reach(
        &self,
        last: Option<(&Hop, Connection)>,
        to: &Endpoint,
        user: &str,
        options: &Options,
    ) -> Result<Tunnel> {
        if let Some(gate) = &options.gate {
            gate.connecting();
        }
        match (last, &self.proxy) {
            (Some((hop, connection)), _) => {
                let opening = within(hop.options.connect_timeout, "connect", connection.forward(to)).await;
                let stream = opening.flatten().map_err(|e| e.at_hop(&hop.server))?;
                Ok(Tunnel::through(stream, connection))
            }
            (None, Some(proxy)) => Ok(Tunnel::by(proxy.start(to, user, &self.environment)?)),
            (None, None) => {
                let at_first = |e: SshError| if self.hops.is_empty() { e } else { e.at_hop(to) };
                Ok(Tunnel::straight(dial(to, options).await.map_err(at_first)?))
            }
        }
    }
}

/// A TCP connection, from the source address where one is set.
async fn dial(to: &Endpoint, options: &Options) -> Result<TcpStream> {
    let unreachable = |e| SshError::Unreachable { endpoint: to.to_string(), source: Arc::new(e) };
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
