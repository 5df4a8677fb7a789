//! Servers that take a connection and never answer.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Inventory as _, View};
use devicevault_storage::catalog::{SqliteCatalog, SqliteOptions};

use crate::person::{PASSWORD, Person};
use crate::sight::switch;

/// A server that says nothing.
struct Silent {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        std::thread::spawn(move || {
            let held: Mutex<Vec<TcpStream>> = Mutex::default();
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                held.lock().unwrap().push(stream);
            }
        });
        Self { port, asked }
    }

    /// Connections that it took since this was asked last.
    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

/// Gives a home these destinations: each answered once, as far as the home knows.
async fn given(person: &Person, silent: &[Silent]) {
    let catalog = SqliteCatalog::open(person.path("home/catalog.db"), SqliteOptions::default()).await.unwrap();
    for (n, server) in silent.iter().enumerate() {
        let mut config = DestinationConfig::new(format!("silent{n}"), "plain", View::Original);
        let options = [
            ("url", format!("ftp://backup@127.0.0.1:{}/srv", server.port)),
            ("password_env", PASSWORD.to_owned()),
            ("timeout", "2".to_owned()),
            ("seal", "yes".to_owned()),
        ];
        config.options = options.map(|(name, value)| (name.to_owned(), value)).into();
        catalog.put_destination(&config).await.unwrap();
    }
    catalog.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_asks_silent_destinations_once_and_readers_ask_none() {
    let (fleet, person) = switch().await;
    person.moves_in(&fleet).await;
    person.asks(&["backup", "--all", "--quiet"]).await.good();
    let silent = [Silent::new(), Silent::new(), Silent::new()];
    given(&person, &silent).await;
    for read in [
        &["history", "core-sw1"][..],
        &["show", "core-sw1"],
        &["restore", "core-sw1", "running-config", "--to", "restored.cfg"],
        &["run", "list"],
    ] {
        person.asks(read).await.good();
        assert_eq!(silent.each_ref().map(Silent::asked), [0; 3], "{read:?}");
    }
    person.asks(&["destination", "test", "silent0"]).await.ended(1);
    let once = silent[0].asked();
    for round in 1..=2 {
        fleet.devices()[0].change_something();
        let told = person.asks(&["backup", "--all"]).await.ended(3);
        assert!(told.err.contains("silent0, silent1, silent2"), "{told:?}");
        assert_eq!(silent.each_ref().map(Silent::asked), [once; 3], "round {round}: {told:?}");
    }
    // Who asks for what waits wants them asked.
    person.asks(&["run", "deliver"]).await.ended(1);
    assert!(silent.iter().all(|server| server.asked() > 0));
}
