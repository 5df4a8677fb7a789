//! A fleet of simulated devices over real SSH, beside an ideal client.
//!
//! ```text
//! cargo build --release -p devicevault-benches -p devicevault-testkit --features devicevault-testkit/sim
//! target/release/fleet [--folder DIR] [--repeats N] [--quick | --large]
//! target/release/fleet --at HOST:PORT,HOST:PORT-PORT,… [--login USER:PASSWORD] [--sessions N]
//! ```
//! The devices are in a process of their own (`devicevault-sim`, its processor time is told), and every round is one:
//! so its memory and its processor time are its own. A round is the first, one in which nothing changed, or one in which
//! every configuration did. The ideal client says the same commands over the same SSH library, throws the answers away,
//! and knows the end of an answer by looking at its last bytes alone. How fast the disk flushes stands beside.
//!
//! With `--at` the devices are somebody else's: those of several simulators, so that none of them is the limit. Beside
//! devices that cost next to nothing, as ours, the ratio to the ideal client is one of processor time alone.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures, and ends when it cannot")]

mod house;
mod ideal;
mod simulator;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devicevault_benches::{Cpu, Flushes, cpu_of, median, peak_mib, timed};
use simulator::{Place, Simulator};

/// What a round cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu: Cpu,
    peak: f64,
    simulator: Cpu,
}

/// One kind of round, measured some times.
struct Row {
    devices: usize,
    what: String,
    costs: Vec<Cost>,
}

impl Row {
    fn of(&self, value: impl Fn(&Cost) -> f64) -> f64 {
        median(self.costs.iter().map(value).collect())
    }

    fn seconds(&self) -> f64 {
        self.of(|c| c.seconds)
    }

    fn print(&self) {
        let seconds = self.seconds();
        let (user, system) = (self.of(|c| c.cpu.user), self.of(|c| c.cpu.system));
        let (peak, simulator) = (self.of(|c| c.peak), self.of(|c| c.simulator.total()));
        println!(
            "  {:<34} {seconds:>7.2} s {:>6.0} devices/s   cpu {user:>5.2} + {system:>5.2} s   peak {peak:>4.0} MiB   simulator {}",
            self.what,
            self.devices as f64 / seconds,
            if simulator > 0.0 { format!("{simulator:.2} s") } else { "-".to_owned() },
        );
    }
}

/// What is printed of a bar: the figure, the bar, and whether it is held.
fn bar(what: &str, figure: f64, limit: f64, at_most: bool, unit: &str) {
    let held = if at_most { figure <= limit } else { figure >= limit };
    let sign = if at_most { "≤" } else { "≥" };
    println!("  {}  {what}: {figure:.2}{unit} ({sign} {limit}{unit})", if held { "pass" } else { "FAIL" });
}

/// Runs this program again for one round.
fn child(args: &[&str]) -> Cost {
    let mut running = Command::new(std::env::current_exe().unwrap());
    let out = running.args(args).stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{args:?}: {text}");
    let figures: Vec<f64> = text.split_whitespace().map(|w| w.parse().unwrap()).collect();
    let [seconds, user, system, peak] = figures[..] else { unreachable!("{text}") };
    Cost { seconds, cpu: Cpu { user, system }, peak, simulator: Cpu::default() }
}

/// What a child prints.
fn tell(seconds: f64) {
    let cpu = cpu_of("self");
    println!("{seconds} {} {} {}", cpu.user, cpu.system, peak_mib("self"));
}

/// Devices and how they are talked to.
struct Setting<'a> {
    folder: &'a Path,
    list: String,
    login: &'a str,
    sessions: String,
    devices: usize,
}

