//! The plugins under the suites that devicevault-testkit publishes.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use devicevault_core::{Catalog, Device, Login, StepLimits, StorageBackend, StorageRef, Target};
use devicevault_testkit::clock::ManualClock;
use devicevault_testkit::conformance::{BackendSuite, CatalogSuite, CollectorSuite, Damage, Situation, Subject};
use outside::{Appliance, Book, Cabinet, Ledger};

const PASSWORD: &str = "correct horse battery";

#[tokio::test]
async fn the_collector_keeps_every_promise() {
    let scene = async |situation| {
        let port = appliance(situation);
        let mut device = Device::new("appliance1", "appliance1", "127.0.0.1", "appliance");
        device.port = Some(port);
        let mut login = Login::default();
        login.username = "backup".to_owned();
        login.password = Some(PASSWORD.to_owned().into());
        let mut limits = StepLimits::default();
        limits.inactivity = Duration::from_secs(2);
        let subject = Subject::new(Arc::new(Appliance::new()), Target::new(device, login).with_limits(limits));
        Ok(Some(subject.with_content("running-config", config()).with_content("inventory", "serial 1\n")))
    };
    let report = CollectorSuite::new(&scene).run().await;
    println!("{report}");
    report.assert();
}

fn config() -> String {
    (0..5000).map(|n| format!("interface ge-0/0/{n}\n")).collect()
}

/// An appliance in this situation, at the port that is returned. It ends with the process.
fn appliance(situation: Situation) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever goes away early is not waited for.
            std::thread::spawn(move || serve(&stream, situation).ok());
        }
    });
    port
}

fn serve(mut stream: &TcpStream, situation: Situation) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let config = config();
        match line.split_once(' ') {
            Some(("LOGIN", who)) => {
                let good = who == format!("backup {PASSWORD}") && situation != Situation::WrongPassword;
                stream.write_all(if good { b"OK\n" } else { b"NO\n" })?;
            }
            Some(("GET", "running-config")) => {
                let half = if situation == Situation::Good { config.len() } else { config.len() / 2 };
                write!(stream, "{}\n{}", config.len(), &config[..half])?;
                if situation == Situation::CutOff {
                    return Ok(());
                }
            }
            Some(("GET", _)) => stream.write_all(b"9\nserial 1\n")?,
            _ => return Ok(()),
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_backend_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |place: &str| Ok(Arc::new(Cabinet::open(&folder.path().join(place))?) as Arc<dyn StorageBackend>);
    let damage = async |place: &str, at: &StorageRef, how: Damage| {
        Ok(damage(&folder.path().join(place).join("kept").join(at.as_str()).join("content"), how))
    };
    let report = BackendSuite::new(&open).with_damage(&damage).run().await;
    println!("{report}");
    report.assert();
}

fn damage(file: &Path, how: Damage) -> bool {
    let Ok(mut bytes) = std::fs::read(file) else { return false };
    match how {
        Damage::Remove => return std::fs::remove_file(file).is_ok(),
        Damage::Truncate => drop(bytes.pop()),
        Damage::FlipBit => bytes.iter_mut().take(1).for_each(|b| *b ^= 1),
        _ => return false,
    }
    std::fs::write(file, bytes).is_ok()
}

#[tokio::test]
async fn the_catalog_keeps_every_promise() {
    let clock = ManualClock::new();
    let books = Mutex::new(HashMap::<String, Arc<Mutex<Book>>>::new());
    let open = async |place: &str| {
        let book = books.lock().unwrap().entry(place.to_owned()).or_default().clone();
        Ok(Arc::new(Ledger::open(&book, Arc::new(clock.clone()))) as Arc<dyn Catalog>)
    };
    let report = CatalogSuite::new(&open).with_clock(&clock).run().await;
    println!("{report}");
    report.assert();
}
