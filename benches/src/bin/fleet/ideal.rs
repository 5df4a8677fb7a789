//! The ideal client: the same commands over the same SSH library, and nothing more.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_ssh::{Credentials, Endpoint, HostKeyStore, HostKeysInMemory, Options, PtySize, Shell, connect};
use futures::StreamExt as _;

use crate::simulator::{Place, read};

/// What our platform file has us say to such a device.
const COMMANDS: [&str; 7] = [
    "terminal length 0",
    "terminal width 0",
    "show running-config",
    "show startup-config",
    "show version",
    "show inventory",
    "show vtp status",
];

pub(crate) fn round(list: &str, login: &str, sessions: usize) {
    let places = read(list);
    let (user, password) = login.split_once(':').unwrap();
    let credentials = Credentials::new(user).with_password(password);
    let keys: Arc<dyn HostKeyStore> = Arc::new(HostKeysInMemory::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let talks = places.into_iter().map(|place| {
            let (credentials, keys) = (credentials.clone(), keys.clone());
            async move { tokio::spawn(talk(place, credentials, keys)).await.unwrap() }
        });
        let bytes: Vec<usize> = futures::stream::iter(talks).buffer_unordered(sessions).collect().await;
        assert!(bytes.iter().all(|b| *b > 20_000), "an answer was cut off");
    });
}

async fn talk(place: Place, credentials: Credentials, keys: Arc<dyn HostKeyStore>) -> usize {
    let server = Endpoint::new(place.host, place.port);
    let connection = connect(&server, &credentials, &Options::default(), keys).await.unwrap();
    let mut shell = connection.shell(PtySize::default()).await.unwrap();
    // The greeting ends with the prompt: a line that ends in `#`.
    let mut last = Vec::new();
    while !last.ends_with(b"#") {
        last = shell.read().await.unwrap().unwrap().to_vec();
    }
    let start = last.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let prompt = last[start..].to_vec();
    let mut bytes = 0;
    for command in COMMANDS {
        shell.write(Bytes::from(format!("{command}\n"))).await.unwrap();
        bytes += answer(&mut shell, &prompt).await;
    }
    let _ = shell.write(Bytes::from_static(b"exit\n")).await;
    while let Ok(Some(_)) = shell.read().await {}
    connection.close().await;
    bytes
}

/// Reads to the prompt; returns how many bytes came.
async fn answer(shell: &mut Shell, prompt: &[u8]) -> usize {
    let (mut bytes, mut end) = (0, Vec::new());
    loop {
        let piece = shell.read().await.unwrap().unwrap();
        bytes += piece.len();
        end.extend_from_slice(&piece);
        let keep = end.len().saturating_sub(prompt.len() + 1);
        end.drain(..keep);
        if end.first() == Some(&b'\n') && end.ends_with(prompt) {
            return bytes;
        }
    }
}
