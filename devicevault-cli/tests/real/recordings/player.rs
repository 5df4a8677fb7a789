//! The program that plays recordings, as a running server.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::Place;
use crate::process::{Server, listens, program, run};

/// It plays one recording at each of a row of ports, until it is dropped.
#[derive(Debug)]
pub(super) struct Player {
    devices: Vec<Recorded>,
    _server: Server,
    _place: Place,
}

/// A recorded device.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) port: u16,
    pub(super) platform: String,
    pub(super) device: String,
    /// What was typed, and everything that came back.
    pub(super) commands: Vec<(String, String)>,
}

impl Player {
    /// Plays these files, made hard by these options.
    pub(super) fn start(folder: &Path, files: &[PathBuf], options: &[&str], seed: u32) -> Self {
        let place = Place::new();
        let (index, base) = (place.join("index.json"), free_ports(files.len()));
        let mut command = Command::new(program("python3"));
        command.arg(folder.join("../sim/replay_sim.py")).args(["--lenient", "--base-port", &base.to_string()]);
        command.args(["--seed", &seed.to_string(), "--index"]).arg(&index).args(options).args(files);
        let log = place.join("player.log");
        let server = Server::start(&mut command, &log);
        let ready = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready pid="));
        let server = server.until("word that it is ready", || ready() && listens(base));
        let text = std::fs::read_to_string(&index).expect("the player's index");
        let list: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        Self { devices: list.iter().map(recorded).collect(), _server: server, _place: place }
    }

    pub(super) fn devices(&self) -> &[Recorded] {
        &self.devices
    }
}

fn recorded(entry: &Value) -> Recorded {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let commands = entry["commands"].as_array().into_iter().flatten();
    Recorded {
        port: entry["port"].as_u64().and_then(|p| u16::try_from(p).ok()).expect("a port"),
        platform: text(entry, "model"),
        device: text(entry, "desc"),
        commands: commands.map(|c| (text(c, "send"), text(c, "expect_raw"))).collect(),
    }
}

/// A row of ports at which nobody listens.
fn free_ports(count: usize) -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let count = u16::try_from(count).expect("not so many recordings");
    // Below the ports that the system hands out by itself.
    let row = || fastrand::u16(12_000..30_000);
    std::iter::repeat_with(row).take(200).find(|base| (*base..base + count).all(free)).expect("a row of free ports")
}

/// A YAML file as JSON: the player needs Python's reader anyway.
pub(super) fn yaml(file: &Path) -> Value {
    const READ: &str =
        "import sys, json, yaml; json.dump(yaml.safe_load(open(sys.argv[1], encoding='utf-8')), sys.stdout)";
    let text = run(Command::new(program("python3")).args(["-c", READ]).arg(file));
    serde_json::from_str(&text).expect("JSON")
}
