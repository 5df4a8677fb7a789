//! What answers `scp` and is none, or one with faults.

use std::time::Duration;

use devicevault_ssh::{Connection, Endpoint, ScpError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::scripted::{serve, visit};

/// A program that says this and ends.
async fn says(text: &'static [u8]) -> Endpoint {
    serve(move |command, mut stream| async move {
        assert_eq!(command, "scp -f x");
        let _ = stream.write_all(text).await;
        let _ = stream.shutdown().await;
        // What the client still says is taken.
        let mut rest = Vec::new();
        let _ = timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
    })
    .await
}

async fn copy(connection: &Connection) -> Result<Vec<u8>, ScpError> {
    let mut file = connection.scp_read("x").await?;
    let mut all = Vec::new();
    while let Some(chunk) = file.next().await? {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(file.next().await.unwrap(), None);
    Ok(all)
}

async fn outcome(text: &'static [u8]) -> Result<Vec<u8>, ScpError> {
    let connection = visit(&says(text).await).await;
    timeout(Duration::from_secs(10), copy(&connection)).await.expect("an end")
}

#[tokio::test]
async fn what_is_whole_is_taken() {
    assert_eq!(outcome(b"C0644 5 x\nhello\0").await.unwrap(), b"hello");
    assert_eq!(outcome(b"C0644 0 x\n\0").await.unwrap(), b"");
    assert_eq!(outcome(b"T1 0 1 0\nC0644 5 ../../etc/passwd\nhello\0").await.unwrap(), b"hello");
    assert_eq!(outcome(b"C0644 3 x\n\0\x01\n\0").await.unwrap(), b"\0\x01\n");
}

#[tokio::test]
async fn what_is_not_whole_is_incomplete() {
    for text in [
        &b"C0644 5 x\nhell"[..],
        b"C0644 5 x\nhello",
        b"C0644 5 x\n",
        b"C0644 5 x\nhello\x01scp: x: Input/output error\n",
        b"C0644 5 x\nhello world\0",
        b"C0644 9223372036854775807 x\nhello\0",
    ] {
        let e = outcome(text).await.unwrap_err();
        assert!(matches!(e, ScpError::Incomplete { .. }), "{}: {e}", text.escape_ascii());
    }
    let e = outcome(b"C0644 5 x\nhello\x01scp: x: Input/output error\n").await.unwrap_err();
    assert!(e.to_string().contains("Input/output error"), "{e}");
}

#[tokio::test]
async fn refusals_are_told_in_the_devices_words() {
    assert!(matches!(outcome(b"\x01scp: x: No such file or directory\n").await, Err(ScpError::NotFound { .. })));
    assert!(matches!(outcome(b"\x02scp: x: Permission denied\n").await, Err(ScpError::PermissionDenied { .. })));
    assert!(matches!(outcome(b"D0755 0 x\n").await, Err(ScpError::NotAFile { .. })));
    assert!(matches!(outcome(b"\x01Administratively disabled.\n").await, Err(ScpError::Refused { .. })));
    assert!(matches!(outcome(b"").await, Err(ScpError::Unsupported { .. })));
}

#[tokio::test]
async fn what_is_not_the_protocol_is_told() {
    for text in [
        &b"Welcome to router1\r\n"[..],
        b"C0644 -5 x\nhello\0",
        b"C0644 99999999999999999999 x\nhello\0",
        b"C0644 5\n",
        b"T1 0 1 0\nT1 0 1 0\nT1 0 1 0\nT1 0 1 0\nT1 0 1 0\n",
        b"\0\0\0\0\n",
        b"no end of line",
        b"C0644 5 x\nhello\0C0644 5 y\nhello\0",
    ] {
        let e = outcome(text).await.unwrap_err();
        assert!(matches!(e, ScpError::Protocol { .. }), "{}: {e}", text.escape_ascii());
        assert!(!e.to_string().contains('\r'));
    }
    // A line without an end is not kept for ever.
    let at = serve(|_, mut stream| async move { while stream.write_all(&[b'x'; 4096]).await.is_ok() {} }).await;
    let connection = visit(&at).await;
    let e = timeout(Duration::from_secs(5), copy(&connection)).await.expect("an end").unwrap_err();
    assert!(matches!(e, ScpError::Protocol { .. }), "{e}");
}

#[tokio::test]
async fn nothing_is_sent_before_the_size_is_accepted_and_dropping_ends_it() {
    let (tell, mut told) = tokio::sync::mpsc::channel(4);
    let at = serve(move |_, mut stream| {
        let tell = tell.clone();
        async move {
            stream.write_all(b"C0644 1000000000000 x\n").await.unwrap();
            let mut yes = [9; 1];
            stream.read_exact(&mut yes).await.unwrap();
            // A second yes would accept the size; the end of the channel is what comes.
            let _ = tell.send(stream.read(&mut yes).await.unwrap_or(0)).await;
        }
    })
    .await;
    let connection = visit(&at).await;
    let file = connection.scp_read("x").await.unwrap();
    assert_eq!(file.size(), 1_000_000_000_000);
    drop(file);
    assert_eq!(timeout(Duration::from_secs(5), told.recv()).await.unwrap(), Some(0));
    // The connection is good for another.
    assert!(connection.scp_read("x").await.is_ok());
}

#[tokio::test]
async fn a_device_that_takes_no_file_says_why() {
    let cases: [(&'static [&'static [u8]], &str); 5] = [
        (&[b"\x01scp: /x: Permission denied\n"], "Permission denied"),
        (&[b"\0", b"\x01scp: name: No space left on device\n"], "No space left"),
        (&[b"\0", b"\0", b"\x01scp: write: No space left on device\n"], "No space left"),
        (&[b"login: "], "neither yes nor no"),
        (&[b"\0", b"\0"], "said nothing"),
    ];
    for (answers, fits) in cases {
        let at = serve(move |command, mut stream| async move {
            assert_eq!(command, "scp -t /flash/x.cfg");
            for answer in answers {
                stream.write_all(answer).await.unwrap();
                let mut said = [0; 2000];
                let _ = stream.read(&mut said).await;
            }
        })
        .await;
        let connection = visit(&at).await;
        let sent = async {
            let mut file = connection.scp_write("/flash/x.cfg", 5, 0o600).await?;
            file.write("hello".into()).await?;
            file.close().await
        };
        let e = timeout(Duration::from_secs(10), sent).await.expect("an end").unwrap_err();
        assert!(e.to_string().contains(fits), "{fits}: {e}");
    }
}

#[tokio::test]
async fn a_device_that_stops_taking_leaves_nobody_waiting() {
    for (last, fits) in [(&b"\x01scp: No space left on device\n"[..], "No space left"), (b"", "")] {
        let at = serve(move |_, mut stream| async move {
            for _ in 0..2 {
                stream.write_all(b"\0").await.unwrap();
            }
            stream.write_all(last).await.unwrap();
            stream.shutdown().await.unwrap();
            // It reads nothing, and goes: the channel is closed while the window is.
            tokio::time::sleep(Duration::from_millis(100)).await;
        })
        .await;
        let connection = visit(&at).await;
        let sent = async {
            let mut file = connection.scp_write("x", 100 << 20, 0o600).await?;
            for _ in 0..100 {
                file.write(vec![0; 1 << 20].into()).await?;
            }
            file.close().await
        };
        let e = timeout(Duration::from_secs(10), sent).await.expect("an end").unwrap_err();
        assert!(e.to_string().contains(fits), "{fits}: {e}");
    }
}
