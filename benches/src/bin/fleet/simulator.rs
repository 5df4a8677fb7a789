//! Simulated devices in a process of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use devicevault_benches::{Cpu, cpu_of};

/// Where a device listens.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The running simulator. Dropping it ends it.
pub(crate) struct Simulator {
    running: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    places: Vec<Place>,
}

impl Simulator {
    /// Starts so many devices with 20 KB of configuration each.
    pub(crate) fn start(devices: usize) -> Self {
        let program = std::env::current_exe().unwrap().with_file_name("devicevault-sim");
        let how = "build it: cargo build --release -p devicevault-testkit --features sim";
        assert!(program.exists(), "{} is missing; {how}", program.display());
        let mut running = Command::new(program)
            .args(["--devices", &devices.to_string(), "--addresses", "--port", "20022", "--size", "20480"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = running.stdin.take();
        let mut output = BufReader::new(running.stdout.take().unwrap());
        let mut places = Vec::new();
        loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "the simulator did not start");
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["device", _, host, port, _] => {
                    places.push(Place { host: host.to_owned(), port: port.parse().unwrap() });
                }
                _ => break,
            }
        }
        Self { running, input, output, places }
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    pub(crate) fn cpu(&self) -> Cpu {
        cpu_of(&self.running.id().to_string())
    }

    /// Changes every configuration.
    pub(crate) fn change(&mut self) {
        self.input.as_mut().unwrap().write_all(b"change\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "changed");
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        let _ = self.running.wait();
    }
}

/// `HOST:PORT` and `HOST:FIRST-LAST`, with commas between.
pub(crate) fn parse(text: &str) -> Vec<Place> {
    text.split(',')
        .flat_map(|part| {
            let (host, ports) = part.rsplit_once(':').unwrap();
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let ports = first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap();
            ports.map(|port| Place { host: host.to_owned(), port }).collect::<Vec<_>>()
        })
        .collect()
}

/// The devices in a file of lines `HOST PORT`.
pub(crate) fn read(list: &str) -> Vec<Place> {
    let text = std::fs::read_to_string(list).unwrap();
    let place = |line: &str| {
        let (host, port) = line.split_once(' ').unwrap();
        Place { host: host.to_owned(), port: port.parse().unwrap() }
    };
    text.lines().map(place).collect()
}
