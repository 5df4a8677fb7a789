//! What answers, or does not, without being an SSH server.

use std::sync::Arc;
use std::time::Duration;

use devicevault_ssh::{Credentials, Endpoint, HostKeysInMemory, Options, Result, SshError, connect};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

async fn reach(port: u16) -> Result<()> {
    let options = Options::default().with_timeouts(Duration::from_millis(500), Duration::from_millis(300));
    let credentials = Credentials::new("u").with_password("p");
    let store = Arc::new(HostKeysInMemory::default());
    connect(&Endpoint::new("127.0.0.1", port), &credentials, &options, store).await.map(|_| ())
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert!(matches!(reach(port).await.unwrap_err(), SshError::Unreachable { .. }));
}

#[tokio::test]
async fn a_server_that_says_nothing_times_out_in_a_step_with_a_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let e = reach(port).await.unwrap_err();
    assert!(matches!(e, SshError::Timeout { step: "negotiate", .. }), "{e:?}");
}

#[tokio::test]
async fn what_is_not_ssh_is_an_error_and_not_a_wait() {
    for says in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            stream.shutdown().await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        let e = reach(port).await.unwrap_err();
        assert!(matches!(e, SshError::Closed { .. }), "{}: {e:?}", says.escape_ascii());
        server.abort();
    }
}
