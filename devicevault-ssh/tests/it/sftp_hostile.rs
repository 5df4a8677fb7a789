//! SFTP servers that do what they should not, and clients that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use devicevault_ssh::{Connection, CreateOptions, Pattern, ReadOptions, SftpError, SftpSession, SshError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::scripted::{serve, visit};

const VERSION_3: &[u8] = b"\x02\0\0\0\x03";
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const OPEN: u8 = 3;
const READ: u8 = 5;
const STAT: u8 = 17;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;

/// A request as the script sees it: its kind, and what stands behind its number.
struct Asked {
    kind: u8,
    body: Vec<u8>,
    /// How many of this kind came before.
    before: usize,
}

impl Asked {
    /// Offset and length of a READ, which stand at its end.
    fn range(&self) -> (u64, u32) {
        let end = &self.body[self.body.len() - 12..];
        (u64::from_be_bytes(end[..8].try_into().unwrap()), u32::from_be_bytes(end[8..].try_into().unwrap()))
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text].concat()
}

fn status(code: u32, said: &str) -> (u8, Vec<u8>) {
    (STATUS, [&code.to_be_bytes()[..], &string(said.as_bytes()), &string(b"")].concat())
}

fn size(bytes: u64) -> (u8, Vec<u8>) {
    (ATTRS, [&1u32.to_be_bytes()[..], &bytes.to_be_bytes()].concat())
}

fn data(bytes: &[u8]) -> (u8, Vec<u8>) {
    (DATA, string(bytes))
}

fn names(names: &[&[u8]]) -> (u8, Vec<u8>) {
    let mut body = (names.len() as u32).to_be_bytes().to_vec();
    for name in names {
        body.extend([string(name), string(b""), 0u32.to_be_bytes().to_vec()].concat());
    }
    (NAME, body)
}

