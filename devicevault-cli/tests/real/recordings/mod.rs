//! Recorded sessions of real devices, played back over real SSH and backed up by the program as its user would.
//!
//! `cargo xtask recordings DIR` runs this for a folder of recordings and prints the table. Beside `DIR` there is
//! `sim/replay_sim.py`, which plays them. A file is called `PLATFORM#DEVICE#KIND`: `simulation.yaml` is a session,
//! `prompt.yaml` has prompts that a platform must and must not take, `secret.yaml` texts that the redacted view must and
//! must not hold, `significant_changes.yaml` the same for the view that decides on change.
#![allow(clippy::print_stdout, reason = "its table is for a person")]

mod cases;
mod player;
mod screen;
mod visit;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use player::Player;

/// Where the recordings are.
const FOLDER: &str = "DEVICEVAULT_RECORDINGS";
/// How the device is made hard, and with how many seeds.
const MODES: [(&str, &[&str], u32); 5] = [
    ("plain", &[], 1),
    ("crlf", &["--crlf"], 1),
    ("chunk 7", &["--chunk", "7", "--chunk-ms", "1"], 3),
    ("chunk 200", &["--chunk", "200", "--chunk-ms", "5"], 3),
    ("delay 300", &["--delay-prompt-ms", "300"], 1),
];
/// So many devices are visited at a time.
const AT_A_TIME: usize = 8;

#[test]
#[ignore = "needs recordings, python3 with asyncssh and yaml"]
fn every_recording_is_stored_as_it_was_recorded() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("DEVICEVAULT_RECORDINGS, a folder of recordings"));
    let files = named(&folder, "simulation.yaml");
    assert!(!files.is_empty(), "{} holds no recording", folder.display());
    let mut failed = 0;
    println!("{:<12} {:<48} {:<10} {:>8} {:>7}  outcome", "platform", "device", "mode", "lines", "s");
    for (mode, options, seeds) in MODES {
        for seed in 1..=seeds {
            failed += one_round(&folder, &files, mode, options, seed);
        }
    }
    failed += cases::all(&folder);
    println!("{failed} failed");
    assert_eq!(failed, 0, "see the table above");
}

fn one_round(folder: &Path, files: &[PathBuf], mode: &str, options: &[&str], seed: u32) -> usize {
    let player = Player::start(folder, files, options, seed);
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(device) = player.devices().get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = visit::visit(device);
                    rows.lock().expect("rows").push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("rows");
    rows.sort_by(|a, b| (&a.platform, &a.device).cmp(&(&b.platform, &b.device)));
    for row in &rows {
        let mode = if seed > 1 { format!("{mode}/{seed}") } else { mode.to_owned() };
        let outcome = row.wrong.as_deref().unwrap_or("exact");
        let (platform, device) = (&row.platform, &row.device);
        println!("{platform:<12} {device:<48} {mode:<10} {:>8} {:>7.1}  {outcome}", row.lines, row.seconds);
    }
    rows.iter().filter(|r| r.wrong.is_some()).count()
}

/// The files of a folder whose names end so, in order.
fn named(folder: &Path, end: &str) -> Vec<PathBuf> {
    let list = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = list.map(|f| f.expect("an entry").path()).collect();
    files.retain(|f| f.to_string_lossy().ends_with(&format!("#{end}")));
    files.sort();
    files
}

/// Platform and device of a file's name.
fn parts(file: &Path) -> (String, String) {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut parts = name.split('#').map(str::to_owned);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