impl Setting<'_> {
    fn measured(&self, simulator: Option<&Simulator>, args: &[&str]) -> Cost {
        let before = simulator.map(Simulator::cpu);
        let mut cost = child(args);
        if let (Some(simulator), Some(before)) = (simulator, before) {
            cost.simulator = simulator.cpu() - before;
        }
        cost
    }

    fn ideal(&self, simulator: Option<&Simulator>) -> Cost {
        self.measured(simulator, &["ideal", &self.list, self.login, &self.sessions])
    }

    fn ours(&self, simulator: Option<&Simulator>, home: &Path, into: &str) -> Cost {
        self.measured(simulator, &["ours", &self.list, self.login, &self.sessions, home.to_str().unwrap(), into])
    }

    /// The ideal client and the three rounds, in turn, as often as is wanted.
    fn compare(&self, mut simulator: Option<&mut Simulator>, into: &str, repeats: usize) -> [Row; 4] {
        let of = |what: &str| Row { devices: self.devices, what: what.to_owned(), costs: Vec::new() };
        let names = ["first round", "nothing changed", "all changed"].map(|r| format!("{r}, into {into}"));
        let mut rows = [of("ideal client"), of(&names[0]), of(&names[1]), of(&names[2])];
        let probe = Flushes::probe(self.folder);
        for _ in 0..repeats {
            let home = tempfile::tempdir_in(self.folder).unwrap();
            rows[0].costs.push(self.ideal(simulator.as_deref()));
            rows[1].costs.push(self.ours(simulator.as_deref(), home.path(), into));
            rows[2].costs.push(self.ours(simulator.as_deref(), home.path(), into));
            if let Some(simulator) = &mut simulator {
                simulator.change();
                rows[3].costs.push(self.ours(Some(simulator), home.path(), into));
            }
        }
        println!(
            "{} devices, {} at a time, into {into}; {:.0} flushed files/s",
            self.devices, self.sessions, probe.per_second
        );
        rows.iter().filter(|r| !r.costs.is_empty()).for_each(Row::print);
        rows
    }
}

fn write_list(folder: &Path, places: &[Place]) -> String {
    let path = folder.join("devices");
    let lines: Vec<_> = places.iter().map(|p| format!("{} {}\n", p.host, p.port)).collect();
    std::fs::write(&path, lines.concat()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn simulated(folder: &Path, repeats: usize, sizes: &[usize]) {
    let login = format!("{}:{}", devicevault_testkit::sim::USERNAME, devicevault_testkit::sim::PASSWORD);
    for devices in sizes.iter().copied() {
        let mut simulator = Simulator::start(devices);
        let sessions = if devices == 200 { 30 } else { 100 };
        let list = write_list(folder, simulator.places());
        let setting = Setting { folder, list, login: &login, sessions: sessions.to_string(), devices };
        let (destinations, repeats): (&[&str], _) = match devices {
            200 => (&["git", "plain"], repeats),
            5000 => (&["plain+git"], 1),
            _ => (&["git", "plain", "plain+git"], repeats),
        };
        for into in destinations {
            let rows = setting.compare(Some(&mut simulator), into, repeats);
            let ratio = |row: &Row| row.seconds() / rows[0].seconds();
            let changed = &rows[3];
            match (devices, *into) {
                // The bar is that of `--at`, whose devices answer as slowly as real ones.
                (200, "git") => println!("  first round beside the ideal client: {:.2}×", ratio(&rows[1])),
                (1000, "plain+git") => {
                    bar("all changed", devices as f64 / changed.seconds(), 300.0, false, " devices/s");
                    bar("peak of memory", changed.of(|c| c.peak), 200.0, true, " MiB");
                }
                (5000, _) => bar("peak of memory", changed.of(|c| c.peak), 200.0, true, " MiB"),
                _ => {}
            }
        }
    }
}

/// Devices of other simulators.
fn elsewhere(folder: &Path, repeats: usize, at: &str, login: &str, sessions: usize) {
    let places = simulator::parse(at);
    let list = write_list(folder, &places);
    let setting = Setting { folder, list, login, sessions: sessions.to_string(), devices: places.len() };
    let rows = setting.compare(None, "git", repeats);
    bar("first round beside the ideal client", rows[1].seconds() / rows[0].seconds(), 2.0, true, "×");
    bar("next round beside the ideal client", rows[2].seconds() / rows[0].seconds(), 2.0, true, "×");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ideal", list, login, sessions] => {
            let ((), took) = timed(|| ideal::round(list, login, sessions.parse().unwrap()));
            return tell(took.as_secs_f64());
        }
        ["ours", list, login, sessions, home, into] => {
            let took = house::round(list, login, sessions.parse().unwrap(), Path::new(home), into);
            return tell(took.as_secs_f64());
        }
        _ => {}
    }
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).map(String::as_str);
    let flag = |name: &str| args.iter().any(|a| a == name);
    let here = value("--folder").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(here).unwrap();
    let repeats = value("--repeats").map_or(3, |n| n.parse().unwrap());
    match value("--at") {
        Some(at) => {
            let sessions = value("--sessions").map_or(30, |n| n.parse().unwrap());
            elsewhere(folder.path(), repeats, at, value("--login").unwrap_or("admin:admin"), sessions);
        }
        None if flag("--quick") => simulated(folder.path(), repeats, &[200]),
        None if flag("--large") => simulated(folder.path(), repeats, &[5000]),
        None => simulated(folder.path(), repeats, &[200, 1000, 5000]),
    }
}