/// A server that answers by a script; `None` is silence.
async fn server<A>(answer: A) -> (Connection, SftpSession)
where
    A: Fn(&Asked) -> Option<(u8, Vec<u8>)> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    let at = serve(move |_, mut stream| {
        let answer = answer.clone();
        async move {
            let mut before = [0usize; 256];
            while let Ok(length) = stream.read_u32().await {
                let mut packet = vec![0; length as usize];
                if stream.read_exact(&mut packet).await.is_err() {
                    return;
                }
                let out = match packet[0] {
                    1 => Some(VERSION_3.to_vec()),
                    kind => {
                        let asked = Asked { kind, body: packet[5..].to_vec(), before: before[usize::from(kind)] };
                        before[usize::from(kind)] += 1;
                        answer(&asked).map(|(kind, body)| [&[kind][..], &packet[1..5], &body].concat())
                    }
                };
                if let Some(out) = out {
                    let framed = string(&out);
                    if stream.write_all(&framed).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let connection = visit(&at).await;
    let sftp = connection.sftp().await.unwrap();
    (connection, sftp)
}

async fn read_all(sftp: &SftpSession) -> Result<Vec<u8>, SftpError> {
    let mut file = sftp.read("x", ReadOptions::default()).await?;
    let mut all = Vec::new();
    while let Some(chunk) = timeout(Duration::from_secs(10), file.next()).await.expect("an answer")? {
        all.extend_from_slice(&chunk);
    }
    assert_eq!(file.next().await.unwrap(), None, "the end stays the end");
    Ok(all)
}

/// A file of this content, given as `give` decides from offset and length.
fn file(
    content: Vec<u8>,
    claimed: u64,
    give: impl Fn(&[u8]) -> (u8, Vec<u8>) + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Option<(u8, Vec<u8>)> + Send + Sync + 'static {
    move |asked| {
        Some(match asked.kind {
            STAT | FSTAT => size(claimed),
            OPEN => (HANDLE, string(b"\xff\0\x80")),
            READ => {
                let (offset, length) = asked.range();
                let from = (offset as usize).min(content.len());
                let to = (from + length as usize).min(content.len());
                if from == to { status(1, "end") } else { give(&content[from..to]) }
            }
            _ => status(0, ""),
        })
    }
}

#[tokio::test]
async fn short_answers_are_asked_for_again_in_order() {
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_be_bytes).collect();
    for most in [1000usize, 32_767, 7_001] {
        let small = move |piece: &[u8]| data(&piece[..piece.len().min(most)]);
        let (_c, sftp) = server(file(content.clone(), content.len() as u64, small)).await;
        assert!(read_all(&sftp).await.unwrap() == content, "{most}");
    }
    // Each answer shorter than the one before, and some whole.
    let count = AtomicUsize::new(0);
    let odd = move |piece: &[u8]| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        data(&piece[..piece.len().min([usize::MAX, 20_000, 13, 9000][n % 4])])
    };
    let small: Vec<u8> = content[..200_000].to_vec();
    let (_c, sftp) = server(file(small.clone(), small.len() as u64, odd)).await;
    assert!(read_all(&sftp).await.unwrap() == small);
}

#[tokio::test]
async fn a_file_without_a_size_ends_where_the_server_says() {
    let content = vec![7u8; 100_000];
    // As /proc does: size 0, and content.
    let (_c, sftp) = server(file(content.clone(), 0, data)).await;
    assert!(read_all(&sftp).await.unwrap() == content);
    let (_c, sftp) = server(file(Vec::new(), 0, data)).await;
    assert!(read_all(&sftp).await.unwrap().is_empty());
}

#[tokio::test]
async fn less_or_more_than_was_said_is_incomplete() {
    for claimed in [100_001, u64::MAX, 1 << 62] {
        let (_c, sftp) = server(file(vec![7u8; 100_000], claimed, data)).await;
        let e = read_all(&sftp).await.unwrap_err();
        assert!(matches!(e, SftpError::Incomplete { .. }), "{claimed}: {e}");
    }
    // It grows: the second look tells.
    let (_c, sftp) = server(|asked| {
        Some(match asked.kind {
            STAT => size(10),
            FSTAT => size(11),
            OPEN => (HANDLE, string(b"h")),
            READ if asked.range().0 < 10 => data(&vec![1; asked.range().1 as usize]),
            READ => status(1, ""),
            _ => status(0, ""),
        })
    })
    .await;
    let e = read_all(&sftp).await.unwrap_err();
    assert!(e.to_string().contains("from 10 to 11 bytes"), "{e}");
    assert!(!e.ends_session());
}

/// A server that counts in 32 bits, or remembers an older size: what it announces is the beginning of the file.
#[tokio::test]
async fn a_size_that_is_too_small_is_found_out() {
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    for claimed in [1, 4096, 399_999] {
        for most in [usize::MAX, 1000] {
            let give = move |piece: &[u8]| data(&piece[..piece.len().min(most)]);
            let (_c, sftp) = server(file(content.clone(), claimed, give)).await;
            let e = read_all(&sftp).await.unwrap_err();
            assert!(e.to_string().contains("there are more"), "{claimed}: {e}");
        }
        // A range is what was asked for, and no more.
        let (_c, sftp) = server(file(content.clone(), claimed, data)).await;
        let mut part = sftp.read("x", ReadOptions::default().with_range(0..claimed)).await.unwrap();
        let mut got = 0;
        while let Some(piece) = part.next().await.unwrap() {
            got += piece.len() as u64;
        }
        assert_eq!(got, claimed);
    }
}

/// Some servers answer what follows the end by a failure: everything that was announced is there.
#[tokio::test]
async fn a_server_that_fails_behind_the_end_is_believed() {
    let (_c, sftp) = server(|asked| {
        Some(match asked.kind {
            STAT | FSTAT => size(10),
            OPEN => (HANDLE, string(b"h")),
            READ if asked.range().0 < 10 => data(&[1; 10][..(asked.range().1 as usize).min(10)]),
            READ => status(4, "no"),
            _ => status(0, ""),
        })
    })
    .await;
    assert_eq!(read_all(&sftp).await.unwrap(), [1; 10]);
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_session_with_an_error() {
    type Answer = fn(&Asked) -> Option<(u8, Vec<u8>)>;
    let cases: [(&str, Answer); 6] = [
        ("more data than was asked for", |a| {
            Some(match a.kind {
                STAT => size(10),
                OPEN => (HANDLE, string(b"h")),
                _ => data(&[0; 4096]),
            })
        }),
        ("a reply of no kind", |_| Some((77, Vec::new()))),
        ("a reply that ends early", |_| Some((ATTRS, vec![0, 0]))),
        ("attributes of another version", |_| Some((ATTRS, vec![0, 0, 1, 0]))),
        ("a handle for attributes", |_| Some((HANDLE, string(b"h")))),
        ("OK for an open", |a| Some(if a.kind == STAT { size(1) } else { status(0, "") })),
    ];
    for (what, answer) in cases {
        let (_c, sftp) = server(answer).await;
        let e = read_all(&sftp).await.unwrap_err();
        assert!(matches!(e, SftpError::Protocol { .. }), "{what}: {e}");
    }
}

#[tokio::test]
async fn a_banner_instead_of_a_version_is_told() {
    for says in [&b"Welcome to the router\r\n"[..], b"\0\0\0\x05\x02\0\0\0\x09", b"\xff\xff\xff\xff", b""] {
        let at = serve(move |_, mut stream| async move {
            let _ = stream.write_all(says).await;
            let _ = stream.shutdown().await;
        })
        .await;
        let connection = visit(&at).await;
        let e = timeout(Duration::from_secs(5), connection.sftp()).await.unwrap().unwrap_err();
        let fits =
            if says.is_empty() { matches!(e, SftpError::Lost { .. }) } else { matches!(e, SftpError::Protocol { .. }) };
        assert!(fits, "{}: {e}", says.escape_ascii());
    }
}

#[tokio::test]
async fn listings_are_bounded_and_names_are_names() {
    let endless = |a: &Asked| {
        Some(match a.kind {
            OPENDIR => (HANDLE, string(b"h")),
            READDIR => names(&[b".", b"a", b"caf\xe9"]),
            _ => status(0, ""),
        })
    };
    let (_c, sftp) = server(endless).await;
    assert!(matches!(sftp.list("x", 1000).await.unwrap_err(), SftpError::TooMany { most: 1000, .. }));
    let (_c, sftp) = server(|a| {
        Some(match (a.kind, a.before) {
            (OPENDIR, _) => (HANDLE, string(b"h")),
            (READDIR, 0) => names(&[b".", b"..", b"a", b"caf\xe9"]),
            (READDIR, _) => status(1, ""),
            _ => status(0, ""),
        })
    })
    .await;
    let listed: Vec<_> = sftp.list("x", 2).await.unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(listed, [&b"a"[..], b"caf\xe9"]);
    for bad in [&b"../../etc/passwd"[..], b"", b"a\0b"] {
        let (_c, sftp) = server(move |a| {
            Some(match a.kind {
                OPENDIR => (HANDLE, string(b"h")),
                _ => names(&[bad]),
            })
        })
        .await;
        assert!(matches!(sftp.list("x", 10).await.unwrap_err(), SftpError::Protocol { .. }), "{bad:?}");
    }
    let (_c, sftp) = server(|a| {
        Some(match a.kind {
            OPENDIR => (HANDLE, string(b"h")),
            _ => names(&[]),
        })
    })
    .await;
    assert!(matches!(sftp.list("x", 10).await.unwrap_err(), SftpError::Protocol { .. }));
}

#[tokio::test]
async fn a_pattern_does_not_wander_for_ever() {
    // Every folder holds two folders.
    let folder = (NAME, {
        let mut body = 2u32.to_be_bytes().to_vec();
        for name in [b"a", b"b"] {
            body.extend(
                [string(name), string(b""), [4u32.to_be_bytes(), 0o040_755u32.to_be_bytes()].concat()].concat(),
            );
        }
        body
    });
    let turn = AtomicUsize::new(0);
    let (_c, sftp) = server(move |a| {
        Some(match a.kind {
            OPENDIR => (HANDLE, string(b"h")),
            READDIR if turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => folder.clone(),
            READDIR => status(1, ""),
            _ => status(0, ""),
        })
    })
    .await;
    let deep = Pattern::parse("/*".repeat(40)).unwrap();
    let e = timeout(Duration::from_secs(30), sftp.glob(&deep, 10)).await.unwrap().unwrap_err();
    assert!(matches!(e, SftpError::TooMany { .. }), "{e}");
}

#[tokio::test]
async fn statuses_become_errors_that_say_what_happened() {
    for (code, text) in [
        (2, "there is no file x"),
        (3, "denies access to x"),
        (8, "does not offer"),
        (4, "full \\u{1b}[2J (status 4)"),
        (77, "status 77"),
    ] {
        let (_c, sftp) = server(move |_| Some(status(code, "full \x1b[2J"))).await;
        let e = sftp.remove("x").await.unwrap_err();
        assert!(e.to_string().contains(text), "{code}: {e}");
        assert!(!e.ends_session());
        assert!(sftp.remove("x").await.is_err(), "the session goes on");
    }
    let (_c, sftp) = server(|_| None).await;
    for e in [
        sftp.sync("x").await.unwrap_err(),
        sftp.replace("a", "b").await.unwrap_err(),
        sftp.space("x").await.unwrap_err(),
    ] {
        assert!(matches!(e, SftpError::Unsupported { .. }), "{e}");
    }
}

#[tokio::test]
async fn a_dropped_request_harms_no_other() {
    const LSTAT: u8 = 7;
    let (_c, sftp) = server(|a| if a.kind == LSTAT { None } else { Some(size(5)) }).await;
    for _ in 0..100 {
        let unanswered = timeout(Duration::from_millis(1), sftp.link_stat("silent")).await;
        assert!(unanswered.is_err());
    }
    assert_eq!(sftp.stat("x").await.unwrap().size, Some(5));
}

#[tokio::test]
async fn a_server_that_goes_away_leaves_nobody_waiting() {
    let at = serve(|_, mut stream| async move {
        let _ = stream.write_all(&string(VERSION_3)).await;
        let mut some = [0; 40];
        let _ = stream.read_exact(&mut some).await;
    })
    .await;
    let connection = visit(&at).await;
    let sftp = connection.sftp().await.unwrap();
    let waiting = futures::future::join_all((0..600).map(|_| sftp.stat("x")));
    for answer in timeout(Duration::from_secs(5), waiting).await.expect("an end") {
        assert!(answer.unwrap_err().ends_session());
    }
    let e = timeout(Duration::from_secs(1), sftp.create("x", CreateOptions::default())).await.unwrap().unwrap_err();
    assert!(e.ends_session());
    let refused = serve(|_, stream| async move { drop(stream) }).await;
    let e = visit(&refused).await.sftp().await.unwrap_err();
    assert!(matches!(e, SftpError::Lost { .. } | SftpError::Ssh(_)), "{e}");
    assert!(!matches!(&e, SftpError::Ssh(e) if matches!(**e, SshError::Config { .. })));
}

#[tokio::test]
async fn a_failed_write_is_told_at_the_next_or_at_the_end() {
    let disk_full = |a: &Asked| {
        Some(match a.kind {
            OPEN => (HANDLE, string(b"h")),
            6 if a.before >= 3 => status(4, "No space left on device"),
            _ => status(0, ""),
        })
    };
    let (_c, sftp) = server(disk_full).await;
    let mut file = sftp.create("x", CreateOptions::default()).await.unwrap();
    let mut outcome = Ok(());
    for _ in 0..1000 {
        outcome = file.write(vec![0; 32 << 10].into()).await;
        if outcome.is_err() {
            break;
        }
    }
    assert!(outcome.unwrap_err().to_string().contains("No space left"));
    let (_c, sftp) = server(disk_full).await;
    let mut file = sftp.create("x", CreateOptions::default()).await.unwrap();
    file.write(vec![0; 200 << 10].into()).await.unwrap();
    assert!(file.close().await.unwrap_err().to_string().contains("No space left"));
}
