//! An SSH server in this process that lets anybody in and hands each channel to a script.

use std::sync::Arc;
use std::time::Duration;

use devicevault_ssh::{Connection, Credentials, Endpoint, HostKeysInMemory, Options, connect};
use futures::future::BoxFuture;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelId, ChannelStream};
use tokio::net::TcpListener;

/// What the other end of a channel is.
pub(crate) type Stream = ChannelStream<Msg>;
type Script = Arc<dyn Fn(String, Stream) -> BoxFuture<'static, ()> + Send + Sync>;

/// Starts a server; the script is told the command, or the name of the subsystem.
pub(crate) async fn serve<F>(script: impl Fn(String, Stream) -> F + Send + Sync + 'static) -> Endpoint
where
    F: Future<Output = ()> + Send + 'static,
{
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap();
    let config = Arc::new(Config { keys: vec![key], auth_rejection_time: Duration::ZERO, ..Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script: Script = Arc::new(move |asked, stream| Box::pin(script(asked, stream)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (config, script) = (config.clone(), script.clone());
            tokio::spawn(async move {
                if let Ok(session) = run_stream(config, stream, Visitor { script, channel: None }).await {
                    let _ = session.await;
                }
            });
        }
    });
    Endpoint::new("127.0.0.1", port)
}

/// A connection to such a server.
pub(crate) async fn visit(server: &Endpoint) -> Connection {
    connect(server, &Credentials::new("anybody"), &Options::default(), Arc::new(HostKeysInMemory::default()))
        .await
        .unwrap()
}

struct Visitor {
    script: Script,
    channel: Option<Channel<Msg>>,
}

impl Visitor {
    fn begin(&mut self, asked: String, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        let stream = self.channel.take().unwrap().into_stream();
        tokio::spawn((self.script)(asked, stream));
        Ok(())
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        self.begin(String::from_utf8_lossy(data).into_owned(), id, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(name.to_owned(), id, session)
    }
}
