//! Time, processor time, memory and flushes, as Linux tells them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use devicevault_core::{Clock as _, SystemClock};

/// Ticks a second in `/proc/PID/stat`: what every Linux tells user space, whatever it counts by itself.
const TICKS: f64 = 100.0;

/// Seconds of processor time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    /// In programs.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

impl Cpu {
    /// Both.
    #[must_use]
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// What a process has used so far; `self` is this one.
///
/// # Panics
/// The process is gone.
#[must_use]
pub fn cpu_of(pid: &str) -> Cpu {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name of the program, in parentheses, may hold blanks: what follows it is counted from 3 (proc(5)).
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |field: usize| fields[field - 3].parse::<f64>().unwrap() / TICKS;
    Cpu { user: seconds(14), system: seconds(15) }
}

/// The most memory that a process has held, in MiB.
///
/// # Panics
/// The process is gone.
#[must_use]
pub fn peak_mib(pid: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap().trim().split(' ').next().unwrap();
    peak.parse::<f64>().unwrap() / 1024.0
}

/// Does something and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = SystemClock.monotonic();
    let value = work();
    (value, SystemClock.monotonic() - begun)
}

/// The one in the middle.
///
/// # Panics
/// There is none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How fast a disk makes small files durable.
#[derive(Debug, Clone, Copy)]
pub struct Flushes {
    /// Files of 4 KB a second, each flushed.
    pub per_second: f64,
}

impl Flushes {
    /// Writes and flushes some files in a folder.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[must_use]
    pub fn probe(folder: &Path) -> Self {
        const FILES: u32 = 100;
        let path = folder.join("flush-probe");
        let ((), took) = timed(|| {
            for _ in 0..FILES {
                let mut file = File::create(&path).unwrap();
                file.write_all(&[7; 4096]).unwrap();
                file.sync_all().unwrap();
            }
        });
        fs::remove_file(path).unwrap();
        Self { per_second: f64::from(FILES) / took.as_secs_f64() }
    }
}
