//! The SSH side of a device.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::net::TcpStream;

use super::channel;
use super::quirk::{Lifetime, Quirk};
use super::socket::{Cut, Socket};
use super::spec::Forwards;
use super::state::State;
use super::stats::count;

/// Speaks SSH with whoever connected, until the connection ends.
pub(super) async fn serve(stream: TcpStream, device: Arc<State>) {
    // A device that answers late is told so; it should not be late by accident.
    let _ = stream.set_nodelay(true);
    let cut = Cut::default();
    let number = device.connected(&cut);
    let connection = Connection { device: device.clone(), cut: cut.clone() };
    let socket = Socket::new(stream, cut, Lifetime::of(&device.quirks()));
    if let Ok(session) = russh::server::run_stream(device.ssh(), socket, connection).await {
        // How a client leaves is its own affair.
        let _ = session.await;
    }
    device.disconnected(number);
}

/// What one connection asks of the device.
struct Connection {
    device: Arc<State>,
    cut: Cut,
}

impl Connection {
    async fn password(&self, username: &str, password: &str) -> Auth {
        let counters = &self.device.counters;
        count(&counters.password_attempts, 1);
        let now = counters.passwords_now.fetch_add(1, Ordering::Relaxed) + 1;
        counters.passwords_at_once.fetch_max(now, Ordering::Relaxed);
        for quirk in self.device.quirks().iter() {
            if let Quirk::SlowLogin(time) = quirk {
                tokio::time::sleep(*time).await;
            }
        }
        counters.passwords_now.fetch_sub(1, Ordering::Relaxed);
        if self.device.may_log_in(username, password) { Auth::Accept } else { Auth::reject() }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.device.ssh_banner())
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if self.device.quirks().contains(&Quirk::KeyboardInteractiveOnly) {
            return Ok(Auth::reject());
        }
        Ok(self.password(user, password).await)
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.device.may_use_key(user, key.public_key) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        // The answers borrow what must not be held while the device thinks.
        let answer = response.map(|mut answers| answers.next().unwrap_or_default());
        match answer {
            Some(answer) => Ok(self.password(user, &String::from_utf8_lossy(&answer)).await),
            None => Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            }),
        }
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        count(&self.device.counters.logins, 1);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(channel::serve(channel, self.device.clone(), self.cut.clone()));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let to = match self.device.is.forwards {
            Some(Forwards::AsAsked) => format!("{host}:{port}"),
            Some(Forwards::To(server)) => server.to_string(),
            None => {
                reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
                return Ok(());
            }
        };
        tokio::spawn(async move {
            let Ok(mut there) = TcpStream::connect(to).await else {
                reply.reject(ChannelOpenFailure::ConnectFailed).await;
                return;
            };
            let _ = there.set_nodelay(true);
            reply.accept().await;
            // Whichever side ends it.
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut there).await;
        });
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _pixel_width: u32,
        _pixel_height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.device.exec_answer(&String::from_utf8_lossy(command)).is_some() {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

/// Long enough for what was written to leave before a connection is cut.
pub(super) const LEAVE: Duration = Duration::from_millis(20);
